"""A server in a process of its own, and what the system says of it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers.

    Attributes:
        url: its address.
        pid: of its process.
    """

    url: str
    pid: int

    @property
    def memory(self) -> float:
        """Resident memory in MiB, of the process and those that it started."""
        return sum(_resident(pid) for pid in _family(self.pid)) / 2**20

    @property
    def files(self) -> int:
        """Open files and sockets of the process."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return Path(f"/proc/{self.pid}/stat").exists() and _state(self.pid) != "Z"


@contextlib.contextmanager
def serving(
    command: Sequence[str], port: int, *, ready: str = "/readyz", log: Path | None = None, cwd: Path = ROOT
) -> Iterator[Server]:
    """Run `command`, which listens on 127.0.0.1:`port`; wait until `ready` answers 200; stop it at the end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(open(log, "w")) if log is not None else subprocess.DEVNULL
        process = subprocess.Popen(
            list(command), stdout=sink, stderr=sink, env=environment, cwd=cwd, start_new_session=True
        )
        try:
            _wait(f"http://127.0.0.1:{port}{ready}", process)
            yield Server(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with contextlib.suppress(ProcessLookupError):  # workers that outlive their server would go on computing
                os.killpg(process.pid, signal.SIGKILL)


def lightmeter(bundle: Path, port: int, *, name: str = "", runner: str = "auto") -> list[str]:
    """The command that serves a bundle, under a name if one is given, without a line for each request."""
    words = ["serve", f"{name}={bundle}" if name else str(bundle), "--port", str(port), "--no-log", "--runner", runner]
    return [sys.executable, "-m", "lightmeter", *words]


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with {process.returncode} before it was ready")
        with contextlib.suppress(OSError, urllib.error.HTTPError), urllib.request.urlopen(address, timeout=2):
            return
        time.sleep(0.1)
    raise SystemExit(f"{address} did not answer within {_START_SECONDS:.0f} s")


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    children: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            children += map(int, path.read_text().split())
    return [pid, *(below for child in children for below in _family(child))]


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"
