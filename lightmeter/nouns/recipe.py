"""A Recipe: everything that decides what is computed, and nothing that says where or how fast."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lightmeter.errors import RecipeError
from lightmeter.nouns.preprocess import Preprocess

BatchNorm = Literal["frozen", "update", "recalibrate", "batch"]
"""What BatchNorm layers do that are frozen; see `Recipe`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelChoice(_Frozen):
    """A name in `MODELS` (or "package.module:function"), its width dial and further options of its builder."""

    name: str
    width: float = Field(default=1.0, gt=0)
    options: dict[str, int | float | bool | str] = {}


class AugmentChoice(_Frozen):
    """A name in `AUGMENTATIONS` and its options."""

    name: str
    options: dict[str, int | float | bool | str] = {}


class Loss(_Frozen):
    """Cross-entropy over soft targets.

    Attributes:
        l2: times the sum of squares of all trained filters and matrices is added, as Keras' kernel_regularizer does:
            a part of the gradient, where an optimizer's decoupled weight decay is none.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] = "none"
    l2: float = Field(default=0.0, ge=0)


class Optimizer(_Frozen):
    """A name in `OPTIMIZERS` and its numbers.

    Attributes:
        lr: peak learning rate of the main group (matrices and filters).
        bias_lr: peak learning rate of biases and normalisation parameters.
        head_lr: peak learning rate of the head.
        momentum: of SGD, or the first moment of Adam and AdamW.
        muon_momentum: of the main group where the optimizer is Muon.
        weight_decay: decoupled and per step, as `lr * weight_decay`, on the groups that are decayed.
        layer_decay: learning rates of a block are so many times those of the block after it; 1 is the same for all.
    """

    name: str
    lr: float = Field(gt=0)
    bias_lr: float = Field(gt=0)
    head_lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    muon_momentum: float = Field(default=0.6, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    layer_decay: float = Field(default=1.0, gt=0, le=1)


class Schedule(_Frozen):
    """Learning rate as a factor of its peak over progress 0..1: rises linearly over `warmup`, then falls to `final`."""

    name: str = "linear"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    final: float = Field(default=0.0, ge=0, le=1)


class Recipe(_Frozen):
    """What is computed. Two equal recipes on equal data give equal results on the same machine and library versions.

    Attributes:
        start: "scratch", or "<name>@<first 16 digits of its sha256>" of the weights it starts from.
        freeze: what of the model is not trained: names of blocks or layers, "N" for the first N layers, "-N" for all
            but the last N, "batchnorm" for all layers of that kind; ("all",) trains the head alone.
        batchnorm: what BatchNorm layers do that are frozen. "frozen" keeps their statistics and uses them;
            "update" uses and keeps track of the batches' own; "recalibrate" uses the batches' own and replaces the
            kept ones by those of the training pictures before each validation; "batch" uses the batches' own in
            training and the old ones after it, which is a mistake that is kept to be shown.
        probe_epochs: epochs for which the head is first trained alone, on features computed once; 0 is none.
        feature_views: features that are computed once are computed for so many further views of each training picture,
            drawn once by `augment`; 0 is the picture as it is.
        feature_mirror: they are computed for its mirror image, too; where nothing is said, if `views` is above 1.
        ema: decay of the averaged weights per step; 0 keeps none.
        views: test-time views whose logits are averaged inside the model: 1 plain, 2 with its mirror image,
            6 with one-pixel shifts of both as well.
        keep: the weights that are kept: "best" by validation, or those of the "last" epoch, as they come.
        patience: epochs without a better validation loss after which training stops; 0 never stops.
    """

    model: ModelChoice
    start: str = "scratch"
    preprocess: Preprocess
    augment: tuple[AugmentChoice, ...] = ()
    loss: Loss = Loss()
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    epochs: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    freeze: tuple[str, ...] = ()
    batchnorm: BatchNorm = "frozen"
    probe_epochs: float = Field(default=0.0, ge=0)
    feature_views: int = Field(default=0, ge=0, le=100)
    feature_mirror: bool = False
    ema: float = Field(default=0.0, ge=0, lt=1)
    views: Literal[1, 2, 6] = 1
    keep: Literal["best", "last"] = "best"
    patience: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _as_views_say(cls, values: Any) -> Any:
        """Recipes were once written without `feature_mirror`, and still are where it follows from `views`."""
        if isinstance(values, dict) and "feature_mirror" not in values:
            views = values.get("views", 1)
            return {**values, "feature_mirror": isinstance(views, int) and views > 1}
        return values

    @property
    def on_features(self) -> bool:
        """Whether the head is all that is trained and what it reads never changes, so that it is computed once."""
        return self.freeze == ("all",) and self.batchnorm == "frozen"

    @property
    def views_for_features(self) -> int:
        """Views of each training picture whose features are computed."""
        return 1 + self.feature_mirror + self.feature_views

    def key(self) -> str:
        """sha256 (hex) of the canonical JSON: equal recipes have equal keys."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """The recipe as plain JSON values; without `feature_mirror` where it follows from `views`."""
        values = self.model_dump(mode="json")
        if self.feature_mirror == (self.views > 1):
            del values["feature_mirror"]
        return values

    @staticmethod
    def parse(document: dict[str, Any]) -> Recipe:
        """Read a recipe. Raises RecipeError that names each wrong field."""
        try:
            return Recipe.model_validate(document)
        except ValidationError as error:
            raise explain(error) from error

    def override(self, settings: dict[str, str]) -> Recipe:
        """A recipe with `{"optimizer.lr": "0.1"}` settings laid over it; each value is read as JSON, else as text.

        Raises:
            RecipeError: no such field (the fields there are listed), or a value it cannot take.
        """
        values = self.model_dump(mode="json") if "feature_mirror" in settings else self.document()
        return Recipe.parse(lay_over(values, settings))


_SEE_RECIPE = "see recipe.json in the folder of a run for a whole recipe."


def explain(error: ValidationError) -> RecipeError:
    """A RecipeError that names each wrong field."""
    issues = [(".".join(map(str, issue["loc"])), issue) for issue in error.errors()]
    given = "; ".join(f"{place} = {issue['input']!r}" for place, issue in issues)
    wanted = "; ".join(f"{place}: {_wanted(place, issue)}" for place, issue in issues)
    return RecipeError(f"The recipe cannot be used with {given}.", wanted, _SEE_RECIPE)


def _wanted(place: str, issue: Mapping[str, Any]) -> str:
    """What would have been right, in words that need no Python."""
    if place == "augment":
        return "one part more, as in --set augment+=NAME, or a list of parts"
    if issue["type"] in ("tuple_type", "list_type"):
        return "a list, as in '[\"NAME\"]'"
    if issue["type"] in ("model_type", "dict_type"):
        return f"its fields one by one, as in --set {place}.FIELD=VALUE"
    return str(issue["msg"]).removeprefix("Input should be ")


def lay_over(document: dict[str, Any], settings: dict[str, str]) -> dict[str, Any]:
    """`document` with `{"optimizer.lr": "0.1"}` laid over it in place; a value is read as JSON, else taken as text.

    A field whose name ends in "+" is a list of parts, to which one is added: `{"augment+": "sharpness"}`, or with its
    options `{"augment+": '{"name": "sharpness", "options": {"most": 3}}'}`.

    Raises:
        RecipeError: no such field; the fields there are listed.
    """
    for dotted, text in settings.items():
        *parents, leaf = dotted.removesuffix("+").split(".")
        place: Any = document
        for depth, name in enumerate([*parents, leaf]):
            new_option = depth > 0 and parents[depth - 1 :] == ["options"]  # which there are, its part says
            if not isinstance(place, dict) or (name not in place and not new_option):
                near = get_close_matches(name, place, n=1) if isinstance(place, dict) else []
                raise RecipeError(
                    f"--set {dotted}={text}: a recipe has no field {name!r} there.",
                    "one of " + ", ".join(sorted(place)) if isinstance(place, dict) else "a field that has parts",
                    f"did you mean {near[0]!r}?" if near else _SEE_RECIPE,
                )
            if depth < len(parents):
                place = place[name]
        value: Any = text
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(text)
        if dotted.endswith("+"):
            if not isinstance(place[leaf], list):
                raise RecipeError(f"--set {dotted}={text}: {leaf} is no list.", f"--set {leaf}=VALUE")
            value = [*place[leaf], value if isinstance(value, dict) else {"name": value}]
        place[leaf] = value
    return document
