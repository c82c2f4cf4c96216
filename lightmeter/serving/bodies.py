"""An HTTP request -> the encoded pictures in it, held against the limits while it is still arriving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from lightmeter.serving.limits import Limits
from lightmeter.serving.problems import Problem

_RAW = ("application/octet-stream", "")
_NAME = 200


async def read_images(request: Request, limits: Limits, took: Callable[[int], None]) -> list[tuple[str, bytes]]:
    """(name, bytes) of each picture: the body itself, or every file of a multipart form.

    What a picture is, its bytes say: a declared type only has to be `image/*`, and need not be the right one.

    Args:
        took: told of the bytes that have come, see `limits.Gate.arrive`.

    Raises:
        Problem: 400 without pictures, 408 too slow, 413 too large, 415 declared as something else, 429 no room.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(limits.read_seconds):
            if declared == "multipart/form-data":
                images = await _form(request, limits, took)
            elif declared.startswith("image/") or declared in _RAW:
                body = b"".join([chunk async for chunk in _stream(request, limits, took)])
                images = [("body", body)] if body else []
            else:
                raise Problem(
                    415,
                    "unsupported_type",
                    f"The request's Content-Type is {_printable(declared)[:80]}; "
                    "send image/*, application/octet-stream or multipart/form-data.",
                )
    except TimeoutError as error:
        raise _late(limits) from error
    except ClientDisconnect as error:
        raise Problem(400, "bad_request", "The connection ended before the request did.") from error
    if not any(data for _, data in images):
        raise Problem(400, "no_image", "Send a picture as the body, or files in a form.")
    return images


async def read_body(request: Request, limits: Limits, took: Callable[[int], None]) -> bytes:
    """The whole body, as it came. Raises Problem: 408 too slow, 413 too large, 429 no room, 400 where it broke off."""
    try:
        async with asyncio.timeout(limits.read_seconds):
            return b"".join([chunk async for chunk in _stream(request, limits, took)])
    except TimeoutError as error:
        raise _late(limits) from error
    except ClientDisconnect as error:
        raise Problem(400, "bad_request", "The connection ended before the request did.") from error


def _late(limits: Limits) -> Problem:
    return Problem(
        408, "timeout", f"The request did not arrive within {limits.read_seconds:g} s.", {"Connection": "close"}
    )


async def _stream(request: Request, limits: Limits, took: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
    """The body, chunk by chunk, until it is more than allowed."""
    too_large = Problem(
        413, "too_large", f"A request may have {limits.body:,} bytes.", {"Connection": "close"}
    )  # the rest of the body is not read, so the connection cannot be used again
    promised = request.headers.get("content-length", "")
    if promised.isdecimal() and int(promised[:20]) > limits.body:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limits.body:
            raise too_large
        took(len(chunk))
        yield chunk


async def _form(request: Request, limits: Limits, took: Callable[[int], None]) -> list[tuple[str, bytes]]:
    parser = MultiPartParser(
        request.headers, _stream(request, limits, took), max_files=limits.images, max_fields=16, max_part_size=4096
    )
    parser.spool_max_size = limits.body + 1  # pictures of users are not written to the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise Problem(413, "too_large", f"A request may have {limits.images} files.") from error
        raise Problem(400, "bad_request", f"The form cannot be read: {error.message}") from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        return [(_plain(file.filename or "file"), await file.read()) for file in files if file.filename or file.size]
    finally:
        await form.close()


def _plain(name: str) -> str:
    """A client's file name, fit to be repeated: its last part, printable, not too long."""
    return _printable(name.replace("\\", "/").rpartition("/")[2])[:_NAME] or "file"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
