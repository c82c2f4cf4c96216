"""The same network and weights in eager PyTorch, float32, pictures one at a time: `torch_eager.py RUN SECONDS`.

With a picture as a third word it names that picture and ends, as a script for one answer would.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from protocol import answer
from safetensors.torch import load_file

from lightmeter.models.mobilenet_v2 import mobilenet_v2


def main() -> None:
    """Get ready, then measure when told, or answer at once."""
    weights = load_file(Path(sys.argv[1]) / "model.bundle" / "weights.safetensors")
    model = mobilenet_v2(len(weights["classifier.1.bias"]), channels=3, size=160)
    model.load_state_dict(weights)
    model.eval()
    if len(sys.argv) > 3:
        with Image.open(sys.argv[3]) as file:
            picture = np.array(file.convert("RGB").resize((160, 160), Image.Resampling.BILINEAR))
        with torch.no_grad():
            sys.stdout.write(f"{model(torch.from_numpy(picture)[None]).softmax(1).tolist()}\n")
        return
    seconds = float(sys.argv[2])
    pixels = torch.randint(0, 256, (1, 160, 160, 3), dtype=torch.uint8)

    def measure() -> dict[str, Any]:
        times, began = [], time.perf_counter()
        with torch.no_grad():
            while time.perf_counter() - began < seconds:
                start = time.perf_counter()
                model(pixels)
                times.append(time.perf_counter() - start)
        return {"value": 1000 * sorted(times)[len(times) // 2]}

    answer(measure, torch=torch.__version__)


if __name__ == "__main__":
    main()
