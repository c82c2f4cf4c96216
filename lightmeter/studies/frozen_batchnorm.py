"""frozen-batchnorm: why a frozen network trained well and tested at chance, and what cures it."""

from __future__ import annotations

from lightmeter.nouns.recipe import BatchNorm
from lightmeter.studies.base import Arm, Role, Scale, Study
from lightmeter.studies.settings import MOBILENET, SEEDS, SMOKE, at, faithful, tiny

_UNSCALED = "lightmeter.studies.unscaled:unscaled"
_INCEPTION = "inception_v3-keras"
_HEAD: dict[str, int | float | bool | str] = {"hidden": 1024, "dropout": 0.0}

_POLICIES: dict[str, tuple[Role, BatchNorm, bool, str]] = {
    "batch-unscaled": (
        "variant",
        "batch",
        True,
        "The failure: batches' own statistics in training, ImageNet's in the test, pixels of 0 to 255.",
    ),
    "batch": ("variant", "batch", False, "The same statistics, but pixels scaled as the weights expect them."),
    "frozen-unscaled": ("variant", "frozen", True, "ImageNet's statistics throughout, pixels of 0 to 255."),
    "update-unscaled": ("variant", "update", True, "Cured by keeping track of the batches' statistics."),
    "recalibrate-unscaled": ("variant", "recalibrate", True, "Cured by measuring the statistics anew."),
    "frozen": ("ours", "frozen", False, "Cured: ImageNet's statistics throughout, pixels scaled as they expect."),
}
"""Name -> role, what frozen BatchNorm does, whether pixels stay as they are stored, and a note."""


def frozen_batchnorm() -> Study:
    """One frozen backbone, one head; only what BatchNorm does and how pixels are scaled differs."""
    return Study(
        name="frozen-batchnorm",
        title="Trains well, tests at chance: frozen BatchNorm",
        question=(
            "InceptionV3 from ImageNet, frozen, with a new head for 200 classes trained well and then named 0.42 % of "
            "the test pictures right, which is chance, with a loss of 16. Nobody found the cause. Is it BatchNorm that "
            "uses the statistics of each batch in training and those of ImageNet in the test, does it take pixels on "
            "another scale than ImageNet's as well, and what cures it?"
        ),
        published={
            "parameters": "24,105,960, of which 2,303,176 are trained",
            "test accuracy": "0.42 %",
            "test loss": "16",
        },
        arms=_arms,
        pairs=(
            ("batch-unscaled", "batch"),
            ("batch", "frozen"),
            ("batch-unscaled", "update-unscaled"),
            ("batch-unscaled", "recalibrate-unscaled"),
            ("frozen-unscaled", "frozen"),
        ),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": (
                "InceptionV3 at 150 pixels; the failure and its cures are shown with MobileNetV2 at 96 pixels, on "
                "6,000 of the 70,000 training pictures and 2,000 of the 30,000 test pictures, for 4 epochs. The file "
                "of those weights had BatchNorm folded in; its statistics were measured anew on 2,048 natural pictures."
            ),
            "smoke": "InceptionV3; " + SMOKE,
        },
    )


def _arms(scale: Scale) -> tuple[Arm, ...]:
    size = at(scale, full=150, cpu=96, smoke=32)
    pictures = tiny(scale, size=size, cpu=6000, test=2000)
    epochs = at(scale, full=10.0, cpu=4.0, smoke=1.0)

    def arm(name: str, model: str, start: str, published: float | None = None) -> Arm:
        role, batchnorm, raw, note = _POLICIES[name]
        inception = model == "inception_v3"
        options = {**_HEAD, **({"scale": False} if inception else {}), **({"model": model} if raw else {})}
        recipe = faithful(_UNSCALED if raw else model, options=options, lr=1e-4, freeze=("all",), batchnorm=batchnorm)
        if published is not None:
            role = "faithful"
        named = f"inception-{name}" if inception else name
        assumed = "Dense 1024, Adam at 0.0001; batches of 64 and the number of epochs: the publication does not say."
        return Arm(
            named, role, pictures, recipe, epochs=epochs, start=start, published=published, note=f"{note} {assumed}"
        )

    arms = [arm(name, "mobilenet_v2", MOBILENET) for name in _POLICIES]
    if scale == "full":
        arms.append(arm("batch-unscaled", "inception_v3", _INCEPTION, 0.0042))
        arms.append(arm("frozen", "inception_v3", _INCEPTION))
    return tuple(arms)
