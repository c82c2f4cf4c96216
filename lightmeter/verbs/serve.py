"""Serve: answer over HTTP what `predict` answers. The server itself is in `serving/`; this is its door."""

from __future__ import annotations

import contextlib
import copy
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightmeter.errors import UsageError
from lightmeter.nouns.bundle import Bundle
from lightmeter.nouns.progress import SILENT, Progress
from lightmeter.verbs.verify import bundle_in

_LOOPBACK = ("localhost", "::1")
_GRACE = 30  # seconds that requests have to end in once the server was told to


def serve(path: Path, *, host: str = "127.0.0.1", port: int = 8000, progress: Progress = SILENT) -> None:
    """Serve the bundle (or the bundle in a run) until SIGTERM or Ctrl-C; requests under way are answered first.

    Args:
        port: 0 takes any that is free; the line that is shown tells which.

    Raises:
        UsageError: the server's libraries are not installed, or the address cannot be used.
        BundleError, ExamError: the bundle is not whole, or fails its exam here.
    """
    try:
        import uvicorn
        from uvicorn.config import LOGGING_CONFIG

        from lightmeter.serving.app import create_app
    except ImportError as error:
        raise UsageError(
            f"The server needs {error.name}, which is not installed.", fix="pip install 'lightmeter[serve]'"
        ) from error
    if not 0 <= port <= 65535:
        raise UsageError(f"The port is {port}.", "a number from 0 to 65535")
    app = create_app(Bundle.open(bundle_in(path)))
    logging = copy.deepcopy(LOGGING_CONFIG)
    logging["handlers"]["access"]["stream"] = "ext://sys.stderr"  # standard output belongs to results
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=logging,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=256,  # connections, idle ones too
        timeout_graceful_shutdown=_GRACE,
    )

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            where = self.servers[0].sockets[0].getsockname()
            shown = f"[{host}]" if ":" in host else host
            progress.say(f"Serving on http://{shown}:{where[1]}, described at /docs. Ctrl-C ends it.")
            if host not in _LOOPBACK and not host.startswith("127."):
                progress.say(
                    f"Warning: whoever reaches this machine at {host} can use it; there is no login and no TLS."
                )

    try:
        with _quiet_end():
            Announcing(config).run()
    except SystemExit as error:  # how it says that it cannot listen
        raise UsageError(
            f"{host}:{port} cannot be listened on.",
            "an address of this machine and a free port",
            "choose another --port; 0 takes any that is free.",
        ) from error


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
