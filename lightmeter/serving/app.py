"""Bundles -> an ASGI application that answers what `predict` answers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from numpy.typing import NDArray
from PIL import Image
from starlette.exceptions import HTTPException

from lightmeter import __version__
from lightmeter.errors import BadImageError
from lightmeter.serving.assets import asset
from lightmeter.serving.batcher import Answer
from lightmeter.serving.bodies import read_images
from lightmeter.serving.keys import Keys
from lightmeter.serving.limits import Gate, Limits
from lightmeter.serving.metrics import Metrics
from lightmeter.serving.page import POLICY, page
from lightmeter.serving.problems import Problem
from lightmeter.serving.schema import PROBLEMS, REQUEST, AnswerModel
from lightmeter.serving.shelf import Served, Shelf
from lightmeter.serving.shell import Shell

Canvases = list[NDArray[np.uint8]]
_LIMITS = Limits()
_FOREIGN = ("it is not a picture", "which is not read")  # how the decoder ends its words for other kinds of file


def create_app(
    shelf: Shelf,
    *,
    limits: Limits = _LIMITS,
    keys: Keys | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> FastAPI:
    """The application.

    Args:
        shelf: what it serves; closed when the application stops.
        keys: who may ask; everybody, without.
        log: told of every request in a few plain values, never what it held.
    """
    gate, metrics = Gate(limits), Metrics(shelf.names, __version__)
    metrics.inside.set_function(lambda: gate.inside)
    for name in shelf.names:
        metrics.bundle(name, shelf.get(name).bundle.seal)
    pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="lightmeter")
    ready = True
    most = max(len(shelf.get(name).bundle.classes) for name in shelf.names)
    # As defaults and not in annotations: those are texts here, in which no local name would be found.
    topk_query = Query(min(5, most), ge=1, le=most)
    model_query = Query(None, max_length=200, description="the model to ask; see /v1/models")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal ready
        watching = asyncio.create_task(watch()) if limits.reload_seconds else None
        yield
        ready = False
        if watching is not None:
            watching.cancel()
        pool.shutdown(cancel_futures=True)
        shelf.close()

    async def watch() -> None:
        """Exchange bundles whose folders change."""
        while True:
            await asyncio.sleep(limits.reload_seconds)
            for name in shelf.names:
                known = shelf.failures.get(name)
                if await asyncio.to_thread(shelf.renew, name, limits):
                    metrics.bundle(name, shelf.get(name).bundle.seal)
                    metrics.reloads(name, "done")
                elif shelf.failures.get(name) not in (None, known):
                    metrics.reloads(name, "refused")

    app = FastAPI(
        title="Lightmeter", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan, debug=False
    )
    app.add_middleware(Shell, metrics=metrics, keys=keys, log=log)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameter)

    async def answered(served: Served, images: Sequence[tuple[str, bytes]]) -> tuple[Canvases, float, Answer]:
        """Canvases, seconds of decoding, and the answer of the graph. Raises Problem: 415, 422, or 504 in the end."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(limits.answer_seconds):
                loop = asyncio.get_running_loop()
                canvases = await loop.run_in_executor(pool, decode, served, images)
                decoded = time.perf_counter() - began
                return canvases, decoded, await asyncio.wrap_future(served.batcher.submit(np.stack(canvases)))
        except TimeoutError as error:  # which has cancelled whatever part was waiting
            raise Problem(504, "deadline", f"No answer within {limits.answer_seconds:g} s.") from error

    async def explained(served: Served, canvases: Canvases, documents: list[dict[str, Any]]) -> None:
        """Put an explanation into each answer that has a label. Raises Problem (504)."""
        wanted = [(canvas, document) for canvas, document in zip(canvases, documents, strict=True) if document["label"]]
        loop = asyncio.get_running_loop()
        jobs = [loop.run_in_executor(pool, heat, served, canvas, document["label"]) for canvas, document in wanted]
        try:
            async with asyncio.timeout(limits.answer_seconds):
                for (_, document), found in zip(wanted, await asyncio.gather(*jobs), strict=True):
                    document["explanation"] = found
        except TimeoutError as error:
            raise Problem(504, "deadline", f"No explanation within {limits.answer_seconds:g} s.") from error

    async def shadow(served: Served, images: Sequence[tuple[str, bytes]], labels: Sequence[str | None]) -> None:
        """Answer as another model, unseen, and count how often both agree."""
        with served.use(), contextlib.suppress(Problem):
            _, _, answer = await answered(served, images)
            others = served.predictor.read([name for name, _ in images], answer.logits, topk=1)
            agree = sum(other.label == label for other, label in zip(others, labels, strict=True))
            metrics.shadowed(served.name, agree, len(others) - agree)

    shadows: set[asyncio.Task[None]] = set()  # so that none is collected while it runs

    @app.post("/v1/predict", response_model=AnswerModel, responses=PROBLEMS, openapi_extra={"requestBody": REQUEST})
    async def predict(
        request: Request, topk: int = topk_query, model: str | None = model_query, explain: bool = False
    ) -> Response:
        """Say what each picture shows, and with `explain` where the evidence lies."""
        if not ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        with gate.enter(), shelf.pick(model).use() as served:
            images = await read_images(request, limits)
            if explain and len(images) > limits.explained:
                raise Problem(422, "bad_parameter", f"At most {limits.explained} pictures are explained at once.")
            try:
                canvases, decoded, answer = await answered(served, images)
            except Problem as problem:
                metrics.images(refused=len(problem.errors))
                raise
            predictions = served.predictor.read([name for name, _ in images], answer.logits, topk=topk)
            documents = [prediction.document() for prediction in predictions]
            if explain:
                await explained(served, canvases, documents)
            labels = [prediction.label for prediction in predictions]
            for other in shelf.shadows_of(served.name) if not gate.busy else ():
                task = asyncio.create_task(shadow(other, images, labels))
                shadows.add(task)
                task.add_done_callback(shadows.discard)
        abstained = sum(prediction.abstain for prediction in predictions)
        metrics.images(label=len(predictions) - abstained, abstain=abstained)
        metrics.parts(decoded, answer.queued, answer.inference)
        timings = {"decode_ms": decoded, "queue_ms": answer.queued, "inference_ms": answer.inference}
        document = {
            "model": served.name,
            "version": served.bundle.created,
            "bundle": served.bundle.seal,
            "predictions": documents,
            "timings": {name: round(1000 * seconds, 3) for name, seconds in timings.items()},
        }
        return JSONResponse(document, headers={"X-Lightmeter-Bundle": served.bundle.seal})

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        """What is served: names, what each tells apart, and which one answers where none is named."""
        listed = [
            {
                "name": name,
                "bundle": served.bundle.seal,
                "version": served.bundle.created,
                "classes": len(served.bundle.classes),
                "share": shelf.shares.get(name, 0.0) if shelf.shares else float(name == shelf.default),
                "shadow": shelf.shadows.get(name, 0.0),
                "failure": shelf.failures.get(name, ""),
            }
            for name, served in ((name, shelf.get(name)) for name in shelf.names)
        ]
        return JSONResponse({"default": shelf.default, "models": listed})

    @app.get("/v1/models/{name}", responses={404: PROBLEMS[404]})
    async def model_card(name: str) -> JSONResponse:
        """A model's card: classes, canvas, temperature, threshold, scores, provenance."""
        return JSONResponse(shelf.get(name).card())

    @app.get("/livez")
    async def livez() -> JSONResponse:
        """Whether the process runs."""
        return JSONResponse({"status": "live"})

    @app.get("/readyz", responses={503: PROBLEMS[503]})
    async def readyz() -> JSONResponse:
        """Whether it answers."""
        if not ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        return JSONResponse({"status": "ready", "models": {name: shelf.get(name).bundle.seal for name in shelf.names}})

    @app.get("/metrics", response_class=Response)
    async def counters() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type=Metrics.content_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(shelf, limits), headers={"Content-Security-Policy": POLICY})

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return asset("page.html")

    @app.get("/assets/{name}", include_in_schema=False)
    async def assets(name: str) -> Response:
        return asset(name)

    return app


def heat(served: Served, canvas: NDArray[np.uint8], label: str) -> dict[str, str]:
    """An ExplanationModel's fields."""
    found = served.explainer.explain(canvas, label)
    stream = io.BytesIO()
    Image.fromarray((found.heat * 255).round().astype(np.uint8)).save(stream, "PNG")
    return {"label": label, "method": found.method, "heat_png": base64.b64encode(stream.getvalue()).decode()}


def decode(served: Served, images: Sequence[tuple[str, bytes]]) -> Canvases:
    """Every picture's canvas. Raises Problem: 415 where one is not a picture, else 422, naming each that is bad."""
    canvases, errors = [], []
    for name, data in images:
        try:
            canvases.append(served.canvas(data))
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
