"""Examples: training pictures that travel with a bundle, small, with what the network makes of them. No torch.

They are there only where they were asked for: whoever has the bundle can look at them.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError

FILE = "examples.npz"
SIDE = 64
"""Pixels of a side at most."""


@dataclass(frozen=True, eq=False, slots=True)
class Examples:
    """Training pictures by row.

    Attributes:
        ids: of the items, as the source calls them.
        labels: int64[N], indices into the bundle's classes.
        features: float32[N, F], before the network's head.
        canvases: uint8[N, T, T, C], T at most `SIDE`.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    canvases: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.ids)

    def dumps(self) -> bytes:
        """As a file's bytes; features in half precision."""
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            ids=np.array(self.ids, np.str_),
            labels=self.labels,
            features=self.features.astype(np.float16),
            canvases=self.canvases,
        )
        return stream.getvalue()

    @staticmethod
    def load(path: Path, classes: int) -> Examples:
        """Read what `dumps` wrote. Raises BundleError: it does not fit a bundle of so many classes."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                found = Examples(
                    tuple(str(id) for id in file["ids"]),
                    file["labels"],
                    file["features"].astype(np.float32),
                    file["canvases"],
                )
            n = len(found)
            whole = n > 0 and found.labels.shape == (n,) and found.labels.dtype == np.int64
            whole = whole and found.labels.min() >= 0 and found.labels.max() < classes
            whole = whole and found.features.ndim == 2 and len(found.features) == n
            whole = whole and bool(np.isfinite(found.features).all())
            whole = whole and found.canvases.ndim == 4 and len(found.canvases) == n
            whole = whole and found.canvases.dtype == np.uint8 and found.canvases.shape[3] in (1, 3)
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile, zlib.error) as error:
            raise BundleError(f"{path} cannot be read ({error}).", "the examples as they were exported") from error
        if not whole:
            raise BundleError(f"{path} does not fit its bundle.", "the examples as they were exported")
        return found
