"""The Open Inference Protocol: what a client of Triton or KServe asks, answered as /v1 answers."""

from __future__ import annotations

import asyncio

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray

from lightmeter import __version__
from lightmeter.serving.bodies import read_body
from lightmeter.serving.engine import Engine
from lightmeter.serving.inference_v2 import LENGTH, answer, metadata, parse
from lightmeter.serving.problems import Problem
from lightmeter.serving.schema import PROBLEMS
from lightmeter.serving.shelf import Served
from lightmeter.verbs.verify import probabilities

_INFER = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}},
    }
}


def routes(engine: Engine) -> APIRouter:
    """The routes below /v2."""
    router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])

    def versioned(name: str, asked: str | None) -> Served:
        served = engine.shelf.get(name)
        if asked not in (None, served.bundle.version):
            raise Problem(404, "no_model", f"{name} is of version {served.bundle.version} here.")
        return served

    @router.get("")
    async def server() -> JSONResponse:
        """What this is."""
        return JSONResponse({"name": "lightmeter", "version": __version__, "extensions": ["binary_tensor_data"]})

    @router.get("/health/live")
    async def live() -> JSONResponse:
        """Whether the process runs."""
        return JSONResponse({"live": True})

    @router.get("/health/ready", responses={503: PROBLEMS[503]})
    async def ready() -> JSONResponse:
        """Whether it answers."""
        if not engine.ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        return JSONResponse({"ready": True})

    @router.get("/models/{name}", responses={404: PROBLEMS[404]})
    @router.get("/models/{name}/versions/{number}", responses={404: PROBLEMS[404]})
    async def model(name: str, number: str | None = None) -> JSONResponse:
        """What a model takes and gives."""
        return JSONResponse(metadata(name, versioned(name, number).bundle))

    @router.get("/models/{name}/ready", responses={404: PROBLEMS[404], 503: PROBLEMS[503]})
    @router.get("/models/{name}/versions/{number}/ready", responses={404: PROBLEMS[404], 503: PROBLEMS[503]})
    async def model_ready(name: str, number: str | None = None) -> JSONResponse:
        """Whether a model answers."""
        versioned(name, number)
        if not engine.ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        return JSONResponse({"name": name, "ready": True})

    @router.post("/models/{name}/infer", responses=PROBLEMS, openapi_extra=_INFER)
    @router.post("/models/{name}/versions/{number}/infer", responses=PROBLEMS, openapi_extra=_INFER)
    async def infer(request: Request, name: str, number: str | None = None) -> Response:
        """Run a model on pictures (image) or canvases (pixels)."""
        limits, length = engine.limits, request.headers.get(LENGTH)
        with engine.arrive(name) as took:
            versioned(name, number)
            body = await read_body(request, limits, took)
            with engine.shelf.pick(name).use() as served:
                async with engine.in_time() as deadline:
                    asked = await asyncio.to_thread(
                        parse, body, length, served.bundle, most=limits.images, most_json=limits.json
                    )
                    del body  # what is asked of it was copied
                    if asked.canvases is None:
                        pictures = [(str(place), data) for place, data in enumerate(asked.images)]
                        found = await engine.answer(served, pictures, deadline)
                    else:
                        found = await engine.run(served, asked.canvases)
        predictions = served.predictor.read([""] * len(found.logits), found.logits, topk=1)
        labels = [one.label for one in predictions if one.label is not None]
        if len(labels) < len(predictions):  # a tensor cannot say so
            raise Problem(500, "internal", "The model's answer to a picture is not finite.")
        shares = probabilities(found.logits, served.bundle.temperature)
        abstain = np.array([one.abstain for one in predictions], bool)
        outputs: dict[str, NDArray[np.float32 | np.bool_] | list[str]] = {
            "probabilities": shares.astype(np.float32),
            "logits": found.logits,
            "label": labels,
            "abstain": abstain,
        }
        engine.metrics.images(label=int((~abstain).sum()), abstain=int(abstain.sum()))
        content, headers = answer(asked, name, served.bundle, outputs)
        return Response(content, headers=headers)

    return router
