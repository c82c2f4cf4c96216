"""What answers: pictures through decoding, the batcher and explanations, all within the limits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lightmeter import __version__
from lightmeter.errors import BadImageError
from lightmeter.serving.limits import Gate, Limits
from lightmeter.serving.metrics import Metrics
from lightmeter.serving.problems import Problem
from lightmeter.serving.shelf import Served, Shelf

_FOREIGN = ("it is not a picture", "which is not read")  # how the decoder ends its words for other kinds of file

Images = Sequence[tuple[str, bytes]]
"""(name, encoded bytes) of each picture."""


@dataclass(frozen=True, eq=False, slots=True)
class Answered:
    """Canvases uint8[N, S, S, C], their logits float32[N, K], and the seconds that each part took."""

    canvases: NDArray[np.uint8]
    logits: NDArray[np.float32]
    decode: float
    queue: float
    inference: float


class Engine:
    """Everything behind the routes of one application."""

    def __init__(self, shelf: Shelf, limits: Limits) -> None:
        self.shelf, self.limits = shelf, limits
        self.gate, self.metrics = Gate(limits), Metrics(shelf.names, __version__)
        self.metrics.inside.set_function(lambda: self.gate.inside)
        for name in shelf.names:
            self.metrics.bundle(name, shelf.get(name).bundle.seal)
        self.ready = True
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="lightmeter")
        self._shadows: set[asyncio.Task[None]] = set()  # so that none is collected while it runs

    def close(self) -> None:
        """Take nothing more, and answer what waits."""
        self.ready = False
        self._pool.shutdown(cancel_futures=True)
        self.shelf.close()

    @contextmanager
    def enter(self, model: str | None) -> Iterator[Served]:
        """Hold a place for a request, and the bundle that answers it.

        Raises:
            Problem: 503 while it stops, 429 where there is no room, 404 for an unknown model.
        """
        if not self.ready:
            raise Problem(503, "not_ready", "The server is stopping.")
        with self.gate.enter(), self.shelf.pick(model).use() as served:
            yield served

    async def answer(self, served: Served, images: Images) -> Answered:
        """Decode pictures and run the graph on them.

        Raises:
            Problem: 415 or 422 for pictures that cannot be read, 504 where it takes too long.
        """
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                began = time.perf_counter()
                loop = asyncio.get_running_loop()
                canvases = await loop.run_in_executor(self._pool, decode, served, images)
                return await self._run(served, canvases, time.perf_counter() - began)
        except TimeoutError as error:  # which has cancelled whatever part was waiting
            raise self._late() from error
        except Problem as problem:
            self.metrics.images(refused=len(problem.errors))
            raise

    async def run(self, served: Served, canvases: NDArray[np.uint8]) -> Answered:
        """Run the graph on canvases. Raises Problem (504)."""
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                return await self._run(served, canvases, 0.0)
        except TimeoutError as error:
            raise self._late() from error

    async def _run(self, served: Served, canvases: NDArray[np.uint8], decoded: float) -> Answered:
        found = await asyncio.wrap_future(served.batcher.submit(canvases))
        self.metrics.parts(decoded, found.queued, found.inference)
        return Answered(canvases, found.logits, decoded, found.queued, found.inference)

    async def explain(self, served: Served, canvases: NDArray[np.uint8], documents: list[dict[str, Any]]) -> None:
        """Put an explanation into each answer that has a label. Raises Problem (504)."""
        wanted = [(canvas, document) for canvas, document in zip(canvases, documents, strict=True) if document["label"]]
        loop = asyncio.get_running_loop()
        jobs = [
            loop.run_in_executor(self._pool, heat, served, canvas, document["label"]) for canvas, document in wanted
        ]
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                for (_, document), found in zip(wanted, await asyncio.gather(*jobs), strict=True):
                    document["explanation"] = found
        except TimeoutError as error:
            raise self._late() from error

    async def neighbours(
        self, served: Served, canvases: NDArray[np.uint8], documents: list[dict[str, Any]], count: int
    ) -> None:
        """Put the nearest training pictures into each answer. Raises Problem (504)."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                found = await loop.run_in_executor(self._pool, alike, served, canvases, count)
        except TimeoutError as error:
            raise self._late() from error
        for document, some in zip(documents, found, strict=True):
            document["neighbours"] = some

    def shadow(self, served: Served, images: Images, labels: Sequence[str | None]) -> None:
        """Let the shadows answer a request as well, later and unseen, unless the server is busy."""
        for other in self.shelf.shadows_of(served.name) if not self.gate.busy else ():
            task = asyncio.create_task(self._shadow(other, images, labels))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _shadow(self, served: Served, images: Images, labels: Sequence[str | None]) -> None:
        with served.use(), contextlib.suppress(Problem):
            found = await self.answer(served, images)
            others = served.predictor.read([name for name, _ in images], found.logits, topk=1)
            agree = sum(other.label == label for other, label in zip(others, labels, strict=True))
            self.metrics.shadowed(served.name, agree, len(others) - agree)

    async def watch(self) -> None:
        """Exchange bundles whose folders change, for ever."""
        while True:
            await asyncio.sleep(self.limits.reload_seconds)
            for name in self.shelf.names:
                known = self.shelf.failures.get(name)
                if await asyncio.to_thread(self.shelf.renew, name, self.limits):
                    self.metrics.bundle(name, self.shelf.get(name).bundle.seal)
                    self.metrics.reloads(name, "done")
                elif self.shelf.failures.get(name) not in (None, known):
                    self.metrics.reloads(name, "refused")

    def _late(self) -> Problem:
        return Problem(504, "deadline", f"No answer within {self.limits.answer_seconds:g} s.")


def heat(served: Served, canvas: NDArray[np.uint8], label: str) -> dict[str, str]:
    """An ExplanationModel's fields."""
    found = served.explainer.explain(canvas, label)
    stream = io.BytesIO()
    Image.fromarray((found.heat * 255).round().astype(np.uint8)).save(stream, "PNG")
    return {"label": label, "method": found.method, "heat_png": base64.b64encode(stream.getvalue()).decode()}


def alike(served: Served, canvases: NDArray[np.uint8], count: int) -> list[list[dict[str, Any]]]:
    """For each canvas the fields of its NeighbourModels."""
    assert served.neighbours is not None
    return [
        [
            {
                "id": one.id,
                "label": one.label,
                "similarity": round(one.similarity, 4),
                "picture_png": base64.b64encode(served.neighbours.picture(one.row)).decode(),
            }
            for one in some
        ]
        for some in served.neighbours.nearest(canvases, count)
    ]


def decode(served: Served, images: Sequence[tuple[str, bytes]]) -> NDArray[np.uint8]:
    """Every picture's canvas, uint8[N, S, S, C].

    Raises:
        Problem: 415 where one is not a picture, else 422, naming each that is bad.
    """
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
    return np.stack(canvases)
