"""The client and the load generator, against a real server on loopback."""

from __future__ import annotations

import asyncio
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from lightmeter.errors import ServerError, UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.serving.app import create_app
from lightmeter.serving.client import models, predict, ready
from lightmeter.serving.keys import Keys
from lightmeter.serving.limits import Limits
from lightmeter.serving.load import Level, _exchange, climb, level, sample, shedding_point, some_answered
from lightmeter.verbs.predict import predict as predicted
from tests.bundles import picture
from tests.serving.clients import shelf

KEY = "0123456789abcdef-key"


@pytest.fixture(scope="module")
def address(bundle: Bundle) -> Iterator[str]:
    """A server in a thread, which wants a key."""
    limits = Limits(waiting=2)
    app = create_app(shelf(bundle, limits), limits=limits, keys=Keys({"one": KEY}))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        pass
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_three_functions(address: str, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(picture(1))
    (expected,) = predicted(bundle, [tmp_path / "x.jpg"])
    assert ready(address)
    assert models(address, key=KEY)["model"]["bundle"] == bundle.seal
    first, second = predict(address, [tmp_path / "x.jpg", picture(2)], key=KEY, explain=True)
    assert (first["file"], second["file"]) == (str(tmp_path / "x.jpg"), "body")
    assert first["label"] == expected.label
    assert first["explanation"]["heat_png"]


def test_what_goes_wrong_is_told(address: str) -> None:
    with pytest.raises(ServerError, match="unauthorized"):
        models(address)
    with pytest.raises(ServerError, match="unsupported_type"):
        predict(address, [b"no picture"], key=KEY)
    with pytest.raises(ServerError, match="no_model"):
        predict(address, [picture()], model="other", key=KEY)
    with pytest.raises(UsageError, match="no address"):
        ready("ftp://127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert not ready(nobody)
    with pytest.raises(ServerError, match="does not answer"):
        models(nobody)


def turning_away(times: int, again: str) -> tuple[http.server.HTTPServer, list[str]]:
    """A server that says 429 so many times, and then answers; and what it was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            away = len(asked) <= times
            body = {"code": "overloaded", "detail": "Too many wait."} if away else {"predictions": [{"label": "a"}]}
            self.send_response(429 if away else 200)
            self.send_header("Retry-After", again)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    return server, asked


def test_a_picture_that_is_turned_away_is_sent_again_while_there_is_time() -> None:
    server, asked = turning_away(2, "0")
    try:
        found = predict(f"http://127.0.0.1:{server.server_port}", [b"one"])
    finally:
        server.shutdown()
        server.server_close()
    assert found == [{"label": "a", "file": "body"}] and asked == ["one"] * 3


def test_a_wait_longer_than_the_time_left_is_not_begun() -> None:
    server, asked = turning_away(2, "3600")
    try:
        with pytest.raises(ServerError, match="overloaded"):
            predict(f"http://127.0.0.1:{server.server_port}", [b"one"])
    finally:
        server.shutdown()
        server.server_close()
    assert asked == ["one"]


def test_a_level_counts_every_request(address: str) -> None:
    found = asyncio.run(level(address, sample(), 20.0, 1.0, key=KEY))
    assert found.failed == 0
    assert 5 <= found.answered + found.shed * 40 <= 45
    assert 0 < found.p50 <= found.p95 <= found.p99 <= found.longest
    refused = asyncio.run(level(address, sample(), 20.0, 0.5))  # without the key
    assert (refused.failed, refused.failure) == (1.0, "status 401, it wants a key")
    with pytest.raises(ServerError, match="wants a key"):
        some_answered(address, refused)
    assert some_answered(address, found) is found
    with pytest.raises(UsageError):
        asyncio.run(level("https://127.0.0.1", b"", 1.0, 0.1))


def test_requests_are_begun_as_they_come_due() -> None:
    """Not all at once: a minute of them would hold up the first by as long as it takes to begin with each."""
    begun: list[int] = []
    connected = 0

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        while await reader.read(100_000):
            begun.append(len(asyncio.all_tasks()))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        connected -= 1

    async def ask() -> Level:
        async with await asyncio.start_server(answered, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found = await level(f"http://127.0.0.1:{port}", b"small", 100.0, 4.0)
            while connected:
                await asyncio.sleep(0.01)
            return found

    assert asyncio.run(ask()).failed == 0
    assert len(begun) > 200
    assert begun[len(begun) // 10] < 100


@pytest.mark.parametrize("chunked", [False, True])
def test_answers_of_known_length_and_in_chunks_are_read_to_their_end(chunked: bool) -> None:
    """Over kept connections, where the second answer is understood only if the first was read whole."""
    connections: list[object] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            connections.append(self)
            super().setup()

        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Content-Length", "4")))
            self.end_headers()
            self.wfile.write(b"4\r\nbody\r\n0\r\n\r\n" if chunked else b"body")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    async def twice(port: int) -> list[int]:
        idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        try:
            return [await _exchange("127.0.0.1", port, b"POST / HTTP/1.1\r\n\r\n", idle) for _ in range(2)]
        finally:
            for _, writer in idle:
                writer.close()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            assert asyncio.run(twice(server.server_port)) == [200, 200]
        finally:
            server.shutdown()
    assert len(connections) == 1


def test_the_rate_is_doubled_until_the_server_sheds(address: str) -> None:
    told: list[Level] = []
    found = climb(address, sample(), seconds=0.5, first=50.0, key=KEY, tell=told.append)
    assert told == found
    assert [one.rate for one in found] == [50.0 * 2**place for place in range(len(found))]
    point = shedding_point(found)
    assert point is None or point == found[-1].rate
    with pytest.raises(ServerError, match="answers none"):
        climb(address, sample(), seconds=0.3, tell=told.append)
