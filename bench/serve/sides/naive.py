"""A server as tutorials write it: FastAPI, eager PyTorch, a picture in base64 in JSON: `naive.py RUN PORT`."""

# FastAPI reads annotations when it makes the address, so that they must be there and not put off.
import base64
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel
from safetensors.torch import load_file

from lightmeter.models.mobilenet_v2 import mobilenet_v2

weights = load_file(Path(sys.argv[1]) / "model.bundle" / "weights.safetensors")
model = mobilenet_v2(len(weights["classifier.1.bias"]), channels=3, size=160)
model.load_state_dict(weights)
model.eval()
app = FastAPI()


class Body(BaseModel):
    """A picture in base64."""

    image: str


@app.get("/health")
def health() -> dict[str, str]:
    """Whether it runs."""
    return {"status": "ok"}


@app.post("/predict")
def predict(body: Body) -> dict[str, Any]:
    """Probabilities of one picture."""
    picture = Image.open(io.BytesIO(base64.b64decode(body.image))).convert("RGB")
    pixels = np.array(picture.resize((160, 160), Image.Resampling.BILINEAR))
    with torch.no_grad():
        probabilities = model(torch.from_numpy(pixels)[None]).softmax(1)[0]
    return {"label": int(probabilities.argmax()), "probabilities": probabilities.tolist()}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
