"""Studies: whole experiments, from arms to a table and a verdict, by name."""

from __future__ import annotations

from collections.abc import Callable

from lightmeter.studies.base import Arm, Pictures, Scale, Study

STUDIES: dict[str, Callable[[], Study]] = {}
"""Name to function() -> Study."""

__all__ = ["STUDIES", "Arm", "Pictures", "Scale", "Study"]
