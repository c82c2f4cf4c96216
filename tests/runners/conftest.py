"""Fixtures of this folder."""

from __future__ import annotations

from tests.bundles import bundle as bundle
from tests.bundles import own_bundle as own_bundle
