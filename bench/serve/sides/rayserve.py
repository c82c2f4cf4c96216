"""The same graph in Ray Serve, with its batching: `rayserve.py ONNX PORT`."""

import os
import sys
import threading

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from onnx_model import WORKERS, Graph, pixels_of
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=100, ray_actor_options={"num_cpus": 2 / WORKERS / 2})
class Service:
    """A picture as the body of a request."""

    def __init__(self, path: str) -> None:
        self.graph = Graph(path)

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.002)
    async def answer(self, pictures: list[bytes]) -> list[dict[str, object]]:
        """Probabilities of each."""
        found = self.graph([pixels_of(data) for data in pictures])
        return [{"label": int(row.argmax()), "probabilities": row.tolist()} for row in found]

    async def __call__(self, request: Request) -> dict[str, object]:
        """A picture; without a body, that it is ready."""
        data = await request.body()
        return await self.answer(data) if data else {"ready": True}


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": here, "LIGHTMETER_WORKERS": str(WORKERS)}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Service.bind(sys.argv[1]), route_prefix="/")
    threading.Event().wait()
