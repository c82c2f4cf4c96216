"""Lightmeter: a folder of pictures, or a named data set, becomes the best image classifier the time allows."""

from __future__ import annotations

__version__ = "0.1.0"
