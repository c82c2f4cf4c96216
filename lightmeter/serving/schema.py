"""What the server takes and answers, as its OpenAPI document tells it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class ExplanationModel(BaseModel):
    """Where the evidence for `label` lies on the canvas: a grey PNG of the canvas's size in base64, white is most."""

    label: str
    method: str
    heat_png: str


class NeighbourModel(BaseModel):
    """A training picture that the network takes for like the one sent: a PNG in base64; a similarity of 1 is the same.

    `id` is what the picture was called where the model was trained.
    """

    id: str
    label: str
    similarity: float
    picture_png: str


class PredictionModel(BaseModel):
    """One prediction, as in `predict --json`, with an explanation and neighbours where they were asked for."""

    file: str
    label: str | None
    probability: float | None
    top: list[tuple[str, float]]
    calibrated: bool
    abstain: bool
    reason: str
    explanation: ExplanationModel | None = None
    neighbours: list[NeighbourModel] | None = None


class TimingsModel(BaseModel):
    """Milliseconds that a request spent being decoded, waiting for its turn (and for neighbours to be decoded), and in
    the graph, with its neighbours. Of a request that is run in several parts, those of the slowest in each.
    """

    decode_ms: float
    queue_ms: float
    inference_ms: float


class AnswerModel(BaseModel):
    """One prediction per picture, in the order they were sent.

    `model` is the name under which it is served, `bundle` its seal: exactly what answered; `version` the first
    digits of that, as in `/v2`.
    """

    model: str
    version: str
    bundle: str
    predictions: list[PredictionModel]
    timings: TimingsModel


class ProblemModel(BaseModel):
    """An RFC 9457 problem; `/docs` lists the codes. `errors` has an entry per picture that could not be read."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = []


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
REQUEST = {
    "required": True,
    "content": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILES}}},
    },
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemModel, "content": {"application/problem+json": {}}}
    for status in (400, 401, 404, 408, 413, 415, 422, 429, 500, 503, 504)
}
