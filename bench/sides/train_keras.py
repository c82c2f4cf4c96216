"""Images per second of `Model.fit` in Keras 3: `train_keras.py BACKEND BATCH SECONDS`.

The same three VGG blocks, on arrays in memory, without any augmentation, in Keras' favour; compiled as Keras does by
itself on that backend.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

os.environ["KERAS_BACKEND"] = sys.argv[1]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from protocol import answer
from samples import cifar


def network() -> Any:
    """As `textbook.vgg3`."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255)])
    for filters in (32, 64, 128):
        for _ in range(2):
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
            model.add(layers.BatchNormalization())
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.BatchNormalization())
    model.add(layers.Dense(10))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss=loss)
    return model


def main() -> None:
    """Get ready, then measure when told."""
    batch, seconds = int(sys.argv[2]), float(sys.argv[3])
    pixels, labels = cifar()
    model = network()

    def fit(count: int) -> float:
        began = time.perf_counter()
        model.fit(pixels[:count], labels[:count], batch_size=batch, epochs=1, verbose=0)
        return time.perf_counter() - began

    fit(4 * batch)  # builds and compiles
    rate = 8 * batch / fit(8 * batch)
    count = min(len(labels), max(8, round(rate * seconds / batch)) * batch)

    def measure() -> dict[str, Any]:
        return {"value": count / fit(count)}

    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    answer(measure, keras=keras.__version__, backend=keras.backend.backend(), parameters=trained)


if __name__ == "__main__":
    main()
