"""A Dataset to a Split: stratified, and no picture or given group stands on two sides."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import DataError, LeakError
from lightmeter.nouns.dataset import Dataset
from lightmeter.nouns.split import Split

TEST_SHARE = 0.2
"""Of everything, where the source gives no held-out part."""

VAL_SHARE = 0.1
"""Of what is left for learning."""


@dataclass(frozen=True)
class _Cluster:
    """Items that must stay together: same picture, or same given group."""

    key: str  # its smallest id, so that the order of the items does not matter
    ids: tuple[str, ...]
    counts: dict[int, int]  # label -> items


def split(
    dataset: Dataset,
    pixel_hashes: Sequence[Hashable] | NDArray[Any],
    *,
    seed: int = 0,
    allow_leak: bool = False,
) -> Split:
    """Divide a Dataset into train, val and test.

    A part that the source gives as held out (test, else val) is the test part. Validation is the source's own where
    it gives all three, else it is carved from train: a tenth, at most `max(2500, 10 * num_classes)` images.
    Where the source gives no parts, a fifth is drawn for test first. Draws are stratified by class and go by
    sha256(seed, smallest id of the cluster): no random stream of a library can change them, and one more picture
    moves few others. Pictures with the same hash and items of the same group form a cluster, which is never divided
    by a draw.

    Args:
        pixel_hashes: one value per item of the Dataset, equal where the canvases are.
        allow_leak: accept a user's own split whose test part shares pictures or groups with train.

    Returns:
        ids of each part in their sorted order. `leaks` lists pairs (test id, train id) that the source's parts share.

    Raises:
        LeakError: the user's own parts share pictures or groups, and `allow_leak` is false.
        DataError: too few different pictures for three parts.
    """
    assert len(pixel_hashes) == len(dataset), "one hash per item"
    hashes: list[Hashable] = pixel_hashes.tolist() if isinstance(pixel_hashes, np.ndarray) else list(pixel_hashes)
    held_out, own_val = _given(dataset.splits)
    rows_of: dict[str, list[int]] = {"pool": [], "val": [], "test": []}
    for row, part in enumerate(dataset.splits):
        rows_of["test" if held_out and part == held_out else "val" if own_val and part == "val" else "pool"].append(row)
    leaks = _leaks(dataset, hashes, rows_of["test"], rows_of["pool"])
    if leaks and dataset.provenance.official == "own" and not allow_leak:
        raise _refusal(leaks)

    parts = {part: [dataset.ids[row] for row in rows] for part, rows in rows_of.items()}
    clusters = _clusters(dataset, hashes, rows_of["pool"])
    num_classes = len(dataset.classes)
    totals = _count(clusters)
    if not held_out:
        taken = _draw(clusters, _quota(clusters, TEST_SHARE, totals, least=2), seed, keep=2)  # one for val, too
        parts["test"] = _ids(taken)
        clusters = _less(clusters, taken)
    if not own_val:
        size = sum(len(cluster.ids) for cluster in clusters)
        taken = _draw(clusters, _quota(clusters, _val_share(size, num_classes), totals, least=3), seed)
        parts["val"] = _ids(taken)
        clusters = _less(clusters, taken)
    parts["train"] = _ids(clusters)
    for part in ("train", "val", "test"):
        if not parts[part]:
            raise DataError(
                f"Of {len(dataset)} pictures, none is left for {part}.",
                "at least three different pictures (or groups) in each class",
                "add pictures; copies of a picture, and pictures of one group, count once here.",
            )
    together = Counter(_roots(dataset, hashes, list(range(len(dataset)))))
    return Split(
        train=tuple(sorted(parts["train"])),
        val=tuple(sorted(parts["val"])),
        test=tuple(sorted(parts["test"])),
        fingerprint=dataset.fingerprint,
        origin={
            "train": "source" if own_val else "drawn",
            "val": "source" if own_val else "drawn",
            "test": "source" if held_out else "drawn",
        },
        seed=seed,
        leaks=leaks,
        clusters=sum(size > 1 for size in together.values()),
    )


def sizes(splits: Sequence[str], num_classes: int) -> tuple[int, int, int]:
    """About how many pictures `split` will put into train, val and test, told before any is decoded.

    Args:
        splits: of the source, one per picture, as a Dataset has them.
    """
    held_out, own_val = _given(splits)
    count = Counter(splits)
    test = count[held_out] if held_out else round(TEST_SHARE * len(splits))
    learned = len(splits) - test
    val = count["val"] if own_val else round(_val_share(learned, num_classes) * learned)
    return learned - val, val, test


def _given(splits: Iterable[str]) -> tuple[str, bool]:
    """The source's part that is held out for the test, or "", and whether its own val is validated on."""
    given = set(splits)
    return "test" if "test" in given else "val" if "val" in given else "", {"val", "test"} <= given


def _val_share(learned: int, num_classes: int) -> float:
    return min(VAL_SHARE, max(2500, 10 * num_classes) / max(learned, 1))


