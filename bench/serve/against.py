"""Requests a second that a server bears at p99 <= 100 ms, beside other servers: `python -m bench.serve.against`.

Each side is searched for its capacity (see `stress`) in turns, A-B-A-B, with all others stopped, on the same cores and
with the same picture, network, weights and ONNX Runtime: MobileNetV2 at 160 px. The other servers are tried with one
and two workers first, with the smaller picture, and each goes on with what suits it. Ours decodes a large JPEG at a
fraction of its size, as it does for users; the others decode it whole, as their guides do. Load comes from a process of
its own and waits for no answer, as people do. The ratio is of medians, its interval from resampling the pairs.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.pairs import ratio
from bench.peers import python_of
from bench.rows.serving import trained
from bench.serve.process import Server, free_port, lightmeter, serving
from bench.serve.record import keep
from bench.serve.stress import Ask, capacity

SIDES = Path(__file__).resolve().parent / "sides"
_BOUNDARY = "lightmeter-bench"


@dataclass(frozen=True, slots=True)
class Size:
    """A picture to send: the side and JPEG quality that make it about so large."""

    side: int
    quality: int


SIZES = {"10 KB": Size(256, 50), "2 MB": Size(2000, 93)}
PEERS = ("litserve", "bentoml", "ray")
"""Servers that can have several workers."""
MARKS = {"naive": 3.0, "litserve": 1.3, "bentoml": 1.3, "ray": 1.3, "json": 10.0}
"""What the ratio must be at least."""


def main() -> None:
    """Run it and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", nargs="*", choices=[*MARKS, []], help="all of them, where none is named")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--run", type=Path, help="such a run made before, instead of a new one")
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    workers: dict[str, int] = {}
    with contextlib.nullcontext((asked.run, None)) if asked.run else trained() as (run, _):
        for size in asked.sizes:
            picture = jpeg(SIZES[size])
            names = ["ours", *(name for name in asked.sides or MARKS if name != "json" or size == "10 KB")]
            values: dict[str, list[float]] = {name: [] for name in names}
            for name in names:
                if name in PEERS and name not in workers:
                    workers[name] = suited(name, run, request(name, picture))
            for _ in range(asked.pairs):
                for name in names:
                    with started(name, run, workers.get(name, 1)) as server:
                        most, _ = capacity(server.url, request(name, picture), first=max([4.0, *values[name]]) / 2)
                    values[name].append(most)
                    sys.stderr.write(f"{size}, {name}: {most:.1f} a second\n")
            found[size] = {
                name: {
                    "values": [round(value, 2) for value in some],
                    "workers": workers.get(name, 1),
                    **against(values["ours"], some),
                }
                for name, some in values.items()
            }
            words = [*asked.sides, "--pairs", str(asked.pairs), "--sizes", *(repr(one) for one in asked.sizes)]
            command = " ".join(["python -m bench.serve.against", *words])
            keep("against", command, {"capacity": found, "marks": MARKS})


def suited(name: str, run: Path, ask: Ask) -> int:
    """Whether one worker or two bear more."""
    borne = {}
    for workers in (1, 2):
        with started(name, run, workers) as server:
            borne[workers], _ = capacity(server.url, ask, first=8.0)
        sys.stderr.write(f"{name} with {workers} workers: {borne[workers]:.1f} a second\n")
    return max(borne, key=lambda count: borne[count])


def against(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """{"ratio", "low", "high"} of ours to theirs, as if who bears not even one a second bore that."""
    middle, low, high = ratio(ours, [max(value, 1.0) for value in theirs])
    return {"ratio": round(middle, 3), "low": round(low, 3), "high": round(high, 3)}


def jpeg(size: Size) -> bytes:
    """Blurred noise with grain, which keeps a JPEG from becoming small."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (size.side // 8, size.side // 8, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((size.side, size.side), Image.Resampling.BICUBIC), np.int16)
    grain = draw.normal(0, 6, smooth.shape) if size.side > 1000 else 0
    stream = io.BytesIO()
    Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=size.quality)
    return stream.getvalue()


def request(name: str, picture: bytes) -> Ask:
    """The picture as each server takes it."""
    if name == "naive":
        return Ask("/predict", "application/json", json.dumps({"image": base64.b64encode(picture).decode()}).encode())
    if name in ("litserve", "bentoml"):
        field = "request" if name == "litserve" else "image"
        head = (
            f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()
        return Ask("/predict", f"multipart/form-data; boundary={_BOUNDARY}", body)
    if name == "json":
        pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB").resize((160, 160)))
        values = pixels.ravel().tolist()
        tensor = {"name": "pixels", "shape": [1, 160, 160, 3], "datatype": "UINT8", "data": values}
        return Ask("/v2/models/model/infer", "application/json", json.dumps({"inputs": [tensor]}).encode())
    return Ask("/", body=picture) if name == "ray" else Ask(body=picture)


@contextlib.contextmanager
def started(name: str, run: Path, workers: int = 1) -> Iterator[Server]:
    """The server of a side."""
    port, onnx = free_port(), str(run / "model.bundle" / "model.onnx")
    os.environ["LIGHTMETER_WORKERS"] = str(workers)
    if name in ("ours", "json"):
        with serving(lightmeter(run / "model.bundle", port, name="model", runner="onnxruntime"), port) as server:
            yield server
    elif name == "naive":
        command = [sys.executable, str(SIDES / "naive.py"), str(run), str(port)]
        with serving(command, port, ready="/health") as server:
            yield server
    elif name in ("litserve", "ray"):
        script, ready = ("lit.py", "/health") if name == "litserve" else ("rayserve.py", "/")
        with serving([str(python_of(name)), str(SIDES / script), onnx, str(port)], port, ready=ready) as server:
            yield server
    else:
        os.environ |= {"LIGHTMETER_ONNX": onnx, "BENTOML_DO_NOT_TRACK": "True"}
        tool = str(python_of("bentoml").with_name("bentoml"))
        command = [tool, "serve", "bento:Service", "--port", str(port), "--host", "127.0.0.1"]
        with serving(command, port, ready="/readyz", cwd=SIDES) as server:
            yield server


if __name__ == "__main__":
    main()
