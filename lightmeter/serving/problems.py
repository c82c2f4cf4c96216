"""Errors over HTTP, as RFC 9457 problem documents with a stable code. They never hold a path or a traceback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

CODES = {
    "no_image": "the request holds no picture",
    "bad_request": "the request cannot be understood",
    "bad_parameter": "a query parameter has a value it cannot take",
    "unauthorized": "this server wants a key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
    "rate_limited": "this key has asked too often; try again after `Retry-After` seconds",
    "no_model": "there is no model of that name; see /v1/models",
    "no_examples": "the model carries no training pictures; see `lightmeter export --examples`",
    "deadline": "the answer was not ready in time; work on it ends with the picture that is under way",
    "not_found": "there is no such address; see /docs",
    "method_not_allowed": "the address is there, but not for this method",
    "timeout": "the request did not arrive in time",
    "too_large": "the request has more bytes, or more files, than this server takes",
    "unsupported_type": "the bytes, or the declared Content-Type, are not of a kind of picture that is read",
    "undecodable": "a picture is damaged, cut short or too large to decode",
    "overloaded": "too many requests are waiting; try again after `Retry-After` seconds",
    "internal": "the server failed; its log says why",
    "not_ready": "the server is starting or stopping",
}
"""Every code that an answer may carry, and what it means."""


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so
    """An answer that is not 2xx.

    Args:
        errors: one entry per file where several were sent.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        assert code in CODES, code
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers, self.errors = status, code, detail, headers, errors

    def response(self, *, protocol_v2: bool = False) -> JSONResponse:
        """The problem as `application/problem+json`; a client of the Open Inference Protocol looks for its "error"."""
        document: dict[str, Any] = {
            "type": f"/docs#{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if protocol_v2:
            document["error"] = self.detail
        if self.errors:
            document["errors"] = list(self.errors)
        headers = dict(self.headers) if self.headers else None
        return JSONResponse(document, self.status, headers, media_type="application/problem+json")
