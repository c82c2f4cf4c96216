"""tiny-cnn: a small network on 200 classes."""

from __future__ import annotations

from lightmeter.studies.base import Arm, Scale, Study
from lightmeter.studies.settings import SEEDS, SMOKE, at, faithful, fast, tiny, width


def tiny_cnn() -> Study:
    """The network of seven convolutions as published, and ours in about the same time."""
    return Study(
        name="tiny-cnn",
        title="Seven convolutions on Tiny ImageNet, 32 pixels, 200 classes",
        question=(
            "A network of seven convolutions named 15.3 % and 17.6 % of 30,000 pictures right and was judged to be too "
            "small for 200 classes. What does it reach here, and what does a better recipe reach in the same time?"
        ),
        published={"test accuracy": "15.3 % and 17.6 %", "test loss": "3.82", "judged": "under-fitted"},
        arms=_arms,
        pairs=(("faithful", "ours"),),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": (
                "5 epochs instead of 50 for the published network, and 4 epochs at half the width for ours; 10,000 of "
                "the 30,000 test pictures."
            ),
            "smoke": SMOKE,
        },
    )


def _arms(scale: Scale) -> tuple[Arm, ...]:
    pictures = tiny(scale, test=10_000)
    return (
        Arm(
            "faithful",
            "faithful",
            pictures,
            faithful("tiny_cnn"),
            epochs=at(scale, full=50.0, cpu=5.0, smoke=1.0),
            published=0.176,
            note=(
                "Convolution, ReLU, BatchNorm. Adam at 0.001 and batches of 64: the publication does not say. It kept "
                "0.3 of the 70,000 for validation, here 2,500."
            ),
        ),
        Arm(
            "ours",
            "ours",
            pictures,
            fast(width(scale, cpu=0.5)),
            epochs=at(scale, full=30.0, cpu=4.0, smoke=1.0),
            note="The whitened network with Muon, moved pictures and six views.",
        ),
    )
