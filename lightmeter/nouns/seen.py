"""Seen: what a model has learned from, as hashes that travel with it; no picture can be made from the exact ones.

The signatures are another matter: each is a blur of about 10 x 10 cells. Whoever gets a bundle gets them.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import FormatError
from lightmeter.nouns.files import write_atomic
from lightmeter.nouns.likeness import BYTES

FORMAT = 1
FILE = "seen.npz"
"""Its name in a run and in a bundle."""


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """The pictures that a model was trained on or chosen by, its ancestors' included: 47 bytes for each.

    Hashes are cut to 8 bytes: among 10,000 x 1,000,000 pairs of different pictures, two are equal by chance once in
    two billion such comparisons.

    Attributes:
        public: names of public training sets, as in `RULES`.
        missing: names of ancestors of which nothing is known: start weights, or data whose hashes were not kept.
        data: fingerprints of the data sets whose pictures are below.
        files: uint64[N], of the encoded bytes.
        canvases: uint64[N], of the decoded pictures.
        signatures: uint8[N, 31], see `nouns.likeness`.
    """

    public: tuple[str, ...]
    missing: tuple[str, ...]
    data: tuple[str, ...]
    files: NDArray[np.uint64]
    canvases: NDArray[np.uint64]
    signatures: NDArray[np.uint8]

    def __post_init__(self) -> None:
        n = len(self.files)
        assert self.canvases.shape == self.files.shape == (n,) and self.signatures.shape == (n, BYTES)
        assert self.files.dtype == self.canvases.dtype == np.uint64 and self.signatures.dtype == np.uint8

    def __len__(self) -> int:
        return len(self.files)

    @staticmethod
    def nothing(*, public: Sequence[str] = (), missing: Sequence[str] = ()) -> Seen:
        """No picture of our own."""
        none = np.zeros(0, np.uint64)
        return Seen(tuple(public), tuple(missing), (), none, none, np.zeros((0, BYTES), np.uint8))

    def and_(self, other: Seen) -> Seen:
        """Both; what is in both stands there twice, which changes no answer."""

        def joined(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys([*getattr(self, name), *getattr(other, name)]))

        return Seen(
            joined("public"),
            joined("missing"),
            joined("data"),
            np.concatenate([self.files, other.files]),
            np.concatenate([self.canvases, other.canvases]),
            np.concatenate([self.signatures, other.signatures]),
        )

    def save(self, path: Path) -> None:
        """Write an .npz without objects, atomically. Raises StorageError."""
        card = {"format": FORMAT, "public": self.public, "missing": self.missing, "data": self.data}
        stream = io.BytesIO()
        np.savez(
            stream,
            card=np.frombuffer(json.dumps(card).encode(), np.uint8),
            files=self.files.astype("<u8"),
            canvases=self.canvases.astype("<u8"),
            signatures=self.signatures,
        )
        write_atomic(path, stream.getvalue())

    @staticmethod
    def load(path: Path) -> Seen:
        """Read what `save` wrote. Raises FormatError where it is not that."""
        expected = "what Lightmeter keeps of the pictures that a model has seen"
        try:
            content = path.read_bytes()  # np.load forgets to close a file that is no zip
            with zipfile.ZipFile(io.BytesIO(content)):
                pass
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                card = json.loads(arrays["card"].tobytes())
                if card.get("format") != FORMAT:
                    raise FormatError(
                        f"{path} is of format {card.get('format')}.",
                        f"format {FORMAT}, which this version reads",
                        "upgrade Lightmeter (pip install --upgrade lightmeter).",
                    )
                files, canvases = (arrays[name].astype(np.uint64) for name in ("files", "canvases"))
                public, missing, data = (tuple(map(str, card[name])) for name in ("public", "missing", "data"))
                return Seen(public, missing, data, files, canvases, arrays["signatures"])
        except (OSError, ValueError, KeyError, EOFError, AssertionError, zipfile.BadZipFile) as error:
            raise FormatError(f"{path} cannot be read ({error}).", expected) from error


def short_hashes(digests: Sequence[str]) -> NDArray[np.uint64]:
    """The first 16 hex digits of each digest, uint64[n]."""
    return np.array([int(digest[:16], 16) for digest in digests], np.uint64)
