"""vgg-ablation: how deep, and which remedy against over-fitting, on CIFAR-10."""

from __future__ import annotations

from lightmeter.studies.base import Arm, Scale, Study
from lightmeter.studies.settings import SEEDS, SMOKE, at, cifar, faithful, fast, width

_ASSUMED = "Adam at 0.001, batches of 64 and 128 units in the dense layer: the publication does not say."


def vgg_ablation() -> Study:
    """One, two and three VGG blocks; then BatchNorm, L2, dropout and all three on the largest."""
    return Study(
        name="vgg-ablation",
        title="VGG blocks on CIFAR-10: depth, and remedies against over-fitting",
        question=(
            "Networks of one, two and three VGG blocks learned their training pictures by heart (about 100 %) and "
            "named about 70 % of the test pictures right; L2, dropout and BatchNorm helped, in this order. "
            "Do they, and by how much?"
        ),
        published={
            "1, 2 or 3 blocks": "train about 100 %, test about 70 %",
            "3 blocks, L2": "5 points more",
            "3 blocks, dropout": "9 points more",
            "3 blocks, BatchNorm": "82.37 %",
            "final model": "90 % of 10,000",
        },
        arms=_arms,
        pairs=(
            ("vgg1", "vgg2"),
            ("vgg2", "vgg3"),
            ("vgg3", "l2"),
            ("l2", "dropout"),
            ("dropout", "batchnorm"),
            ("vgg3", "dropout"),
            ("vgg3", "batchnorm"),
            ("batchnorm", "all"),
            ("all", "ours"),
        ),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": (
                "5,000 of the 50,000 training pictures and 20 epochs instead of 100, so that accuracies are far below "
                "the published ones; what is asked at this size is how the arms stand to each other."
            ),
            "smoke": SMOKE,
        },
    )


def _arms(scale: Scale) -> tuple[Arm, ...]:
    pictures = cifar(scale, cpu=5000)
    epochs = at(scale, full=100.0, cpu=20.0, smoke=1.0)

    def blocks(name: str, published: float, note: str, *, l2: float = 0.0, **options: int | float | bool) -> Arm:
        recipe = faithful("vgg_blocks", options={**options}, l2=l2)
        return Arm(name, "faithful", pictures, recipe, epochs=epochs, published=published, note=f"{note} {_ASSUMED}")

    return (
        blocks("vgg1", 0.70, "One block of two convolutions.", blocks=1),
        blocks("vgg2", 0.70, "Two blocks.", blocks=2),
        blocks("vgg3", 0.70, "Three blocks.", blocks=3),
        blocks("l2", 0.75, "Three blocks; L2 of 0.001 on every filter and matrix.", l2=1e-3, blocks=3),
        blocks(
            "dropout", 0.79, "Three blocks; dropout of 0.2 after each and after the dense layer.", blocks=3, dropout=0.2
        ),
        blocks(
            "batchnorm",
            0.8237,
            "Three blocks; BatchNorm after each convolution and the dense layer.",
            blocks=3,
            batchnorm=True,
        ),
        blocks("all", 0.90, "Three blocks with all of them.", l2=1e-3, blocks=3, batchnorm=True, dropout=0.2),
        Arm(
            "ours",
            "ours",
            pictures,
            fast(width(scale)),
            epochs=at(scale, full=40.0, cpu=16.0, smoke=1.0),
            note="The whitened network with Muon, moved pictures and six views, as `lightmeter train` uses it.",
        ),
    )
