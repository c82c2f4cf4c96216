"""The trained weights that others publish: where, under what terms, for which pixels, and which pictures they saw."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter.nouns.provenance import IMAGENET
from lightmeter.nouns.recipe import ModelChoice

_LEARNT = "learnt from ImageNet, whose terms are research and teaching only"
_TORCHVISION_TERMS = f"none stated for the file (torchvision is BSD-3-Clause); {_LEARNT}"


@dataclass(frozen=True)
class Published:
    """A file of weights as its owner publishes it.

    Attributes:
        model: the architecture that reads it, with its options.
        address: where from; "" where only a copy that is already here can be used.
        checksum: "sha256:" or "md5:" and hex digits; torchvision publishes the first eight of a sha256.
        size: side in pixels of the pictures it was last trained or tested on.
        pixels: what it takes, of RGB values divided by 255 unless said otherwise.
        licence: of the weights.
        origin: who trained it, and how.
        seen: names of the pictures it learned from.
        classes: that its own head tells apart; 0 where it has none.
    """

    model: ModelChoice
    address: str
    checksum: str
    size: int
    pixels: str
    licence: str
    origin: str
    seen: tuple[str, ...] = (IMAGENET,)
    classes: int = 1000

    def document(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("model", "seen")}
        return {"model": self.model.model_dump(mode="json"), "seen": list(self.seen), **plain}

    def matches(self, path: Path) -> bool:
        """Whether the bytes of a file are these."""
        kind, _, digits = self.checksum.partition(":")
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
        return found.startswith(digits)


_STANDARD = "mean 0.485 0.456 0.406, deviation 0.229 0.224 0.225"
_SYMMETRIC = "-1 to 1"
_CAFFE = "0 to 255, BGR, less 103.939 116.779 123.68 (turned into RGB by the import)"


def _torchvision(model: ModelChoice, file: str, origin: str, *, size: int = 224, pixels: str = _STANDARD) -> Published:
    digits = file.removesuffix(".pth").rpartition("-")[2]
    address = f"https://download.pytorch.org/models/{file}"
    return Published(model, address, f"sha256:{digits}", size, pixels, _TORCHVISION_TERMS, f"torchvision, {origin}")


def _keras(model: ModelChoice, path: str, md5: str, licence: str, *, size: int, pixels: str) -> Published:
    address = f"https://storage.googleapis.com/tensorflow/keras-applications/{path}_notop.h5"
    origin = "Keras Applications, without its head"
    return Published(model, address, f"md5:{md5}", size, pixels, licence, origin, classes=0)


_KERNELS = "weights_tf_dim_ordering_tf_kernels"

PUBLISHED: dict[str, Published] = {
    "mobilenet_v2": _torchvision(ModelChoice(name="mobilenet_v2"), "mobilenet_v2-b0353104.pth", "first recipe"),
    "mobilenet_v2-v2": _torchvision(ModelChoice(name="mobilenet_v2"), "mobilenet_v2-7ebf99e0.pth", "second recipe"),
    "inception_v3": _torchvision(
        ModelChoice(name="inception_v3"),
        "inception_v3_google-0cc3c7bd.pth",
        "carried over from TensorFlow",
        size=299,
        pixels=_SYMMETRIC,
    ),
    "vgg16": _torchvision(ModelChoice(name="vgg16"), "vgg16-397923af.pth", "first recipe"),
    "vgg19": _torchvision(ModelChoice(name="vgg19"), "vgg19-dcbb9e9d.pth", "first recipe"),
    "resnet18": _torchvision(
        ModelChoice(name="resnet18", options={"stem": "imagenet"}), "resnet18-f37072fd.pth", "first recipe"
    ),
    "resnet50": _torchvision(
        ModelChoice(name="resnet50", options={"stem": "imagenet"}), "resnet50-0676ba61.pth", "first recipe"
    ),
    "resnet50-v2": _torchvision(
        ModelChoice(name="resnet50", options={"stem": "imagenet"}), "resnet50-11ad3fa6.pth", "second recipe"
    ),
    "inception_v3-keras": _keras(
        ModelChoice(name="inception_v3", options={"scale": False}),
        f"inception_v3/inception_v3_{_KERNELS}",
        "bcbd6486424b2319ff4ef7d526e38f63",
        f"none stated for the file (Keras is Apache-2.0); {_LEARNT}",
        size=299,
        pixels=_SYMMETRIC,
    ),
    "vgg16-keras": _keras(
        ModelChoice(name="vgg16"),
        f"vgg16/vgg16_{_KERNELS}",
        "6d6bbae143d832006294945121d1f1fc",
        f"CC-BY (Visual Geometry Group, Oxford); {_LEARNT}",
        size=224,
        pixels=_CAFFE,
    ),
    "resnet50-keras": _keras(
        ModelChoice(name="resnet50", options={"stem": "imagenet", "stride": "1x1"}),
        f"resnet/resnet50_{_KERNELS}",
        "4d473c1dd8becc155b73f8504c6f6626",
        f"MIT (Kaiming He); {_LEARNT}",
        size=224,
        pixels=_CAFFE,
    ),
    "mobilenet_v2_1.0_imagenet_backbone": Published(
        ModelChoice(name="mobilenet_v2"),
        "",
        "sha256:563e7b85b2e4306f0b6265c82305688157615377876074e156a17c453f98e37e",
        224,
        _STANDARD,
        f"Apache-2.0; {_LEARNT}",
        "ONNX model zoo, mobilenetv2-7, without its head; BatchNorm unfolded again on 2,048 natural pictures",
        classes=0,
    ),
}
"""What `weights fetch` knows, by name."""


def known(path: Path) -> Published | None:
    """The entry of `PUBLISHED` that a file is, by its content."""
    return next((entry for entry in PUBLISHED.values() if entry.matches(path)), None)
