"""A Bundle: the folder that crosses from training to serving, and proves that it is whole. It never loads torch.

    model.bundle/
      bundle.json           the card: classes, preprocess, temperature, scores, provenance, sha256 of every other file
      model.onnx            uint8[N, S, S, C] raw pixels -> float32[N, K] logits; N is free, normalisation is inside
      weights.safetensors   the same weights by name, to start another training from
      seen.npz              hashes of the pictures it learned from; early bundles lack it
      examples.npz          some training pictures, small; only where they were asked for
      exam/                 exam.json, canvases.npy, logits.npy, images/ (original files, as they came)

`bundle.json` ends with a seal: the sha256 of its own bytes with the seal's 64 digits written as zeros. Seal and hashes
show that a file was damaged or changed; they do not show who wrote it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lightmeter.errors import BundleError
from lightmeter.nouns.files import read_json, write_atomic
from lightmeter.nouns.preprocess import Preprocess

FORMAT = 1
CARD = "bundle.json"
GRAPH = "model.onnx"
WEIGHTS = "weights.safetensors"
EXAM = "exam/exam.json"
CANVASES = "exam/canvases.npy"
LOGITS = "exam/logits.npy"
IMAGES = "exam/images"

EXAM_IMAGES = 16
"""How many validation pictures an exam gets, where there are as many."""
MOST_EXAM_IMAGES = 32

_NO_SEAL = "0" * 64
_SEAL = re.compile(rb'"seal": "([0-9a-f]{64})"\n\}\n\Z')
_CHUNK = 1 << 20
_FIX = "copy the bundle again from where it was made, or export it again with `lightmeter export RUN`."

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Tolerance(BaseModel):
    """How far a runner may be from the exam: in logits, and in probability. Canvases must be equal bit for bit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    logits: float = Field(default=1e-3, gt=0, le=1e-2)
    probability: float = Field(default=1e-5, gt=0, le=1e-3)


@dataclass(frozen=True, eq=False, slots=True)
class Exam:
    """What a bundle must answer.

    Attributes:
        images: original files, encoded as they came.
        canvases: uint8[N, S, S, C], what each file must decode to.
        logits: float32[N, K], what was answered when it was exported: by the trained module in float32, or where the
            bundle is in 8 bits, by its own graph.
        tolerance: how far a runner may be from that.
        made_with: versions of the libraries that made it.
    """

    images: tuple[bytes, ...]
    canvases: NDArray[np.uint8]
    logits: NDArray[np.float32]
    tolerance: Tolerance
    made_with: dict[str, str]


