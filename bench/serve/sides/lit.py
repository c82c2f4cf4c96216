"""The same graph in LitServe, with its batching: `lit.py ONNX PORT`."""

import sys
from typing import Any

import litserve
from fastapi import UploadFile
from onnx_model import WORKERS, Graph, pixels_of


class Api(litserve.LitAPI):  # type: ignore[misc]
    """A picture as an uploaded file."""

    def setup(self, device: str) -> None:
        """Once a worker."""
        self.graph = Graph(sys.argv[1])

    def decode_request(self, request: UploadFile) -> Any:
        """One picture."""
        return pixels_of(request.file.read())

    def batch(self, inputs: list[Any]) -> Any:
        """Several of them."""
        return inputs

    def predict(self, batch: Any) -> Any:
        """Their probabilities."""
        return self.graph(batch)

    def unbatch(self, output: Any) -> Any:
        """One by one."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """As JSON."""
        return {"label": int(output.argmax()), "probabilities": output.tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=8, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error")
