from __future__ import annotations

from collections import Counter

import pytest

from lightmeter.nouns.spread import spread


@pytest.mark.parametrize("n", [1, 15, 16, 17, 31, 32, 33, 511])
def test_every_class_gets_its_share_where_ids_lie_class_by_class(n: int) -> None:
    ids = [(label, place) for label in ("a", "b", "c") for place in range(n)]
    found = spread(ids, 30)
    assert len(found) == min(30, 3 * n) and found == sorted(set(found))
    counts = Counter(label for label, _ in found)
    assert max(counts.values()) - min(counts.values()) <= 1, counts


def test_of_few_all_are_taken_and_of_none_none() -> None:
    assert spread("abc", 5) == ["a", "b", "c"]
    assert spread("", 5) == []
