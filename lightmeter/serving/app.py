"""A bundle -> an ASGI application that answers what `predict` answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from lightmeter import __version__
from lightmeter.errors import BadImageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.prediction import Prediction
from lightmeter.serving.bodies import read_images
from lightmeter.serving.limits import Gate, Limits
from lightmeter.serving.metrics import Metrics
from lightmeter.serving.page import POLICY, page
from lightmeter.serving.problems import Problem
from lightmeter.serving.shell import Shell
from lightmeter.verbs.predict import Predictor
from lightmeter.verbs.verify import sit_exam


class PredictionModel(BaseModel):
    """One prediction, as in `predict --json`."""

    file: str
    label: str | None
    probability: float | None
    top: list[tuple[str, float]]
    calibrated: bool
    abstain: bool
    reason: str


class AnswerModel(BaseModel):
    """One prediction per picture, in the order they were sent; `bundle` is the seal of what answered."""

    bundle: str
    predictions: list[PredictionModel]


class ProblemModel(BaseModel):
    """An RFC 9457 problem; `/docs` lists the codes. `errors` has an entry per picture that could not be read."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[dict[str, str]] = []


_LIMITS = Limits()
_FOREIGN = ("it is not a picture", "which is not read")  # how the decoder ends its words for other kinds of file
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_REQUEST = {
    "required": True,
    "content": {
        "image/*": _BINARY,
        "application/octet-stream": _BINARY,
        "multipart/form-data": {"schema": {"type": "object", "properties": {"file": _FILES}}},
    },
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemModel, "content": {"application/problem+json": {}}}
    for status in (400, 408, 413, 415, 422, 429, 500, 503)
}


def create_app(bundle: Bundle, *, limits: Limits = _LIMITS) -> FastAPI:
    """The application, once the bundle has passed its exam in this process.

    Raises:
        ExamError: it has not, so there is nothing to serve.
    """
    predictor = Predictor(bundle)
    sit_exam(bundle, predictor.runner)
    gate, metrics = Gate(limits), Metrics(bundle.seal, __version__)
    metrics.inside.set_function(lambda: gate.inside)
    pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="lightmeter")
    ready = True
    # As a default and not in the annotation: annotations are texts here, in which no local name would be found.
    topk_query = Query(min(5, len(bundle.classes)), ge=1, le=len(bundle.classes))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal ready
        yield
        ready = False
        pool.shutdown(cancel_futures=True)

    app = FastAPI(
        title="Lightmeter", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan, debug=False
    )
    app.add_middleware(Shell, metrics=metrics, bundle=bundle.seal)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameter)

    def work(images: Sequence[tuple[str, bytes]], topk: int) -> list[Prediction]:
        canvases = decode(predictor, images)
        return predictor.answer([name for name, _ in images], np.stack(canvases), topk=topk)

    @app.post("/v1/predict", response_model=AnswerModel, responses=_PROBLEMS, openapi_extra={"requestBody": _REQUEST})
    async def predict(request: Request, topk: int = topk_query) -> Response:
        """Say what each picture shows."""
        if not ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        with gate.enter():
            images = await read_images(request, limits)
            try:
                predictions = await asyncio.get_running_loop().run_in_executor(pool, work, images, topk)
            except Problem as problem:
                metrics.images(refused=len(problem.errors))
                raise
        abstained = sum(prediction.abstain for prediction in predictions)
        metrics.images(label=len(predictions) - abstained, abstain=abstained)
        documents = [prediction.document() for prediction in predictions]
        return JSONResponse({"bundle": bundle.seal, "predictions": documents})

    @app.get("/v1/model")
    async def model() -> JSONResponse:
        """What is served: the bundle's card, less its file list and where it came from."""
        card = bundle.model_dump(mode="json", exclude={"files", "seal", "provenance"})
        return JSONResponse({"bundle": bundle.seal, **card})

    @app.get("/livez")
    async def livez() -> JSONResponse:
        """Whether the process runs."""
        return JSONResponse({"status": "live"})

    @app.get("/readyz", responses={503: _PROBLEMS[503]})
    async def readyz() -> JSONResponse:
        """Whether it answers."""
        if not ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        return JSONResponse({"status": "ready", "bundle": bundle.seal})

    @app.get("/metrics", response_class=Response)
    async def counters() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type=Metrics.content_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(bundle, limits), headers={"Content-Security-Policy": POLICY})

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app


def decode(predictor: Predictor, images: Sequence[tuple[str, bytes]]) -> list[Any]:
    """Every picture's canvas. Raises Problem: 415 where one is not a picture, else 422, naming each that is bad."""
    canvases, errors = [], []
    for name, data in images:
        try:
            canvases.append(predictor.canvas(data))
        except BadImageError as error:
            foreign = error.received.endswith(_FOREIGN)
            code = "unsupported_type" if foreign else "undecodable"
            errors.append({"file": name, "code": code, "detail": error.received})
    if errors:
        code = "unsupported_type" if any(error["code"] == "unsupported_type" for error in errors) else "undecodable"
        detail = f"{len(errors)} of {len(images)} pictures could not be read; first: {errors[0]['detail']}."
        raise Problem(415 if code == "unsupported_type" else 422, code, detail, errors=errors)
    return canvases


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return Problem(error.status_code, code, str(error.detail), error.headers).response()


async def _parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    issues = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors())
    return Problem(422, "bad_parameter", issues).response()
