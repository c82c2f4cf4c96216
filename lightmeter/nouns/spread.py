"""spread: some of many, evenly from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of `items`, in their order and evenly spaced over all of them.

    Ids often lie class by class: with a whole number as a step the last classes would be left out.
    """
    count = min(most, len(items))
    return [items[place * len(items) // count] for place in range(count)]
