"""epochs: what ten more epochs are worth, read off one long run."""

from __future__ import annotations

from dataclasses import replace

from lightmeter.studies.base import Arm, Pictures, Scale, Study
from lightmeter.studies.settings import SEEDS, SMOKE, at, faithful, fast, width


def epochs() -> Study:
    """ResNet-50 on Fashion-MNIST, a row for every ten epochs of one run, and ours."""
    return Study(
        name="epochs",
        title="ResNet-50 on Fashion-MNIST: what more epochs are worth",
        question=(
            "Five trainings of 10 to 200 epochs found that test accuracy hardly moves after 100 while time grows "
            "with every epoch. Where does more stop paying, and what does the next tenth of a point cost? One run "
            "tells, on any pictures."
        ),
        published={
            "10 epochs": "train 87.86 %, test 87.32 %, time 15.98",
            "50 epochs": "train 93.75 %, test 89.88 %, time 79.11",
            "100 epochs": "train 96.10 %, test 90.37 %, time 157.5",
            "150 epochs": "train 97.11 %, test 90.56 %, time 234.56",
            "200 epochs": "train 97.64 %, test 90.66 %, time 312.61",
        },
        arms=_arms,
        pairs=(("faithful", "ours"),),
        seeds={**SEEDS, "cpu": (0,)},
        left_out={
            "full": "",
            "cpu": (
                "for ResNet-50 45,000 of the 60,000 training pictures and 190 of 200 epochs, with a row for each of "
                "the 10; two of three seeds. Ours learns from all pictures."
            ),
            "smoke": SMOKE,
        },
        rows_every={"full": 10, "cpu": 1, "smoke": 1},
        any_source=True,
    )


def _arms(scale: Scale) -> tuple[Arm, ...]:
    few = at(scale, full=0, cpu=0, smoke=100)
    pictures = Pictures("fashion-mnist", 28, channels=1, train_limit=few, test_limit=few)
    some = replace(pictures, train_limit=15_000) if scale == "cpu" else pictures
    return (
        Arm(
            "faithful",
            "faithful",
            some,
            faithful("resnet50", options={"stem": "imagenet"}, width=width(scale), batch_size=128),
            epochs=at(scale, full=200.0, cpu=10.0, smoke=2.0),
            published=at(scale, full=0.9066, cpu=0.8732, smoke=None),
            note=(
                "Bottlenecks in stages of 3, 4, 6 and 3, a pooling of 3x3 with stride 2 first. Adam at 0.001 and "
                "batches of 128: the publication does not say."
            ),
        ),
        Arm(
            "ours",
            "ours",
            pictures,
            fast(width(scale)),
            epochs=at(scale, full=30.0, cpu=6.0, smoke=1.0),
            published=at(scale, full=0.9066, cpu=0.9066, smoke=None),
            note="The whitened network with Muon, moved pictures and averaged views, over a falling rate.",
        ),
    )
