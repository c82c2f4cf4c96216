"""Milliseconds for a picture on a ready canvas, by the bundle: `answer_ours.py BUNDLE SECONDS [PICTURES AT ONCE]`.

Without a number one picture is answered as a server would choose to, by what it measures when it starts. With 1 it is
answered by one call on all cores, with more they are scored by calls on one core each, whatever a server would choose.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from protocol import answer

from lightmeter.nouns.bundle import Bundle
from lightmeter.runners import PLAIN, open_runner, open_side_by_side
from lightmeter.verbs.choose_runner import choose_runner
from lightmeter.verbs.predict import Predictor


def main() -> None:
    """Get ready, then measure when told."""
    bundle, seconds = Bundle.open(Path(sys.argv[1])), float(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    chosen = choose_runner(bundle) if len(sys.argv) <= 3 else None
    plain = open_side_by_side(bundle) if count > 1 else open_runner(bundle)
    runner = plain if chosen is None else chosen.runner
    predictor, side = Predictor(bundle, runner=runner), bundle.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)

    def measure() -> dict[str, Any]:
        times, began = [], time.perf_counter()
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            predictor.answer(["picture"] * count, pixels)
            times.append(time.perf_counter() - start)
        return {"value": 1000 * sorted(times)[len(times) // 2] / count}

    answer(measure, runner=PLAIN if chosen is None else chosen.by)


if __name__ == "__main__":
    main()
