"""A Measurement: what one way of computing achieved here; and the choices that are kept for this machine."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lightmeter.errors import FormatError
from lightmeter.nouns.files import read_json, write_json
from lightmeter.verbs.environment import gpu, processor
from lightmeter.verbs.execution import Execution

_METHOD = "4"  # of choosing: what was kept by another one is measured anew
_KEPT_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one execution achieved.

    Attributes:
        what: in words.
        images_per_second: forward, or forward and backward, as stated in `what`.
        max_error: of the outputs against plain float32, relative to their root mean square.
        accepted: whether it is numerically right.
        note: why not, where it is not.
    """

    what: str
    images_per_second: float
    max_error: float
    accepted: bool
    note: str = ""

    def sentence(self) -> str:
        """In words."""
        return f"  {self.what}: {self.images_per_second:,.0f} images/s" + (f" ({self.note})" if self.note else "")

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def machine_words(device: str) -> list[str]:
    """What of this machine, its libraries and this module decides which execution is fastest."""
    machine = (processor(), gpu(), os.cpu_count(), torch.get_num_threads(), torch.__version__, device)
    return [_METHOD, *map(str, machine)]


def keep(path: Path, execution: Execution, found: list[Measurement]) -> None:
    """Write down what was chosen, for `recalled`."""
    measurements = [one.document() for one in found]
    write_json(path, {"format": 1, "execution": execution.document(), "measurements": measurements})


def recalled(path: Path) -> tuple[Execution, list[Measurement]] | None:
    """What was kept there less than a month ago; None where nothing was, or nothing that can be read."""
    try:
        if time.time() - path.stat().st_mtime > _KEPT_SECONDS:
            return None
        document = read_json(path, kind="execution", newest=1)
        return Execution(**document["execution"]), [Measurement(**one) for one in document["measurements"]]
    except (OSError, FormatError, KeyError, TypeError):
        return None