def _roots(dataset: Dataset, hashes: Sequence[Hashable], rows: Sequence[int]) -> list[int]:
    """For each of the rows, the row that stands for its cluster (union-find)."""
    parent = {row: row for row in rows}

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, Hashable], int] = {}
    for row in rows:
        marks: list[tuple[str, Hashable]] = [("picture", hashes[row])]
        if dataset.groups[row]:
            marks.append(("group", dataset.groups[row]))
        for mark in marks:
            other = first.setdefault(mark, row)
            if other != row:
                parent[root(row)] = root(other)
    return [root(row) for row in rows]


def _clusters(dataset: Dataset, hashes: Sequence[Hashable], rows: Sequence[int]) -> list[_Cluster]:
    members: defaultdict[int, list[int]] = defaultdict(list)
    for row, root in zip(rows, _roots(dataset, hashes, rows), strict=True):
        members[root].append(row)
    labels = dataset.labels.tolist()
    clusters = []
    for group in members.values():
        ids = tuple(sorted(dataset.ids[row] for row in group))
        clusters.append(_Cluster(ids[0], ids, dict(Counter(labels[row] for row in group))))
    return clusters


def _count(clusters: Iterable[_Cluster]) -> Counter[int]:
    """Clusters per label."""
    return Counter(label for cluster in clusters for label in cluster.counts)


def _quota(clusters: list[_Cluster], share: float, totals: Counter[int], *, least: int) -> dict[int, int]:
    """Images to take per label: its share, but one where the class has at least `least` clusters in all."""
    items: Counter[int] = Counter()
    for cluster in clusters:
        items.update(cluster.counts)
    # A tiny amount is added because a tenth of 50 must be 5, not 4.999...
    return {label: max(int(count * share + 1e-9), int(totals[label] >= least)) for label, count in items.items()}


def _draw(clusters: list[_Cluster], quota: dict[int, int], seed: int, *, keep: int = 1) -> list[_Cluster]:
    """Take clusters until each label has its quota, nearest to it where clusters are large.

    The label with the fewest clusters goes first, as in Sechidis et al., "On the stratification of multi-label
    data" (2011), because a cluster of several labels serves all of them. The last cluster of a label is never taken,
    nor the last `keep` where there are more.
    """
    by_label: defaultdict[int, list[_Cluster]] = defaultdict(list)
    for cluster in sorted(clusters, key=lambda cluster: _order(cluster, seed)):
        for label in cluster.counts:
            by_label[label].append(cluster)
    left = Counter({label: len(found) for label, found in by_label.items()})
    kept = {label: keep if count > keep else 1 for label, count in left.items()}
    need = dict(quota)
    taken: dict[str, _Cluster] = {}

    def take(cluster: _Cluster) -> None:
        taken[cluster.key] = cluster
        for label, count in cluster.counts.items():
            need[label] -= count
            left[label] -= 1

    for label in sorted(by_label, key=lambda label: (len(by_label[label]), label)):
        spare = [cluster for cluster in by_label[label] if cluster.key not in taken]
        for cluster in spare:
            if need[label] <= 0:
                break
            nearer = sum(abs(need[at]) - abs(need[at] - count) for at, count in cluster.counts.items())
            if nearer >= 0 and all(left[at] > kept[at] for at in cluster.counts):
                take(cluster)
        if need[label] == quota[label] > 0:  # every cluster was too large: the smallest one, or the part lacks a class
            free = [cluster for cluster in spare if all(left[at] > kept[at] for at in cluster.counts)]
            if free:
                take(min(free, key=lambda cluster: len(cluster.ids)))
    return list(taken.values())


def _order(cluster: _Cluster, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{cluster.key}".encode()).digest()


def _ids(clusters: Iterable[_Cluster]) -> list[str]:
    return [id for cluster in clusters for id in cluster.ids]


def _less(clusters: list[_Cluster], taken: list[_Cluster]) -> list[_Cluster]:
    gone = {cluster.key for cluster in taken}
    return [cluster for cluster in clusters if cluster.key not in gone]


def _leaks(
    dataset: Dataset, hashes: Sequence[Hashable], test: Sequence[int], train: Sequence[int]
) -> tuple[tuple[str, str], ...]:
    """Pairs of a test item and the first train item (by id) that shows the same picture or is of its group."""
    pairs: set[tuple[str, str]] = set()
    for marks in (hashes, dataset.groups):
        first: dict[Hashable, str] = {}
        for row in train:
            mark = marks[row]
            if mark != "" and (mark not in first or dataset.ids[row] < first[mark]):
                first[mark] = dataset.ids[row]
        pairs.update((dataset.ids[row], first[marks[row]]) for row in test if marks[row] in first)
    return tuple(sorted(pairs))


def _refusal(leaks: tuple[tuple[str, str], ...]) -> LeakError:
    shown = [f"  {test} = {train}" for test, train in leaks[:20]]
    if len(leaks) > 20:
        shown.append(f"  and {len(leaks) - 20} more")
    return LeakError(
        f"{len({test for test, _ in leaks})} pictures of the test part stand in the training part too, or share a "
        "group with it:\n" + "\n".join(shown),
        "a test part that training has never seen, or its score means nothing",
        "remove them from one side, or accept and record them with `--allow-leak`.",
    )
