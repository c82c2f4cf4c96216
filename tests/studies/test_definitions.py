"""What every study promises before anything is trained, at every scale."""

from __future__ import annotations

import functools
import re

import pytest
import torch

from lightmeter.augment import compose
from lightmeter.models import build_model
from lightmeter.models.base import Model, freeze, layers
from lightmeter.models.table import count
from lightmeter.nouns.preprocess import Preprocess
from lightmeter.nouns.recipe import Recipe
from lightmeter.optim import build_optimizer
from lightmeter.optim.schedules import factor
from lightmeter.recipes import Facts
from lightmeter.studies import STUDIES, Arm, Scale
from lightmeter.studies.mobilenet_finetune import FROZEN
from lightmeter.studies.settings import TWO_CLASSES
from lightmeter.studies.unfreeze_sweep import BASE_LAYERS, frozen
from lightmeter.verbs.published import PUBLISHED

SCALES: tuple[Scale, ...] = ("smoke", "cpu", "full")
SETS = {
    "cifar10": (10, 50_000),
    "fashion-mnist": (10, 60_000),
    "imagenette": (10, 9_469),
    "tiny-imagenet": (200, 100_000),
}
"""Named set -> its classes and training pictures."""

every = pytest.mark.parametrize(
    ("name", "scale"), [(name, scale) for name in STUDIES for scale in SCALES], ids=lambda value: value
)


def arm_of(study: str, name: str, scale: Scale = "full") -> Arm:
    return next(arm for arm in STUDIES[study]().arms(scale) if arm.name == name)


def learned_from(arm: Arm) -> tuple[int, int]:
    """Classes, and pictures to learn from."""
    classes, pictures = SETS[arm.pictures.source]
    share = len(arm.pictures.classes) / classes if arm.pictures.classes else 1.0
    n = round(share * pictures * (1 - arm.pictures.test_share))
    return len(arm.pictures.classes) or classes, min(n, arm.pictures.train_limit or n)


