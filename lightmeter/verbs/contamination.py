"""contamination: a model's past and the pictures of a test -> which of them it has seen, by their hashes and names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import FormatError
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.files import read_json, write_json
from lightmeter.nouns.likeness import BYTES, near_duplicates, signatures
from lightmeter.nouns.provenance import (
    COPY,
    FORMAT,
    NEAR_DUPLICATE,
    NO_TWIN,
    RULES,
    TOO_PLAIN,
    Contamination,
    Verdict,
    by_name,
    gravest,
    unknown_past,
)
from lightmeter.nouns.run import Run
from lightmeter.nouns.seen import FILE, Seen, short_hashes
from lightmeter.nouns.split import Split
from lightmeter.verbs.published import PUBLISHED

if TYPE_CHECKING:
    from lightmeter.nouns.evaluation import Evaluation
    from lightmeter.nouns.pack import Pack

DOCUMENT = "contamination.json"
"""Where a run keeps the judgement of its test pictures."""

_AT_ONCE = 1024
_SHOWN = 20  # pairs that are kept to look at


def look(dataset: Dataset, pack: Pack, ids: Sequence[str]) -> Seen:
    """The pictures named as a Seen, in the order of `ids`."""
    rows = pack.rows(ids)
    ascending = np.argsort(rows)  # the order in which a disk is read fastest
    marks = np.empty((len(rows), BYTES), np.uint8)
    done = 0
    for pixels in pack.in_turn(rows[ascending], _AT_ONCE):
        marks[ascending[done : done + len(pixels)]] = signatures(pixels, np.arange(len(pixels)))
        done += len(pixels)
    files = short_hashes([dataset.hashes[dataset.row[id]] for id in ids])
    canvases = short_hashes([pack.pixel_hashes[row] for row in rows.tolist()])
    return Seen((), (), (dataset.fingerprint,), files, canvases, marks)


def judge(dataset: Dataset, pack: Pack, ids: Sequence[str], seen: Seen, *, names: Sequence[str] = ()) -> Contamination:
    """Which of the pictures named a model has seen.

    A copy of the file or of the decoded picture, or a near duplicate of it, is contaminated. Else it is what its name
    says about each public training set, and unknown where something that the model learned from is not known.

    Args:
        seen: what the model has seen.
        names: of the first pictures in `seen`, so that pairs can be named.
    """
    asked = look(dataset, pack, ids)
    twins = _equal(asked.files, seen.files)
    twins = np.where(twins < 0, _equal(asked.canvases, seen.canvases), twins)
    near = np.full(len(ids), -1, np.int64)
    single = np.flatnonzero(twins < 0)
    near[single] = near_duplicates(asked.signatures[single], seen.signatures)
    plain = (asked.signatures == 0).all(axis=1)
    by_public = [by_name(public, dataset.provenance.source, dataset.name, ids) for public in seen.public]
    unknown: list[tuple[Verdict, str]] = [("unknown", unknown_past(seen.missing))] if seen.missing else []
    judged: list[tuple[Verdict, str]] = []
    for row in range(len(ids)):
        own: list[tuple[Verdict, str]] = [*unknown, *(verdicts[row] for verdicts in by_public)]
        if twins[row] >= 0:
            own.append(("contaminated", COPY))
        elif near[row] >= 0:
            own.append(("contaminated", NEAR_DUPLICATE))
        elif len(seen) and plain[row]:
            own.append(("unknown", TOO_PLAIN))
        elif len(seen) or not own:
            own.append(("clean", NO_TWIN))
        judged.append(gravest(own))
    found = np.where(near >= 0, near, twins)
    pairs = [(ids[row], names[found[row]]) for row in np.flatnonzero((found >= 0) & (found < len(names)))[:_SHOWN]]
    past = (*seen.public, *(f"data {fingerprint[:16]}" for fingerprint in seen.data), *seen.missing)
    verdicts, whys = tuple(one for one, _ in judged), tuple(why for _, why in judged)
    return Contamination(tuple(ids), verdicts, whys, past, tuple(pairs))


def before(run: Run) -> Seen:
    """What the start weights of a run had seen: from the run or bundle that they are of, else from their names."""
    if not run.has("start"):
        return Seen.nothing()
    start = run.read("start")
    weights = Path(start["path"])
    for folder in (weights.parent, weights.parent.parent):  # of a bundle; of a run, whose weights lie in weights/
        if (folder / FILE).is_file() and ((folder / "bundle.json").is_file() or (folder / "request.json").is_file()):
            return Seen.load(folder / FILE)
    return named(tuple(start["seen"]), str(start["identity"]))


def named(names: Sequence[str], identity: str) -> Seen:
    """What weights have seen by names alone; of what is no public training set, no hash is known.

    Args:
        names: as provenance has them: of public training sets, fingerprints of data; none where nobody wrote them down.
        identity: of the weights, "<name>@<first 16 digits of their sha256>"; published ones are known by it.
    """
    digits = "sha256:" + identity.rpartition("@")[2]
    known = [entry.seen for entry in PUBLISHED.values() if entry.checksum.startswith(digits) and len(digits) > 16]
    names = names or (known[0] if known else (identity,))
    public = [name for name in names if name in RULES]
    return Seen.nothing(public=public, missing=[name for name in names if name not in RULES])


def examine(run: Run, dataset: Dataset, pack: Pack, split: Split) -> Contamination:
    """Write into a run what its model will have seen, and which of its test pictures are among it.

    It takes as long as reading the canvases once and a second or two for 10,000 x 60,000 pairs, and is done before
    anything is planned, so that a budget knows of it.
    """
    if (run.path / FILE).exists() and (run.path / DOCUMENT).exists():  # resuming: what it began from may be gone
        return read(run.path)
    own = (*split.learning.train, *split.learning.val)
    seen = look(dataset, pack, own).and_(before(run))
    seen.save(run.path / FILE)
    found = judge(dataset, pack, split.test, seen, names=own)
    write_json(run.path / DOCUMENT, found.document())
    return found


def kept(run: Run) -> bytes | None:
    """What a run's bundle carries of the pictures that the model has seen; None for a run that did not look."""
    path = run.path / FILE
    return path.read_bytes() if path.exists() else None


