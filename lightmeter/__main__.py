"""`python -m lightmeter` is `lightmeter`."""

from __future__ import annotations

import sys

from lightmeter.cli import main

if __name__ == "__main__":
    sys.exit(main())
