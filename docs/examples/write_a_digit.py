"""Write one picture of a run's test split, which the model never learnt from, to a PNG beside the run."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from lightmeter import Run, open_source

run = Run.open(Path(sys.argv[1]))
dataset = open_source("digits")
id = run.split.test[0]
label = dataset.classes[dataset.labels[dataset.row[id]]]
path = run.path.with_name(f"{run.path.name}-a-{label}.png")
Image.open(io.BytesIO(dataset.read(id))).save(path)
print(path)
