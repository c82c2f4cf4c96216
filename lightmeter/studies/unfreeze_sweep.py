"""unfreeze-sweep: how many of the last layers of one's own trained network should learn on, and what that costs."""

from __future__ import annotations

from lightmeter.studies.base import Arm, Scale, Study
from lightmeter.studies.own_transfer import base, base_ours
from lightmeter.studies.settings import SEEDS, SMOKE, at, faithful, one_cycle, tiny

BASE_LAYERS = 24
"""Layers of the base, counted as Keras counts them: in each of three blocks convolution, ReLU, BatchNorm, convolution,
ReLU, BatchNorm, pooling, dropout. They are the first 24 of ours, too, in the same order."""

_PUBLISHED = {5: 0.207, 8: 0.234, 13: 0.266, BASE_LAYERS: 0.329}
"""Last layers of the base that are trained, and the test accuracy that was published. 5 are those from the last
convolution on, 8 the third block, 13 those from the second convolution of the second block on."""

_HEAD: dict[str, int | float | bool | str] = {"hidden": 1024, "dropout": 0.5}


def unfreeze_sweep() -> Study:
    """The base of own-transfer inside a larger network, its last 5, 8, 13 and all 24 layers trained."""
    return Study(
        name="unfreeze-sweep",
        title="How much of one's own network to train on: the last 5, 8, 13 or all layers",
        question=(
            "A network trained on CIFAR-10 went on to learn Tiny ImageNet with its last n layers: the more of them "
            "learned, the more accurate it became and the longer it took. Is that so, where does more stop paying, and "
            "what does the same network reach with better training?"
        ),
        published={
            "last 5 layers": "20.7 %",
            "last 8 layers": "23.4 %, 164 µs an image",
            "last 13 layers": "26.6 %, 195 µs an image",
            "all layers": "32.9 %, 344 µs an image",
        },
        arms=_arms,
        pairs=(("last-5", "last-8"), ("last-8", "last-13"), ("last-13", "all"), ("all", "ours")),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": "for the sweep 3 epochs on CIFAR-10 and 4 on Tiny ImageNet; for ours 8 and 10.",
            "smoke": SMOKE,
        },
        curve=("last-5", "last-8", "last-13", "all"),
    )


def frozen(last: int) -> tuple[str, ...]:
    """What a recipe freezes so that the last so many layers of the base learn, and all of the head."""
    return (str(BASE_LAYERS - last),) if last < BASE_LAYERS else ()


def _arms(scale: Scale) -> tuple[Arm, ...]:
    pictures = tiny(scale)
    epochs = at(scale, full=50.0, cpu=4.0, smoke=1.0)
    sweep = tuple(
        Arm(
            "all" if last == BASE_LAYERS else f"last-{last}",
            "faithful",
            pictures,
            faithful("compact_cnn", options=_HEAD, freeze=frozen(last)),
            epochs=epochs,
            start="arm:base",
            published=published,
            note=(
                "A dense layer of 1024, dropout of 0.5. Adam at 0.001, batches of 64, and frozen BatchNorm that keeps "
                "its statistics: the publication does not say. Dropout inside frozen layers rests; Keras' goes on."
            ),
        )
        for last, published in _PUBLISHED.items()
    )
    ours = Arm(
        "ours",
        "ours",
        tiny(scale),
        one_cycle(
            "compact_cnn",
            options={"hidden": 1024, "dropout": 0.1, "spatial_dropout": 0.0},
            muon=True,
        ),
        epochs=at(scale, full=50.0, cpu=10.0, smoke=1.0),
        start="arm:base-ours",
        note=(
            "The same network and its better base, all layers: Muon over one cycle, moved pictures, smoothed labels, "
            "two views, next to no dropout."
        ),
    )
    return (base(scale), *sweep, base_ours(scale), ours)
