"""A client of a Lightmeter server in three functions, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from lightmeter.errors import ServerError, UsageError

_TURNED_AWAY = 429
_LEAST = 0.05  # seconds between two tries, whatever the server says


def ready(address: str, *, key: str = "", timeout: float = 5.0) -> bool:
    """Whether a server answers at an address such as "http://127.0.0.1:8000". Raises UsageError: no such address."""
    try:
        _ask(address, "GET", "/readyz", key=key, timeout=timeout)
    except ServerError:
        return False
    return True


def models(address: str, *, key: str = "", timeout: float = 30.0) -> dict[str, dict[str, Any]]:
    """Name -> card of every model that is served. Raises ServerError, UsageError."""
    listed = _ask(address, "GET", "/v1/models", key=key, timeout=timeout)["models"]
    return {
        one["name"]: _ask(address, "GET", f"/v1/models/{quote(one['name'], safe='')}", key=key, timeout=timeout)
        for one in listed
    }


def predict(
    address: str,
    pictures: Sequence[Path | bytes],
    *,
    model: str = "",
    topk: int = 1,
    explain: bool = False,
    key: str = "",
    timeout: float = 60.0,
) -> list[dict[str, Any]]:
    """What a server says of pictures, one request each: {"file", "label", "probability", "top", ...}, as `predict`.

    Args:
        pictures: files, or encoded pictures.
        model: by name; the server's default without.
        timeout: seconds for a picture. One that is turned away (429) is sent again when the server says, while there
            is time; nothing else is tried again.

    Raises:
        ServerError: it refused a picture, is overloaded for longer, or cannot be reached.
        UsageError: no such address.
    """
    query = {"topk": str(topk), "explain": str(explain).lower(), **({"model": model} if model else {})}
    found = []
    for picture in pictures:
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        answer = _ask(address, "POST", f"/v1/predict?{urlencode(query)}", data, key=key, timeout=timeout)
        (prediction,) = answer["predictions"]
        found.append({**prediction, "file": "body" if isinstance(picture, bytes) else str(picture)})
    return found


def _ask(
    address: str, method: str, path: str, body: bytes | None = None, *, key: str, timeout: float
) -> dict[str, Any]:
    until = time.monotonic() + timeout
    while True:
        status, again, document = _once(address, method, path, body, key, until - time.monotonic())
        if status != _TURNED_AWAY or time.monotonic() + again > until - min(1.0, timeout / 2):
            break  # what is left would be too short to be answered in
        time.sleep(again)
    if status >= 400:
        raise ServerError(
            f"The server refused ({status}, {document.get('code', 'unknown')}): {document.get('detail', '')}"
        )
    return document


def _once(
    address: str, method: str, path: str, body: bytes | None, key: str, timeout: float
) -> tuple[int, float, dict[str, Any]]:
    """Status, the seconds after which it may be tried again, and what was answered."""
    place = urlsplit(address)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise UsageError(f"{address!r} is no address of a server.", "http://HOST:PORT")
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.hostname, place.port, timeout=timeout)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if body is not None:
        headers["Content-Type"] = "application/octet-stream"
    try:
        connection.request(method, place.path.rstrip("/") + path, body, headers)
        response = connection.getresponse()
        document: dict[str, Any] = json.loads(response.read())
        again = _seconds(response.headers.get("Retry-After", ""))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ServerError(f"{address} does not answer as a Lightmeter server does ({error}).") from error
    finally:
        connection.close()
    return response.status, again, document


def _seconds(told: str) -> float:
    """What `Retry-After` says; a second where it says nothing, or a date."""
    return max(_LEAST, float(told)) if told.isdecimal() else 1.0
