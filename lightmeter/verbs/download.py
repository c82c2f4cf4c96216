"""An https address to a file, with a limit on size and time, and with progress. Only `fetch` verbs import this."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from lightmeter.errors import SourceError, UsageError
from lightmeter.nouns.files import storage_errors
from lightmeter.nouns.progress import SILENT, Progress

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as lost."""

LIMIT = 4 << 30
"""Bytes; no file that we fetch is larger."""

_OFFLINE = (
    "check the connection; or fetch it on another machine and give the files with `--from DIR`, which opens no "
    "connection."
)


def download(address: str, target: Path, *, progress: Progress = SILENT, limit: int = LIMIT) -> Path:
    """Download one file. Only https is spoken, and plain http to this machine itself.

    Args:
        target: where the file goes; a part of a file is never left there.
        limit: bytes after which it stops.

    Raises:
        UsageError: an address that is not https.
        SourceError: no connection, an answer that is not the file, or more bytes than `limit`.
        StorageError: the target cannot be written.
    """
    _check(address)
    request = urllib.request.Request(address, headers={"User-Agent": "lightmeter"})
    handlers: list[urllib.request.BaseHandler] = [_CarefulRedirects()]
    if _is_loopback(address):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy could not reach this machine by that name
    try:
        response = urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise SourceError(f"{address} answered {error.code} {error.reason}.", "the file", _OFFLINE) from error
    except (OSError, http.client.HTTPException) as error:
        raise _lost(address, error) from error
    with response:
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else 0
        if total > limit:
            raise SourceError(f"{address} has {total} bytes.", f"at most {limit}")
        with storage_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            received = _copy(address, response, target, total, limit, progress)
            if total and received != total:
                raise SourceError(f"{address} ended after {received} of {total} bytes.", "the whole file", _OFFLINE)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return target


def _copy(address: str, response: IO[bytes], target: Path, total: int, limit: int, progress: Progress) -> int:
    received = 0
    with (
        progress.track(f"Downloading {target.name}", total, "bytes") as advance,
        storage_errors(target),
        open(target, "wb") as stream,
    ):
        while True:
            try:
                block = response.read(1 << 18)
            except (OSError, http.client.HTTPException) as error:
                raise _lost(address, error) from error
            if not block:
                return received
            received += len(block)
            if received > limit:
                raise SourceError(f"{address} has more than {limit} bytes.", f"at most {limit}")
            stream.write(block)
            advance(len(block))


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that could have been given in the first place."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if _is_loopback(newurl) and not _is_loopback(req.full_url):
            raise SourceError(f"{req.full_url} redirects to this machine itself ({newurl}).", "an https address")
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(address: str) -> None:
    scheme = urlsplit(address).scheme
    if scheme != "https" and not (scheme == "http" and _is_loopback(address)):
        raise UsageError(f"{address} is not fetched.", "an https address")


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _lost(address: str, error: Exception) -> SourceError:
    reason = getattr(error, "reason", None) or error
    return SourceError(f"{address} could not be fetched: {reason}.", "a connection to its owner", _OFFLINE)
