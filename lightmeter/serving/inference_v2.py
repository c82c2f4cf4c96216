"""The Open Inference Protocol's body, plain and with binary tensors, to pictures or canvases, and answers back to it.

Inputs: `image`, BYTES [n]: encoded pictures, in JSON as base64; or `pixels`, UINT8 [n, S, S, C]: canvases.
Outputs: `probabilities` FP32 [n, K], calibrated; `logits` FP32 [n, K]; `label` BYTES [n]; `abstain` BOOL [n]:
whether the label is too unsure to be relied on.

Source: the KServe V2 inference protocol and its binary tensor data extension.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.nouns.bundle import Bundle
from lightmeter.serving.problems import Problem

LENGTH = "Inference-Header-Content-Length"
OUTPUTS = ("probabilities", "logits", "label", "abstain")
_TYPES = {"image": "BYTES", "pixels": "UINT8"}


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """A request for inference.

    Attributes:
        id: the client's, to be repeated.
        images: encoded pictures, or none.
        canvases: uint8[N, S, S, C], or None.
        outputs: name -> whether it is wanted as binary.
    """

    id: str
    images: tuple[bytes, ...]
    canvases: NDArray[np.uint8] | None
    outputs: dict[str, bool]


def metadata(name: str, bundle: Bundle) -> dict[str, Any]:
    """What a model takes and gives."""
    side, channels, classes = bundle.preprocess.size, bundle.preprocess.channels, len(bundle.classes)
    return {
        "name": name,
        "versions": [bundle.version],
        "platform": "onnx",
        "inputs": [
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, side, side, channels]},
        ],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "logits", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "abstain", "datatype": "BOOL", "shape": [-1]},
        ],
    }


def parse(body: bytes, header_length: str | None, bundle: Bundle, *, most: int, most_json: int) -> Asked:
    """Read a request.

    Args:
        header_length: of the JSON at the body's start, where tensors follow it.
        most: pictures that it may hold.
        most_json: bytes that its JSON may have.

    Raises:
        Problem: 400 where it cannot be understood, 413 where it holds too many pictures or too much JSON.
    """
    length = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 20 or int(header_length) > len(body):
            raise _bad(f"{LENGTH} is not the length of a part of the body.")
        length = int(header_length)
    if length > most_json:
        raise Problem(413, "too_large", f"The JSON may have {most_json:,} bytes: send tensors as binary data.")
    try:
        document = json.loads(body[:length])
    except (ValueError, RecursionError) as error:
        raise _bad("The request is not JSON.") from error
    if not isinstance(document, dict):
        raise _bad("The request is not a JSON object.")
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise _bad("inputs must be a list of one tensor, image or pixels.")
    (given,) = inputs
    name, shape = given.get("name"), given.get("shape")
    if name not in _TYPES or given.get("datatype") != _TYPES[name]:
        raise _bad("The input must be image of BYTES or pixels of UINT8.")
    if not isinstance(shape, list) or not all(isinstance(side, int) and side >= 0 for side in shape):
        raise _bad("shape must be a list of whole numbers.")
    count = shape[0] if shape else 0
    if count < 1:
        raise Problem(400, "no_image", "The request holds no picture.")
    if count > most:
        raise Problem(413, "too_large", f"A request may have {most} pictures.")
    raw = _raw(given, body[length:])
    outputs = _outputs(document)
    id = str(document.get("id", ""))[:200]
    if name == "image":
        if math.prod(shape) != count:
            raise _bad("image must have the shape [n].")
        return Asked(id, _elements(given, raw, count), None, outputs)
    side, channels = bundle.preprocess.size, bundle.preprocess.channels
    if shape != [count, side, side, channels]:
        raise _bad(f"pixels must have the shape [n, {side}, {side}, {channels}].")
    return Asked(id, (), _pixels(given, raw, shape), outputs)


def answer(
    asked: Asked, name: str, bundle: Bundle, found: Mapping[str, NDArray[np.float32 | np.bool_] | Sequence[str]]
) -> tuple[bytes, dict[str, str]]:
    """The body and headers of an answer.

    Args:
        found: every one of `OUTPUTS`.
    """
    outputs, tail = [], []
    for output, binary in asked.outputs.items():
        value = found[output]
        entry: dict[str, Any]
        if isinstance(value, np.ndarray) and value.dtype == bool:
            entry = {"name": output, "datatype": "BOOL", "shape": list(value.shape)}
            data, plain = value.tobytes(), value.tolist()
        elif isinstance(value, np.ndarray):
            entry = {"name": output, "datatype": "FP32", "shape": list(value.shape)}
            data, plain = value.astype("<f4").tobytes(), value.astype(float).ravel().tolist()
        else:
            entry = {"name": output, "datatype": "BYTES", "shape": [len(value)]}
            encoded = [text.encode() for text in value]
            data, plain = b"".join(struct.pack("<I", len(text)) + text for text in encoded), list(value)
        if binary:
            entry["parameters"] = {"binary_data_size": len(data)}
            tail.append(data)
        else:
            entry["data"] = plain
        outputs.append(entry)
    document: dict[str, Any] = {"model_name": name, "model_version": bundle.version, "outputs": outputs}
    if asked.id:
        document["id"] = asked.id
    head = json.dumps(document).encode()
    if not tail:
        return head, {"Content-Type": "application/json"}
    return head + b"".join(tail), {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}


def _outputs(document: dict[str, Any]) -> dict[str, bool]:
    """Name -> whether it is wanted as binary; all of them where none is named."""
    parameters = document.get("parameters") or {}
    wanted = document.get("outputs")
    if not isinstance(parameters, dict) or not isinstance(wanted or [], list):
        raise _bad("parameters must be an object and outputs a list.")
    binary = bool(parameters.get("binary_data_output", False))
    if not wanted:
        return dict.fromkeys(OUTPUTS, binary)
    found = {}
    for entry in wanted:
        if not isinstance(entry, dict) or entry.get("name") not in OUTPUTS:
            raise _bad("There is no such output; there is " + ", ".join(OUTPUTS) + ".")
        own = entry.get("parameters") or {}
        if not isinstance(own, dict):
            raise _bad("parameters must be an object.")
        found[entry["name"]] = bool(own.get("binary_data", binary))
    return found


def _raw(given: dict[str, Any], tail: bytes) -> bytes | None:
    """The tensor's own bytes; None where its data stand in the JSON."""
    parameters = given.get("parameters") or {}
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        if tail:
            raise _bad("Bytes follow the JSON, but no input has a binary_data_size.")
        return None
    if not isinstance(size, int) or size != len(tail):
        raise _bad(f"binary_data_size is {size!r}, and {len(tail)} bytes follow the JSON.")
    return tail


