"""triton: a bundle -> a model repository of NVIDIA's Triton inference server, with batches made there."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightmeter.errors import UsageError
from lightmeter.nouns.bundle import GRAPH, Bundle
from lightmeter.nouns.files import atomic_folder, write_atomic
from lightmeter.verbs.verify import bundle_in

_BATCH = 32
_DELAY = 2000  # microseconds that a batch waits to be filled
_LABELS = "labels.txt"


def export_triton(path: Path, out: Path, *, name: str = "") -> Path:
    """Write `out`/NAME/{config.pbtxt, labels.txt, 1/model.onnx}; returns that folder, replacing one that stands there.

    It takes canvases, uint8[N, S, S, C], and gives logits: decoding and resizing as the bundle says stay with the
    client, and so does its temperature, which config.pbtxt names.

    Args:
        path: a bundle, or a run.
        name: of the model; by default the run's or the bundle's.

    Raises:
        UsageError: a name that Triton cannot use.
        BundleError, StorageError: no whole bundle, or a folder that cannot be written.
    """
    place = bundle_in(path)
    bundle = Bundle.open(place)
    resolved = place.resolve()
    own = resolved.parent.name if resolved.name == "model.bundle" else resolved.name.removesuffix(".bundle")
    name = name or own
    if not name.replace("_", "").replace("-", "").replace(".", "").isalnum():
        raise UsageError(f"Triton cannot serve a model called {name!r}.", "letters, digits, - _ and .")
    with atomic_folder(out / name) as folder:
        (folder / "1").mkdir()
        shutil.copyfile(place / GRAPH, folder / "1" / GRAPH)
        write_atomic(folder / _LABELS, "".join(f"{label}\n" for label in bundle.classes))
        write_atomic(folder / "config.pbtxt", _config(name, bundle))
    return out / name


def _config(name: str, bundle: Bundle) -> str:
    side, channels = bundle.preprocess.size, bundle.preprocess.channels
    made = bundle.preprocess.model_dump(mode="json")
    return f"""# Bundle {bundle.seal}, temperature {bundle.temperature:.6g}, preprocessing {made}
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {_BATCH}
input [
  {{ name: "pixels", data_type: TYPE_UINT8, dims: [ {side}, {side}, {channels} ] }}
]
output [
  {{ name: "logits", data_type: TYPE_FP32, dims: [ {len(bundle.classes)} ], label_filename: "{_LABELS}" }}
]
dynamic_batching {{ max_queue_delay_microseconds: {_DELAY} }}
"""
