"""Transfer in the way of the Keras guide: `transfer_keras.py FOLDER WEIGHTS EPOCHS SIDE`.

MobileNetV2 without its top, frozen and run again in every epoch, a global mean, dropout, one dense layer, Adam. It gets
the same weights as ours, in our own safetensors file. In Keras' favour: pictures are decoded once and kept in memory,
nothing is augmented and nothing validated between the epochs.

Source: F. Chollet, "Transfer learning & fine-tuning", Keras developer guides.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

BATCH = 32
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which the weights expect
_EPSILON, _KERAS_EPSILON = 1e-5, 1e-3


def main() -> None:
    """Train, test, answer."""
    folder, weights, epochs, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    train, test = (_pictures(folder / part, side, shuffled=part == "train") for part in ("train", "val"))
    classes = sum(1 for entry in (folder / "train").iterdir() if entry.is_dir())
    model = network(weights, side, classes)
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(train, epochs=epochs, verbose=0)
    accuracy = float(model.evaluate(test, verbose=0)[1])
    n = sum(1 for _ in (folder / "val").rglob("*.*"))
    told = {"accuracy": accuracy, "n": n, "keras": keras.__version__}
    sys.stdout.write(json.dumps(told) + "\n")


def network(weights: Path, side: int, classes: int) -> Any:
    """The frozen base with our weights, and a new top."""
    base = based(weights, side)
    base.trainable = False
    layers = keras.layers
    inputs = keras.Input((side, side, 3))
    variance = [std**2 for std in _STD]
    x = layers.Normalization(mean=_MEAN, variance=variance)(layers.Rescaling(1 / 255)(inputs))
    x = layers.GlobalAveragePooling2D()(base(layers.ZeroPadding2D(1)(x), training=False))
    return keras.Model(inputs, layers.Dense(classes)(layers.Dropout(0.2)(x)))


def based(weights: Path, side: int) -> Any:
    """Keras' MobileNetV2 without its top, computing what ours computes with the same file.

    Before a stride of 2 all four borders of a map are padded, as when these weights were trained; Keras pads two. The
    first filter finds its border in the picture, which comes one pixel larger on each side.
    """

    def padded(layer: Any) -> Any:
        settings = layer.get_config()
        if isinstance(layer, keras.layers.ZeroPadding2D):
            settings["padding"] = 1
        elif layer.name == "Conv1":
            settings["padding"] = "valid"
        return layer.__class__.from_config(settings)

    whole = keras.applications.MobileNetV2((side + 2, side + 2, 3), include_top=False, weights=None)
    model = keras.models.clone_model(whole, clone_function=padded)
    values = load_file(weights)
    names = iter(_in_order(values))
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([values[next(names)].transpose(2, 3, 0, 1)])
        elif isinstance(layer, keras.layers.Conv2D):
            layer.set_weights([values[next(names)].transpose(2, 3, 1, 0)])
        elif isinstance(layer, keras.layers.BatchNormalization):
            name = next(names).removesuffix(".weight")
            scale, shift, mean, variance = (
                values[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = scale * np.sqrt((variance + _KERAS_EPSILON) / (variance + _EPSILON))
            layer.set_weights([scale, shift, mean, variance])
    if next(names, None) is not None:
        raise RuntimeError("Not every weight found its layer.")
    return model


def _in_order(values: dict[str, Any]) -> list[str]:
    """The names of all filters and scales from the input on, as the layers of Keras are listed."""

    def place(name: str) -> list[tuple[int, int | str]]:
        return [(0, int(part)) if part.isdigit() else (1, part) for part in name.split(".")]

    return sorted((name for name in values if name.endswith(".weight")), key=place)


def _pictures(folder: Path, side: int, *, shuffled: bool) -> Any:
    """Decoded once, kept in memory as bytes; shuffled anew for every epoch."""
    read = keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=None, shuffle=False, verbose=False
    )
    kept = read.map(lambda picture, label: (tf.cast(picture, tf.uint8), label)).cache()
    if shuffled:
        kept = kept.shuffle(10_000, seed=0)
    return kept.batch(BATCH).map(lambda pictures, labels: (tf.cast(pictures, tf.float32), labels)).prefetch(2)


if __name__ == "__main__":
    main()