class Bundle(BaseModel):
    """The card of a bundle whose files have been found whole.

    Attributes:
        path: the folder; not part of the card.
        graph: the kind of graph that it holds, which runners must be able to read.
        temperature: logits are divided by it before the softmax; exactly 1 where nothing was fitted.
        abstain_below: answers of a lower probability abstain; 0 never does.
        views: test-time views that the graph averages.
        precision: of the graph's filters and matrices.
        map_weights: name of the tensor float[K, F] that turns the graph's second output, maps, into those of the
            classes; "" where it has none.
        scores: what was measured, by split; and "calibration": how temperature and threshold were found, and which
            share of wrong answers the threshold aims at.
        files: path below the folder -> sha256, of every file but the card.
        seal: sha256 of the card with this field zeroed; as it covers `files`, it names the whole bundle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    path: Path = Field(exclude=True)
    format: Literal[1] = 1
    lightmeter: str
    created: str
    graph: str
    classes: tuple[str, ...] = Field(min_length=2)
    preprocess: Preprocess
    temperature: float = Field(gt=0)
    abstain_below: float = Field(ge=0, le=1)
    views: int = Field(default=1, ge=1)
    precision: Literal["float32", "int8"] = "float32"
    map_weights: str = ""
    recipe_key: str
    scores: dict[str, Any]
    provenance: dict[str, Any]
    files: dict[str, Sha256]
    seal: Sha256

    @field_validator("classes")
    @classmethod
    def _unique(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(classes)) != len(classes):
            raise ValueError("class names repeat")
        return classes

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or str(path) != name:
                raise ValueError(f"{name!r} is not a plain path below the bundle")
        return files

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities were fitted on held-out pictures."""
        return self.temperature != 1.0

    @property
    def version(self) -> str:
        """The first digits of its seal, which no other bundle shares."""
        return self.seal[:12]

    @staticmethod
    def open(path: Path) -> Bundle:
        """Read the card and check the sha256 of every file.

        Raises:
            FormatError: a bundle of a newer format.
            BundleError: a file is missing, extra or changed; each is named.
        """
        card = path / CARD
        if not card.is_file():
            raise BundleError(f"{path} is not a bundle: it has no {CARD}.", "a folder that `lightmeter export` wrote")
        text = card.read_bytes()
        number = _format(text)
        if number is not None and number != FORMAT:
            read_json(card, kind="bundle", newest=FORMAT)  # raises, with the words that every format shares
        if not _sealed(text):
            raise BundleError(f"{card} was changed after it was written.", "the bundle as it was exported", _FIX)
        try:
            bundle = Bundle.model_validate({**json.loads(text), "path": path})
        except ValidationError as error:
            issues = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors())
            raise BundleError(f"{card} cannot be used ({issues}).", "a card that Lightmeter wrote", _FIX) from error
        problems = _differences(path, bundle.files)
        if problems:
            shown = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
            raise BundleError(f"{path} is not the bundle that was written: {shown}.", "every file unchanged", _FIX)
        return bundle

    def exam(self) -> Exam:
        """Read the exam. Raises BundleError where its parts do not fit together."""
        size, channels, k = self.preprocess.size, self.preprocess.channels, len(self.classes)
        try:
            document = read_json(self.path / EXAM, kind="exam", newest=FORMAT)
            canvases = np.load(self.path / CANVASES, allow_pickle=False)
            logits = np.load(self.path / LOGITS, allow_pickle=False)
            names = [str(item["file"]) for item in document["items"]]
            tolerance = Tolerance.model_validate(document["tolerance"])
            made_with = {str(key): str(value) for key, value in document["made_with"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"The exam in {self.path} cannot be read ({error}).", fix=_FIX) from error
        n = len(names)
        whole = canvases.shape == (n, size, size, channels) and canvases.dtype == np.uint8
        whole = whole and logits.shape == (n, k) and logits.dtype == np.float32 and bool(np.isfinite(logits).all())
        if not n or not whole or any(name not in self.files for name in names):
            raise BundleError(f"The exam in {self.path} does not fit its bundle.", f"{n} canvases and logits", _FIX)
        images = tuple((self.path / name).read_bytes() for name in names)
        return Exam(images, canvases, logits, tolerance, made_with)


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write `bundle.json` into the folder: `card` (every field but format, files and seal), the hashes, the seal."""
    files = {name: _sha256(path / name) for name in _listing(path) if name != CARD}
    document = {"format": FORMAT, **card, "files": files, "seal": _NO_SEAL}
    text = (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    seal = hashlib.sha256(text).hexdigest()
    write_atomic(path / CARD, _SEAL.sub(f'"seal": "{seal}"\n}}\n'.encode(), text))


def _sealed(text: bytes) -> bool:
    match = _SEAL.search(text)
    if match is None:
        return False
    blank = text[: match.start(1)] + _NO_SEAL.encode() + text[match.end(1) :]
    return hashlib.sha256(blank).hexdigest().encode() == match[1]


def _format(text: bytes) -> int | None:
    try:
        number = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError):
        return None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _differences(path: Path, files: dict[str, str]) -> list[str]:
    present = set(_listing(path)) - {CARD}
    problems = [f"{name} is missing" for name in sorted(set(files) - present)]
    problems += [f"{name} does not belong to it" for name in sorted(present - set(files))]
    for name in sorted(present & set(files)):
        if (path / name).is_symlink():
            problems.append(f"{name} is a link")
        elif _sha256(path / name) != files[name]:
            problems.append(f"{name} was changed")
    return problems


def _listing(path: Path) -> list[str]:
    """Every file below the folder, and every link, by its path with forward slashes."""
    found = []
    for folder, folders, names in os.walk(path, followlinks=False):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found += [(Path(folder) / name).relative_to(path).as_posix() for name in [*names, *links]]
    return sorted(found)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
