"""mobilenet-finetune: a pretrained MobileNetV2 on ten classes, frozen first, then its last layers."""

from __future__ import annotations

from dataclasses import replace

from lightmeter.nouns.recipe import ModelChoice, Recipe
from lightmeter.recipes import RECIPES, Facts
from lightmeter.studies.base import Arm, Pictures, Scale, Study
from lightmeter.studies.settings import MOBILENET, SEEDS, SMOKE, at, faithful

FROZEN = 118
"""Layers of ours that come before Keras' layer 130 of 154 (of MobileNetV2 without its top, counted from 0).

Keras has a row for the input, for each padding before a stride and for each sum, which ours has not. Its layer 130 is
`block_14_depthwise_relu`, without parameters, so that what learns begins with `block_14_project`. Its blocks count from
0, ours from 1: that is `features.15.conv.2`, the last 1x1 filter of our block15. Before it stand 3 layers of the stem,
5 of block1, 8 of each of the 13 blocks after it, and 6 of block15."""

_HEAD: dict[str, int | float | bool | str] = {"hidden": 64, "dropout": 0.2}


def mobilenet_finetune() -> Study:
    """Imagenette at 160 pixels: the published two stages, and our fine-tuning."""
    return Study(
        name="mobilenet-finetune",
        title="MobileNetV2 on Imagenette: three epochs frozen, three with the last layers",
        question=(
            "A MobileNetV2 trained on ImageNet reached 98 % of ten classes in six epochs. 3,791 of the 3,925 test "
            "pictures carry the names of ImageNet training files, so that its start weights have seen them: what "
            "does it reach on all, and on those it cannot have seen?"
        ),
        published={
            "parameters": "2,340,618, of which 82,634 are trained at first",
            "3 epochs frozen": "train 0.77 to 0.98, validation 0.97, 0.98, 0.98",
            "3 epochs from layer 130 of 154 on": "train 0.99, validation 0.98",
            "test accuracy": "98 %",
            "test loss": "0.06",
        },
        arms=_arms,
        pairs=(("frozen", "finetuned"), ("finetuned", "ours")),
        seeds={**SEEDS, "cpu": (0,)},
        left_out={
            "full": "",
            "cpu": "two of three seeds: the interval is that of the test pictures.",
            "smoke": SMOKE,
        },
        curve=("frozen", "finetuned"),
    )


def _arms(scale: Scale) -> tuple[Arm, ...]:
    few = at(scale, full=0, cpu=0, smoke=100)
    size = at(scale, full=160, cpu=160, smoke=32)
    pictures = Pictures("imagenette", size, train_limit=few, test_limit=few)
    enlarged = replace(pictures, size=at(scale, full=224, cpu=224, smoke=32))
    return (
        Arm(
            "frozen",
            "faithful",
            pictures,
            faithful("mobilenet_v2", options=_HEAD, lr=1e-4, batch_size=32, freeze=("all",)),
            epochs=at(scale, full=3.0, cpu=3.0, smoke=1.0),
            start=MOBILENET,
            note=(
                "Dense 64, dropout, dense 10; Adam at 0.0001. Batches of 32 and dropout of 0.2: the publication does "
                "not say. Features are computed once and brought to mean 0 and deviation 1. The weights are those of "
                "the ONNX model zoo, with its scale of pixels and its borders, not Keras'."
            ),
        ),
        Arm(
            "finetuned",
            "faithful",
            pictures,
            faithful("mobilenet_v2", options=_HEAD, lr=1e-5, batch_size=32, freeze=(str(FROZEN),)),
            epochs=at(scale, full=3.0, cpu=3.0, smoke=1.0),
            start="arm:frozen",
            published=0.98,
            note=(
                "Goes on from the arm before, from Keras' layer 130 of 154 on. Adam at a tenth of the rate, 0.00001: "
                "the publication does not say. BatchNorm that learns uses the statistics of its batches."
            ),
        ),
        Arm(
            "ours",
            "ours",
            enlarged,
            _ours,
            epochs=at(scale, full=10.0, cpu=3.0, smoke=1.0),
            start=MOBILENET,
            note=(
                "Pictures enlarged to 224 pixels, which the weights were trained with. The head first, on fixed "
                "features; then AdamW at a low rate for all but BatchNorm and the blocks near the input; two views."
            ),
        ),
    )


def _ours(facts: Facts, epochs: float) -> Recipe:
    return RECIPES["finetune"](facts, epochs=epochs, model=ModelChoice(name="mobilenet_v2"), start="scratch")
