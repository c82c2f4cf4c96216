"""The rows of the table of benchmarks, by their ids."""

from __future__ import annotations

from bench.rows.base import Row
from bench.rows.jobs import P3, P7
from bench.rows.memory import P11
from bench.rows.pictures import P4, P5
from bench.rows.serving import P8, P10
from bench.rows.training import P1, P2
from bench.rows.transfer import P6, P9

ROWS: dict[str, Row] = {row.id: row for row in (P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11)}

__all__ = ["ROWS", "Row"]