def recipe_of(arm: Arm, *, mirror: bool = True) -> Recipe:
    classes, n = learned_from(arm)
    preprocess = Preprocess.model_validate({"size": arm.pictures.size, "channels": arm.pictures.channels})
    facts = Facts(n - n // 10, classes, preprocess, mirror, seed=1)
    return arm.recipe(facts, arm.epochs or 2.5)


@functools.lru_cache(maxsize=64)
def _built(document: str, classes: int) -> Model:
    recipe = Recipe.model_validate_json(document)
    with torch.device("meta"):  # shapes only
        return build_model(recipe.model, classes, recipe.preprocess.channels, recipe.preprocess.size)


def model_of(arm: Arm) -> Model:
    """As the recipe freezes it."""
    recipe = recipe_of(arm)
    model = _built(recipe.model_dump_json(), learned_from(arm)[0])
    freeze(model, recipe.freeze)
    return model


@every
def test_names_and_references_fit_together(name: str, scale: Scale) -> None:
    study = STUDIES[name]()
    arms = study.arms(scale)
    names = [arm.name for arm in arms]
    assert study.name == name
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", one) for one in names), "unfit for file names"
    assert {one for pair in study.pairs for one in pair} | set(study.curve) <= set(names)
    assert all(first != second for first, second in study.pairs)
    for place, arm in enumerate(arms):
        assert set(arm.best_of) <= set(names[:place])
        if arm.start.startswith("arm:"):
            assert arm.start.removeprefix("arm:") in names[:place]
        else:
            assert arm.start in ("", *PUBLISHED), arm.start


@every
def test_says_what_was_published_and_what_it_leaves_out(name: str, scale: Scale) -> None:
    study = STUDIES[name]()
    assert study.title
    assert study.question.endswith((".", "?"))
    assert study.published
    assert all(arm.note.endswith(".") for arm in study.arms(scale))
    assert study.seeds[scale] == ((0,) if scale == "smoke" else study.seeds[scale])
    assert study.seeds[scale]
    assert study.left_out[scale].endswith(".") or scale == "full"
    assert any(arm.role == "ours" for arm in study.arms(scale)) or name == "more-data"


@every
def test_arms_train_for_a_time_or_for_epochs_and_compare_on_the_same_test_pictures(name: str, scale: Scale) -> None:
    study = STUDIES[name]()
    arms = {arm.name: arm for arm in study.arms(scale)}
    for arm in arms.values():
        assert (arm.epochs > 0) != (arm.seconds > 0)
        classes, n = learned_from(arm)
        assert n >= 5 * classes, "too few for validation"
        assert scale != "smoke" or (n <= 200 and arm.epochs <= 2)
    for first, second in study.pairs:
        one, other = arms[first].pictures, arms[second].pictures
        assert (one.source, one.classes, one.test_share, one.test_limit) == (
            other.source,
            other.classes,
            other.test_share,
            other.test_limit,
        )


@every
def test_recipes_are_whole_and_their_models_can_be_built(name: str, scale: Scale) -> None:
    for arm in STUDIES[name]().arms(scale):
        for mirror in (True, False):
            recipe = recipe_of(arm, mirror=mirror)
            assert Recipe.parse(recipe.document()) == recipe
            assert recipe.seed == 1
            assert recipe.preprocess.size == arm.pictures.size
            compose(recipe.augment)
            factor(0.5, recipe.schedule)
        model = model_of(arm)
        build_optimizer(model, recipe.optimizer)
        if arm.start.startswith("arm:"):  # the network must be that of the weights, but for its head
            earlier = arm_of(name, arm.start.removeprefix("arm:"), scale)
            assert recipe_of(earlier).model.name == recipe.model.name


@every
def test_faithful_arms_train_as_published(name: str, scale: Scale) -> None:
    for arm in STUDIES[name]().arms(scale):
        if arm.role == "faithful":
            recipe = recipe_of(arm)
            assert recipe.augment == ()
            assert recipe.views == 1
            assert recipe.keep == "last"
            assert recipe.loss.label_smoothing == 0
            assert (recipe.optimizer.name, recipe.schedule.name) == ("adam", "constant")
            assert recipe.optimizer.lr == recipe.optimizer.bias_lr == recipe.optimizer.head_lr


@pytest.mark.parametrize(
    ("study", "arm", "total", "trainable"),
    [
        ("alexnet", "faithful", 22_370_760, 22_369_544),
        ("alexnet", "faithful-half", 22_370_760, 22_369_544),
        ("frozen-batchnorm", "inception-batch-unscaled", 24_105_960, 2_303_176),
        ("frozen-batchnorm", "inception-frozen", 24_105_960, 2_303_176),
        ("mobilenet-finetune", "frozen", 2_340_618, 82_634),
        ("mobilenet-finetune", "finetuned", 2_340_618, 1_442_634),
    ],
)
def test_faithful_arms_have_the_published_parameters(study: str, arm: str, total: int, trainable: int) -> None:
    counts = count(model_of(arm_of(study, arm)))
    assert (counts.total, counts.trainable) == (total, trainable)


@pytest.mark.parametrize("study", ["own-transfer", "more-data", "unfreeze-sweep"])
def test_the_base_has_the_published_parameters_without_its_head(study: str) -> None:
    model = model_of(arm_of(study, "base"))
    whole, head = count(model), count(model.head)
    assert (whole.total - head.total, whole.trainable - head.trainable) == (288_800, 287_904)


def test_the_small_network_has_the_published_filters() -> None:
    model = model_of(arm_of("tiny-cnn", "faithful"))
    filters = [count(layer).total for layer in layers(model).values() if isinstance(layer, torch.nn.Conv2d)]
    assert filters == [448, 2320, 4640, 9248, 18496, 36928, 36928]
    assert count(model.head).total == 13_000


@pytest.mark.parametrize(
    ("last", "filters"), [(5, ["block3.conv2"]), (8, ["block3.conv1", "block3.conv2"]), (13, ["block2.conv2"])]
)
def test_the_sweep_trains_the_layers_that_keras_counts(last: int, filters: list[str]) -> None:
    known = list(layers(_built(recipe_of(arm_of("unfreeze-sweep", "all")).model_dump_json(), 200)))
    kinds = ["conv1", "relu1", "norm1", "conv2", "relu2", "norm2", "pool", "dropout"]
    assert known[:BASE_LAYERS] == [f"block{block}.{kind}" for block in (1, 2, 3) for kind in kinds]
    trained = known[int(frozen(last)[0]) : BASE_LAYERS]
    assert len(trained) == last
    assert trained[0] == filters[0]
    assert [one for one in trained if "conv" in one][: len(filters)] == filters
    assert frozen(BASE_LAYERS) == ()


def test_keras_layer_130_is_where_ours_begins() -> None:
    """By the same count from layer 100 on, the guide of TensorFlow on fine-tuning prints 1,862,721 with one output."""
    model = model_of(arm_of("mobilenet-finetune", "frozen"))
    known = layers(model)
    names = list(known)
    assert names[FROZEN - 1 : FROZEN + 1] == ["features.15.conv.1.2", "features.15.conv.2"]
    from_100 = names[names.index("features.12.conv.1.0") :]  # what has parameters from block_11_expand_relu on
    tail = sum(p.numel() for name in from_100 if name.startswith("features") for p in known[name].parameters())
    assert tail + 1280 + 1 == 1_862_721


def test_the_pairs_are_five_and_the_same_in_every_arm() -> None:
    assert len({name for pair in TWO_CLASSES for name in pair}) == 10
    for scale in SCALES:
        base, *arms = STUDIES["alexnet-two-classes"]().arms(scale)
        assert [arm.pictures.classes for arm in arms] == [pair for pair in TWO_CLASSES for _ in range(2)]
        # The same share of the same class is the same pictures, so that the base has not learned from a test picture.
        assert {arm.pictures.test_share for arm in arms} == {base.pictures.test_share}


def test_the_search_takes_over_from_each_candidate() -> None:
    *candidates, chosen = STUDIES["tiny-search"]().arms("cpu")
    assert chosen.best_of == tuple(arm.name for arm in candidates)
    assert chosen.seconds > sum(arm.seconds for arm in candidates) > 0
    assert len({recipe_of(arm).key() for arm in candidates}) == len(candidates)
