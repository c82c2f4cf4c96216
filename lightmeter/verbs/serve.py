"""Serve: answer over HTTP what `predict` answers. The server itself is in `serving/`; this is its door."""

from __future__ import annotations

import contextlib
import copy
import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightmeter.errors import UsageError
from lightmeter.nouns.glibc import hold_little
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.verbs.choose_runner import AUTO
from lightmeter.verbs.verify import bundle_in

if TYPE_CHECKING:
    from lightmeter.serving.limits import Limits

_LOOPBACK = ("localhost", "::1")
_GRACE = 30  # seconds that requests have to end in once the server was told to
_HEAD = 16 * 1024  # bytes of a request's head
_CONNECTIONS = 512  # idle ones too; beyond them uvicorn answers 503 by itself, so that all other bounds come before


def serve(
    *bundles: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    shares: Mapping[str, float] | None = None,
    shadows: Mapping[str, float] | None = None,
    key_file: Path | None = None,
    per_second: float = 0.0,
    by: str = AUTO,
    limits: Limits | None = None,
    log: bool = True,
    progress: Progress = SILENT,
) -> None:
    """Serve bundles (or the bundles in runs) until SIGTERM or Ctrl-C; requests under way are answered first.

    A bundle whose folder is replaced meanwhile is exchanged once the new one has passed its exam.

    Args:
        *bundles: paths, or "NAME=PATH"; the first is asked where a request names none.
        port: 0 takes any that is free; the line that is shown tells which.
        shares, shadows: see `serving.shelf.Shelf`.
        key_file: of API keys, see `serving.keys.Keys`; without one, everybody may ask.
        per_second: requests that each key may send on average; 0 does not limit.
        by: which library runs the graphs: "onnxruntime", "openvino", or "auto", which measures.
        limits: other bounds than the usual ones: of bytes, pictures, pixels, waiting requests, batches and seconds.
        log: write a line of JSON to standard error for every request.

    Raises:
        UsageError: the server's libraries or the runner's are not installed, names or shares or keys that cannot be
            used, or the address.
        BundleError, ExamError: a bundle is not whole, or fails its exam here.
    """
    try:
        import uvicorn
        from uvicorn.config import LOGGING_CONFIG

        from lightmeter.serving.app import create_app
        from lightmeter.serving.connections import patient
        from lightmeter.serving.keys import Keys
        from lightmeter.serving.limits import Limits
        from lightmeter.serving.memory import settle
        from lightmeter.serving.shelf import Served, Shelf
        from lightmeter.serving.stopping import Stopping
    except ImportError as error:
        raise UsageError(
            f"The server needs {error.name}, which is not installed.", fix="pip install 'lightmeter[serve]'"
        ) from error
    if not 0 <= port <= 65535:
        raise UsageError(f"The port is {port}.", "a number from 0 to 65535")
    if per_second and key_file is None:
        raise UsageError("A rate was given without keys.", "a file of API keys whose holders it is for")
    keys = None if key_file is None else Keys.read(key_file, per_second=per_second)
    limits = limits or Limits()
    hold_little()
    served = [Served.load(name, bundle_in(path), limits, by=by) for name, path in named(bundles).items()]
    app = create_app(Shelf(served, shares=shares, shadows=shadows), limits=limits, keys=keys, log=_log if log else None)
    logging = copy.deepcopy(LOGGING_CONFIG)
    logging["handlers"]["access"]["stream"] = "ext://sys.stderr"  # standard output belongs to results
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=patient(limits.read_seconds),
        log_config=logging,
        log_level="warning",
        server_header=False,
        h11_max_incomplete_event_size=_HEAD,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
    )

    class Announcing(Stopping):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            where = self.servers[0].sockets[0].getsockname()
            shown = f"[{host}]" if ":" in host else host
            progress.say(f"Serving on http://{shown}:{where[1]}, described at /docs. Ctrl-C ends it.")
            for one in served:
                progress.say(f"{one.name} passed its exam and is answered by {one.chosen.by}: {one.chosen.reason}.")
            if host not in _LOOPBACK and not host.startswith("127."):
                missing = "there is no TLS" if keys else "there are no keys (--api-key-file) and no TLS"
                progress.say(f"Warning: whoever reaches this machine at {host} can try; {missing}.")

    settle()
    try:
        with _quiet_end():
            Announcing(config, app.state.engine).run()
    except SystemExit as error:  # how it says that it cannot listen
        raise UsageError(
            f"{host}:{port} cannot be listened on.",
            "an address of this machine and a free port",
            "choose another --port; 0 takes any that is free.",
        ) from error


def named(bundles: Sequence[str | Path]) -> dict[str, Path]:
    """Name -> folder, of paths or NAME=PATH; a run's bundle is called as the run.

    Raises:
        UsageError: two of one name.
    """
    found: dict[str, Path] = {}
    for text in map(str, bundles):
        name, equals, rest = text.partition("=")
        path = Path(rest if equals and name.isidentifier() else text)
        if not (equals and name.isidentifier()):
            resolved = path.resolve()
            name = resolved.parent.name if resolved.name == "model.bundle" else resolved.name.removesuffix(".bundle")
        if name in found:
            raise UsageError(f"Two bundles would be called {name}.", "NAME=PATH, each name once")
        found[name] = path
    return found


def _log(told: dict[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stderr.write(json.dumps({"time": now, **told}) + "\n")


@contextlib.contextmanager
def _quiet_end() -> Iterator[None]:
    """Let a server that was told to stop, and has, return; uvicorn would then raise the same signal once more."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda number, frame: None) if main else None
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