def _elements(given: dict[str, Any], raw: bytes | None, count: int) -> tuple[bytes, ...]:
    if raw is None:
        data = given.get("data")
        if not isinstance(data, list) or len(data) != count or not all(isinstance(text, str) for text in data):
            raise _bad("data of image must be as many texts in base64 as its shape says.")
        try:
            return tuple(base64.b64decode(text, validate=True) for text in data)
        except (binascii.Error, ValueError) as error:
            raise _bad("data of image must be texts in base64.") from error
    found, place = [], 0
    for _ in range(count):
        if place + 4 > len(raw):
            raise _bad("The bytes of image end before its last picture.")
        (size,) = struct.unpack_from("<I", raw, place)
        found.append(raw[place + 4 : place + 4 + size])
        place += 4 + size
    if place != len(raw):
        raise _bad("The bytes of image are not as long as its pictures say.")
    return tuple(found)


def _pixels(given: dict[str, Any], raw: bytes | None, shape: list[int]) -> NDArray[np.uint8]:
    if raw is not None:
        if len(raw) != math.prod(shape):
            raise _bad("The bytes of pixels are not as many as its shape says.")
        return np.frombuffer(raw, np.uint8).reshape(shape)
    try:
        numbers = np.asarray(given.get("data"), np.float64).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad("data of pixels must be numbers.") from error
    if numbers.size != math.prod(shape) or not np.isin(numbers, np.arange(256)).all():
        raise _bad("data of pixels must be whole numbers from 0 to 255, as many as its shape says.")
    return numbers.astype(np.uint8).reshape(shape)


def _bad(detail: str) -> Problem:
    return Problem(400, "bad_request", detail)