def of_run(run: Run, dataset: Dataset, pack: Pack, split: Split) -> Contamination:
    """What a run found out about its test pictures; worked out now for a run that did not. Raises FormatError."""
    if (run.path / DOCUMENT).exists():
        return read(run.path)
    own = (*split.learning.train, *split.learning.val)
    start = str(run.recipe.start)
    ancestors = before(run) if run.has("start") or start == "scratch" else named((), start)
    return judge(dataset, pack, split.test, look(dataset, pack, own).and_(ancestors), names=own)


def read(path: Path) -> Contamination:
    """The judgement that a run folder keeps. Raises FormatError."""
    document = read_json(path / DOCUMENT, kind="run's contamination", newest=FORMAT)
    try:
        return Contamination.parse(document)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{path / DOCUMENT} cannot be read ({error}).", "a run as `lightmeter train` left it"
        ) from error


def of_bundle(bundle: Bundle) -> Seen:
    """What a bundle's model has seen; of an older bundle, what its card says by names. Raises FormatError."""
    if FILE in bundle.files:
        return Seen.load(bundle.path / FILE)
    told: dict[str, Any] = bundle.provenance
    start, own = str(told.get("start", "scratch")), str(told.get("fingerprint", "its data"))
    names = [str(name) for name in told.get("seen", []) if name != own]
    ancestors = Seen.nothing() if start == "scratch" else named(names, start)
    return ancestors.and_(Seen.nothing(missing=[own]))


def summary(found: Contamination, evaluation: Evaluation) -> dict[str, Any]:
    """The scores on clean, contaminated and unknown pictures; see `Contamination.summary`."""
    return found.summary(evaluation.ids, evaluation.correct)


def _equal(asked: NDArray[np.uint64], seen: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each hash the row of an equal one in `seen`, or -1, int64[n]."""
    if not len(seen):
        return np.full(len(asked), -1, np.int64)
    order = np.argsort(seen, kind="stable")
    place = np.minimum(np.searchsorted(seen[order], asked), len(seen) - 1)
    return np.where(seen[order[place]] == asked, order[place], -1)
