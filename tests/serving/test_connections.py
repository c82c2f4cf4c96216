"""Clients that send the head of a request slowly, or never, or read nothing, are cut; all others are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from lightmeter.serving.connections import patient

SECONDS = 1.0
MUCH = 16 << 20  # bytes, more than sockets hold
WHOLE = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n"


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read the whole body, take longer than a head may, and answer; of /much and /full at once."""
    if scope["path"] == "/full":
        await send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})
        return
    if scope["path"] == "/much":
        length = [(b"content-length", str(MUCH).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": bytes(MUCH)})
        return
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(1.5 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=patient(SECONDS), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        yield client


def answer(client: socket.socket) -> bytes:
    """Read until the answer's two letters have come."""
    found = b""
    while not found.endswith(b"\r\n\r\nok"):
        some = client.recv(1000)
        assert some, "cut"
        found += some
    return found


def test_who_sends_nothing_is_cut(client: socket.socket) -> None:
    assert client.recv(1) == b""


def test_who_sends_a_head_byte_by_byte_is_cut(client: socket.socket) -> None:
    sent = 0
    with contextlib.suppress(OSError):  # a broken pipe or a reset, as it happens
        while sent < 1000:
            client.sendall(b"X")
            sent += 1
            time.sleep(SECONDS / 10)
    assert sent < 1000


def test_a_slow_second_head_is_cut_as_well(client: socket.socket) -> None:
    client.sendall(WHOLE)
    assert answer(client).startswith(b"HTTP/1.1 200")
    client.sendall(b"GET /")
    assert client.recv(1) == b""


def test_neither_a_slow_body_nor_a_slow_answer_is_cut(client: socket.socket) -> None:
    client.sendall(b"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 4\r\n\r\n")
    for _ in range(4):
        time.sleep(SECONDS / 2)
        client.sendall(b"x")
    assert answer(client).startswith(b"HTTP/1.1 200")
    client.sendall(WHOLE)
    assert answer(client).startswith(b"HTTP/1.1 200")


def test_a_connection_goes_on_after_a_body_that_was_not_read(client: socket.socket) -> None:
    body = bytes(2_000_000)
    for _ in range(2):
        client.sendall(b"POST /full HTTP/1.1\r\nHost: server\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.sendall(body)
        found = b""
        while not found.endswith(b"\r\n\r\nno"):
            found += client.recv(1000)
        assert found.startswith(b"HTTP/1.1 429")
    client.sendall(WHOLE)
    assert answer(client).startswith(b"HTTP/1.1 200")


def test_who_does_not_read_is_cut(port: int) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /much HTTP/1.1\r\nHost: server\r\n\r\n")
        time.sleep(4.5 * SECONDS)
        read = 0
        with contextlib.suppress(ConnectionResetError):
            while some := client.recv(1 << 20):
                read += len(some)
        assert read < MUCH


def test_who_reads_slowly_gets_it_all(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(b"GET /much HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
        read = 0
        while some := client.recv(MUCH // 8):
            read += len(some)
            time.sleep(SECONDS / 8)
        assert read > MUCH
