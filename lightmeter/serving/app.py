"""Bundles -> an ASGI application that answers what `predict` answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from lightmeter import __version__
from lightmeter.serving.assets import asset
from lightmeter.serving.bodies import read_images
from lightmeter.serving.engine import Engine
from lightmeter.serving.keys import Keys
from lightmeter.serving.limits import Limits
from lightmeter.serving.metrics import Metrics
from lightmeter.serving.page import POLICY, page
from lightmeter.serving.problems import Problem
from lightmeter.serving.routes_v2 import routes
from lightmeter.serving.schema import PROBLEMS, REQUEST, AnswerModel
from lightmeter.serving.shelf import Shelf
from lightmeter.serving.shell import Shell

_LIMITS = Limits()
_TOPK = 1000


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
    engine = Engine(shelf, limits)
    # As defaults and not in annotations: those are texts here, in which no local name would be found.
    topk_query = Query(5, ge=1, le=_TOPK, description="classes to list; of fewer classes, all of them")
    neighbours_query = Query(0, ge=0, le=10, description="training pictures like it to add, where the model has some")
    model_query = Query(None, max_length=200, description="the model to ask; see /v1/models")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        meanwhile = [asyncio.create_task(engine.tidy())]
        if limits.reload_seconds:
            meanwhile.append(asyncio.create_task(engine.watch()))
        yield
        for task in meanwhile:
            task.cancel()
        engine.close()

    app = FastAPI(
        title="Lightmeter", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan, debug=False
    )
    app.state.engine = engine  # for whoever runs the server, to say that it is about to stop
    app.add_middleware(Shell, metrics=engine.metrics, gate=engine.gate, keys=keys, log=log)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _parameter)
    app.include_router(routes(engine))

    @app.post("/v1/predict", response_model=AnswerModel, responses=PROBLEMS, openapi_extra={"requestBody": REQUEST})
    async def predict(
        request: Request,
        topk: int = topk_query,
        model: str | None = model_query,
        explain: bool = False,
        neighbours: int = neighbours_query,
    ) -> Response:
        """Say what each picture shows, and if asked where the evidence lies and which training pictures are like it."""
        with engine.arrive(model) as took:
            images = await read_images(request, limits, took)
            if (explain or neighbours) and len(images) > limits.explained:
                raise Problem(422, "bad_parameter", f"At most {limits.explained} pictures are explained at once.")
            with shelf.pick(model).use() as served, ExitStack() as places:
                if neighbours and served.neighbours is None:
                    raise Problem(422, "no_examples", "This model carries no training pictures; see export --examples.")
                if explain or neighbours:  # before anything is computed for it
                    places.enter_context(engine.gate.explain())
                async with engine.in_time() as deadline:
                    found = await engine.answer(served, images, deadline)
                    predictions = served.predictor.read([name for name, _ in images], found.logits, topk=topk)
                    documents = [prediction.document() for prediction in predictions]
                    if explain:
                        await engine.explain(served, found.canvases, documents, deadline)
                    if neighbours:
                        await engine.neighbours(served, found.canvases, documents, neighbours)
                engine.shadow(served, images, found.canvases, [prediction.label for prediction in predictions])
        abstained = sum(prediction.abstain for prediction in predictions)
        engine.metrics.images(label=len(predictions) - abstained, abstain=abstained)
        timings = {"decode_ms": found.decode, "queue_ms": found.queue, "inference_ms": found.inference}
        document = {
            "model": served.name,
            "version": served.bundle.version,
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
                "version": served.bundle.version,
                "created": served.bundle.created,
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
        if not engine.ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=Response)
    async def counters() -> Response:
        """Counters for Prometheus."""
        return Response(engine.metrics.text(), media_type=Metrics.content_type)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page(None if keys else shelf, limits), headers={"Content-Security-Policy": POLICY})

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return asset("page.html")

    @app.get("/assets/{name}", include_in_schema=False)
    async def assets(name: str) -> Response:
        return asset(name)

    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response(protocol_v2=_is_v2(request))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return Problem(error.status_code, code, str(error.detail), error.headers).response(protocol_v2=_is_v2(request))


async def _parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    issues = "; ".join(f"{'.'.join(map(str, issue['loc']))}: {issue['msg']}" for issue in error.errors())
    return Problem(422, "bad_parameter", issues).response(protocol_v2=_is_v2(request))


def _is_v2(request: Request) -> bool:
    return request.url.path.startswith("/v2")
