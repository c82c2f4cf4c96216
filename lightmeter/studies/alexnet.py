"""alexnet, alexnet-two-classes: 22 million parameters on 32 pixels, for 200 classes and for two."""

from __future__ import annotations

from lightmeter.nouns.recipe import Recipe
from lightmeter.recipes import Facts
from lightmeter.studies.base import Arm, MakeRecipe, Pictures, Scale, Study
from lightmeter.studies.settings import SEEDS, SMOKE, TWO_CLASSES, at, faithful, fast, tiny, width

_ASSUMED = (
    "Adam at 0.0001 and pixels brought to ImageNet's mean and deviation: the publication does not say. The first "
    "filter's stride pads all four borders, Keras' the lower and right one."
)


def alexnet() -> Study:
    """200 classes: the published network for two lengths of training, and ours."""
    return Study(
        name="alexnet",
        title="One-column AlexNet on Tiny ImageNet, 32 pixels, 200 classes",
        question=(
            "AlexNet for 32 pixels learned 81 % of its training pictures by heart and named 10.4 % of the test "
            "pictures right; after half the epochs it was 12.5 %. Does it over-fit so, and what does a network with a "
            "tenth of its parameters reach?"
        ),
        published={
            "parameters": "22,370,760, of which 22,369,544 are trained",
            "100 epochs": "train 81 % at best, test 10.4 %, loss 14.2",
            "50 epochs": "test 12.5 %, loss 11.5",
        },
        arms=_arms,
        pairs=(("faithful-half", "faithful"), ("faithful", "ours")),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": (
                "5,000 of the 70,000 training and 6,000 of the 30,000 test pictures, and 10 and 5 epochs instead of "
                "100 and 50."
            ),
            "smoke": SMOKE,
        },
        curve=("faithful-half", "faithful"),
    )


def _arms(scale: Scale) -> tuple[Arm, ...]:
    pictures = tiny(scale, cpu=5000, test=6000)
    recipe = faithful("alexnet32", width=width(scale), lr=1e-4)
    return (
        Arm(
            "faithful-half",
            "faithful",
            pictures,
            recipe,
            epochs=at(scale, full=50.0, cpu=5.0, smoke=1.0),
            published=at(scale, full=0.125, cpu=None, smoke=None),
            note=f"Half as many epochs. {_ASSUMED}",
        ),
        Arm(
            "faithful",
            "faithful",
            pictures,
            recipe,
            epochs=at(scale, full=100.0, cpu=10.0, smoke=2.0),
            published=at(scale, full=0.104, cpu=None, smoke=None),
            note=f"Batches of 64. {_ASSUMED}",
        ),
        Arm(
            "ours",
            "ours",
            pictures,
            fast(width(scale)),
            epochs=at(scale, full=30.0, cpu=16.0, smoke=1.0),
            note="The whitened network with Muon, moved pictures and six views.",
        ),
    )


def alexnet_two_classes() -> Study:
    """Two classes at a time: five pairs from far to near kin, as which pair was published is not known."""
    return Study(
        name="alexnet-two-classes",
        title="One-column AlexNet on two classes of Tiny ImageNet, for five pairs of them",
        question=(
            "With two classes only, the same AlexNet named 99.6 % of the test pictures right. Which two they were is "
            "not told. How does the answer depend on the pair? Five were fixed before any training, from an animal "
            "and a vehicle to two breeds of cat."
        ),
        published={"test accuracy": "99.6 %, of a pair that is not named", "test loss": "0.058"},
        arms=_pairs,
        pairs=tuple((f"faithful-{slug(*pair)}", f"ours-{slug(*pair)}") for pair in TWO_CLASSES),
        seeds=SEEDS,
        left_out={
            "full": "",
            "cpu": (
                "12 epochs instead of 500 for the published network; ours at half its width, after 8 epochs on all 200 "
                "classes."
            ),
            "smoke": SMOKE,
        },
    )


def slug(first: str, second: str) -> str:
    """Two class names as a part of a file name."""
    return f"{first}-{second}".lower().replace(" ", "-")


def _pairs(scale: Scale) -> tuple[Arm, ...]:
    size = width(scale, cpu=0.5)
    base = Arm(
        "base",
        "variant",
        tiny(scale, test=6000),
        fast(size),
        epochs=at(scale, full=30.0, cpu=8.0, smoke=1.0),
        note="All 200 classes, from which ours goes on; the test pictures of every pair are left aside here, too.",
    )
    arms = [base]
    few = at(scale, full=0, cpu=0, smoke=40)
    for pair in TWO_CLASSES:
        pictures = Pictures("tiny-imagenet", 32, classes=pair, test_share=0.3, train_limit=few, test_limit=few)
        arms.append(
            Arm(
                f"faithful-{slug(*pair)}",
                "faithful",
                pictures,
                faithful("alexnet32", width=width(scale), lr=1e-4, batch_size=46),
                epochs=at(scale, full=500.0, cpu=12.0, smoke=1.0),
                note=f"{pair[0]} or {pair[1]}; batches of 46. {_ASSUMED}",
            )
        )
        arms.append(
            Arm(
                f"ours-{slug(*pair)}",
                "ours",
                pictures,
                _gently(fast(size)),
                epochs=at(scale, full=30.0, cpu=10.0, smoke=1.0),
                start="arm:base",
                note=f"{pair[0]} or {pair[1]}; the whitened network, which had learned all 200 classes before.",
            )
        )
    return tuple(arms)


def _gently(make: MakeRecipe) -> MakeRecipe:
    """The same recipe at 0.3 of its rates, for a network that has learned something already."""

    def gentle(facts: Facts, epochs: float) -> Recipe:
        recipe = make(facts, epochs)
        rates = {name: 0.3 * getattr(recipe.optimizer, name) for name in ("lr", "bias_lr", "head_lr")}
        return recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update=rates)})

    return gentle
