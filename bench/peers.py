"""Environments of peers: each in a folder of its own in the cache, with pinned versions, made when first asked for."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from lightmeter.nouns.places import cache_folder

PEERS = {
    "litserve": ("litserve==0.2.19", "python-multipart==0.0.34", "onnxruntime==1.31.1", "pillow==13.0.0", "numpy"),
    "bentoml": ("bentoml==1.4.39", "onnxruntime==1.31.1", "pillow==13.0.0", "numpy"),
    "ray": ("ray[serve]==2.60.0", "onnxruntime==1.31.1", "pillow==13.0.0", "numpy"),
    "schemathesis": ("schemathesis==4.32.5",),
    "keras": (
        "keras==3.15.1",
        "tensorflow-cpu==2.21.0",
        "jax==0.10.2",
        "jaxlib==0.10.2",
        "torch==2.13.0",
        "pillow",
        "safetensors",
    ),
}
"""What is installed for each, by name."""


def python_of(peer: str) -> Path:
    """The Python of a peer's environment; the first call installs it, which takes minutes and says so."""
    folder = cache_folder() / "bench" / peer
    python, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(PEERS[peer])
    if not done.exists() or done.read_text() != wanted:
        sys.stderr.write(f"Installing {', '.join(PEERS[peer])} into {folder} ...\n")
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEERS[peer]], check=True
        )
        done.write_text(wanted)
    return python
