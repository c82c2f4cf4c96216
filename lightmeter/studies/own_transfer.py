"""own-transfer, more-data: features of one's own network, trained on CIFAR-10, for Tiny ImageNet."""

from __future__ import annotations

from dataclasses import replace

from lightmeter.studies.base import Arm, MakeRecipe, Pictures, Scale, Study
from lightmeter.studies.settings import SEEDS, SMOKE, at, cifar, faithful, one_cycle, tiny

_HEAD: dict[str, int | float | bool | str] = {"hidden": 512, "dropout": 0.5}
_VGG16 = "vgg16"


def base(scale: Scale) -> Arm:
    """The network whose features are used, as published."""
    return Arm(
        "base",
        "faithful",
        cifar(scale),
        faithful("compact_cnn"),
        epochs=at(scale, full=100.0, cpu=3.0, smoke=1.0),
        published=0.8423,
        note="On CIFAR-10. Adam at 0.001, batches of 64 and the number of epochs: the publication does not say.",
    )


def base_ours(scale: Scale) -> Arm:
    """The same network, trained better."""
    return Arm(
        "base-ours",
        "variant",
        cifar(scale),
        one_cycle("compact_cnn", options={"spatial_dropout": 0.0}, muon=True),
        epochs=at(scale, full=60.0, cpu=8.0, smoke=1.0),
        note=(
            "On CIFAR-10, the same 288,800 parameters: Muon over one cycle, moved pictures, smoothed labels, two "
            "views, and no dropout, which takes more epochs than these to pay."
        ),
    )


def own_transfer() -> Study:
    """The CIFAR-10 network without its head, its features computed once, a new head for 200 classes."""
    return Study(
        name="own-transfer",
        title="Features of one's own network for another task",
        question=(
            "A network of 288,800 parameters that names 84.23 % of CIFAR-10 right, its head cut off, served as fixed "
            "features for 200 classes of Tiny ImageNet: 18.06 %, more than VGG16 from ImageNet gave (12.6 %). Does "
            "that hold, and how far do the same 288,800 parameters come if they are trained better?"
        ),
        published={
            "base on CIFAR-10": "84.23 %",
            "base without head": "288,800 parameters, 287,904 trained",
            "test accuracy": "18.06 % (train 25.8 %)",
            "with VGG16's features": "12.6 %",
        },
        arms=_own,
        pairs=(("base", "base-ours"), ("faithful", "ours")),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": (
                "3 epochs on CIFAR-10 instead of 100, 8 for ours; the features of VGG16, which need its weights and a "
                "GPU."
            ),
            "smoke": SMOKE,
        },
    )


def _on_features(recipe: MakeRecipe, pictures: Pictures, scale: Scale) -> Arm:
    return Arm(
        "faithful",
        "faithful",
        pictures,
        recipe,
        epochs=at(scale, full=50.0, cpu=20.0, smoke=1.0),
        start="arm:base",
        published=0.1806,
        note=(
            "512 features computed once and brought to mean 0 and deviation 1, dense 512, dropout of 0.5. Adam at "
            "0.001, batches of 64, the rate of dropout and the number of epochs: the publication does not say."
        ),
    )


def _own(scale: Scale) -> tuple[Arm, ...]:
    pictures = tiny(scale)
    arms = [
        base(scale),
        _on_features(faithful("compact_cnn", options=_HEAD, freeze=("all",)), pictures, scale),
        base_ours(scale),
        Arm(
            "ours",
            "ours",
            pictures,
            one_cycle("compact_cnn", options={**_HEAD, "dropout": 0.2}, lr=1e-3, freeze=("all",)),
            epochs=at(scale, full=50.0, cpu=20.0, smoke=1.0),
            start="arm:base-ours",
            note="The better base, frozen as well; its features of each picture and of its mirror image.",
        ),
    ]
    if scale == "full":
        arms.append(
            Arm(
                "vgg16",
                "faithful",
                pictures,
                faithful("vgg16", options=_HEAD, freeze=("all",)),
                epochs=50.0,
                start=_VGG16,
                published=0.126,
                note="VGG16 trained on ImageNet, at 32 pixels, frozen. Needs its weights.",
            )
        )
    return tuple(arms)


def more_data() -> Study:
    """The published transfer with 70,000 and with 90,000 pictures, both tested on the same 10,000."""
    return Study(
        name="more-data",
        title="The same transfer with 28.5 % more pictures to learn from",
        question=(
            "With 90,000 instead of 70,000 pictures to learn from, the features of one's own network gave 19.5 % "
            "instead of 18.06 %. What are more pictures worth, on the same test pictures?"
        ),
        published={"70,000 pictures": "18.06 %", "28.5 % more": "19.5 %"},
        arms=_more,
        pairs=(("less", "more"),),
        seeds=SEEDS,
        left_out={
            "full": "The published figures are of different test pictures; here both arms share 10,000.",
            "cpu": "3 epochs on CIFAR-10 instead of 100. Both arms share 10,000 test pictures.",
            "smoke": SMOKE,
        },
    )


def _more(scale: Scale) -> tuple[Arm, ...]:
    recipe = faithful("compact_cnn", options=_HEAD, freeze=("all",))
    more = tiny(scale, test_share=0.1)
    less = replace(more, train_limit=at(scale, full=70_000, cpu=70_000, smoke=78))
    few, many = _on_features(recipe, less, scale), _on_features(recipe, more, scale)
    return (
        base(scale),
        replace(few, name="less", note=f"70,000 pictures less those for validation. {few.note}"),
        replace(many, name="more", published=0.195, note=f"90,000 pictures, 28.57 % more. {many.note}"),
    )
