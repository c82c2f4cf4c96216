"""ladder: five kinds of model, from a plain network to a pretrained one, each with the same time to learn."""

from __future__ import annotations

from lightmeter.nouns.recipe import AugmentChoice, ModelChoice, Recipe
from lightmeter.recipes import RECIPES, Facts
from lightmeter.studies.base import Arm, MakeRecipe, Pictures, Scale, Study
from lightmeter.studies.settings import MOBILENET, SEEDS, SMOKE, at, faithful

_BACKBONE = ModelChoice(name="mobilenet_v2")


def ladder() -> Study:
    """Imagenette; each arm is one step up from the arm before it."""
    return Study(
        name="ladder",
        title="From a plain network to a pretrained one, step by step",
        question=(
            "A diary of five models in five days, from a plain convolutional network to a pretrained MobileNetV2, "
            "found the last best even in its first epoch, and hours per epoch too slow to try things out. "
            "Which step is worth how much, if each model has the same time to learn?"
        ),
        published={"best": "MobileNetV2, even in its first epoch", "time": "hours per epoch"},
        arms=_arms,
        pairs=(
            ("plain", "deeper"),
            ("deeper", "batchnorm"),
            ("batchnorm", "augmented"),
            ("augmented", "mobilenet-frozen"),
            ("mobilenet-frozen", "mobilenet-tuned"),
        ),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": "pictures of 64 pixels instead of 160, and 45 seconds of training for each model instead of 600.",
            "smoke": SMOKE,
        },
    )


def _arms(scale: Scale) -> tuple[Arm, ...]:
    few = at(scale, full=0, cpu=0, smoke=100)
    pictures = Pictures("imagenette", at(scale, full=160, cpu=64, smoke=32), train_limit=few, test_limit=few)
    seconds = at(scale, full=600.0, cpu=45.0, smoke=0.0)
    epochs = at(scale, full=0.0, cpu=0.0, smoke=1.0)

    def step(name: str, recipe: MakeRecipe, note: str) -> Arm:
        return Arm(name, "variant", pictures, recipe, epochs=epochs, seconds=seconds, note=note)

    return (
        step("plain", faithful("vgg_blocks", options={"blocks": 1}), "Two convolutions, a pooling, two dense layers."),
        step("deeper", faithful("vgg_blocks", options={"blocks": 3}), "Three such blocks, each wider than the last."),
        step(
            "batchnorm", faithful("vgg_blocks", options={"blocks": 3, "batchnorm": True}), "BatchNorm in every block."
        ),
        step("augmented", _augmented, "Dropout of 0.2 as well, and pictures mirrored and shifted at random."),
        Arm(
            "mobilenet-frozen",
            "variant",
            pictures,
            _frozen,
            epochs=at(scale, full=50.0, cpu=50.0, smoke=1.0),
            start=MOBILENET,
            note="Trained on ImageNet, its features computed once; only the last layer learns, in less than the time.",
        ),
        Arm(
            "mobilenet-tuned",
            "ours",
            pictures,
            _tuned,
            epochs=epochs,
            seconds=seconds,
            start=MOBILENET,
            note="The last layer first, then all of it at a low rate that falls towards the input.",
        ),
    )


def _augmented(facts: Facts, epochs: float) -> Recipe:
    options: dict[str, int | float | bool | str] = {"blocks": 3, "batchnorm": True, "dropout": 0.2}
    recipe = faithful("vgg_blocks", options=options)(facts, epochs)
    shift = AugmentChoice(name="shift", options={"pixels": max(1, round(facts.preprocess.size / 10))})
    return recipe.model_copy(update={"augment": (AugmentChoice(name="flip"), shift)})


def _frozen(facts: Facts, epochs: float) -> Recipe:
    return RECIPES["probe"](facts, epochs=epochs, model=_BACKBONE, start="scratch")


def _tuned(facts: Facts, epochs: float) -> Recipe:
    return RECIPES["finetune"](facts, epochs=epochs, model=_BACKBONE, start="scratch")
