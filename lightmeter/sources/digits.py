"""scikit-learn's 1,797 handwritten digits of 8x8 pixels: installed with it, so that they need no network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmeter.errors import SourceError
from lightmeter.nouns.dataset import Dataset, Provenance
from lightmeter.sources.arrays import from_arrays
from lightmeter.sources.options import SourceOptions


def load(location: Path | None, options: SourceOptions) -> Dataset:
    """The digits, values 0..16 scaled to 0..255; no split of their own.

    Raises:
        SourceError: scikit-learn is not installed.

    Source: test part of the UCI "Optical Recognition of Handwritten Digits" set, as `sklearn.datasets.load_digits`.
    """
    try:
        from sklearn.datasets import load_digits  # takes half a second to import: not for those who use other data
    except ImportError as error:
        raise SourceError(
            "The digits come with scikit-learn, which is not installed.", fix='pip install "lightmeter[train]".'
        ) from error
    values, labels = load_digits(return_X_y=True)  # float64[1797, 64], int64[1797]
    pixels = np.rint(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # uint8[1797, 8, 8]
    classes = tuple(str(digit) for digit in range(10))
    note = "8x8 pixels of 16 grey levels, scaled to 0..255"
    provenance = Provenance("digits", "verified", (note, "read from the installed scikit-learn"))
    return from_arrays(options.name or "digits", classes, {"": (pixels, labels)}, provenance=provenance)
