"""A picture named by Keras from a cold start: `cold_keras.py MODEL.keras PICTURE`; without one, write the model."""

from __future__ import annotations

import os
import sys

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

_SIDE = 160


def main() -> None:
    """Load and answer, or write a MobileNetV2 of two classes."""
    if len(sys.argv) == 2:
        keras.applications.MobileNetV2((_SIDE, _SIDE, 3), weights=None, classes=2).save(sys.argv[1])
        return
    model = keras.models.load_model(sys.argv[1], compile=False)
    picture = keras.utils.load_img(sys.argv[2], target_size=(_SIDE, _SIDE))
    pixels = np.asarray(picture, np.float32)[None] / 127.5 - 1
    sys.stdout.write(f"{model(pixels, training=False).numpy().tolist()}\n")


if __name__ == "__main__":
    main()
