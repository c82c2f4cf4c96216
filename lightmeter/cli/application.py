"""The application: its commands put together, and every failure turned into a message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from lightmeter.cli import checks, data, exporting, serving, show, studies, training, weights
from lightmeter.errors import LightmeterError, UsageError

EXTRAS = {
    "train": ("cv2", "h5py", "jinja2", "matplotlib", "onnx", "onnxscript", "pyarrow", "scipy", "sklearn", "torch"),
    "serve": ("fastapi", "multipart", "prometheus_client", "python_multipart", "starlette", "uvicorn"),
}
"""extra -> the top-level modules that it brings."""

BUG = 70
"""Exit code of a bug of ours, as in BSD's sysexits."""

app = typer.Typer(
    name="lightmeter",
    help="Pictures in, an honest image classifier out, within the time you give it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: lightmeter train digits --budget 1m",
)
data.add_to(app)
weights.add_to(app)
training.add_to(app)
exporting.add_to(app)
studies.add_to(app)
serving.add_to(app)
checks.add_to(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, 1 for a check that did not hold, 2 for a mistake, 130 after Ctrl-C, 70 for a bug."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in arguments
    try:
        with _terminated_like_ctrl_c():
            code = app(args=arguments, prog_name="lightmeter", standalone_mode=False)
        sys.stdout.flush()
    except LightmeterError as error:
        return show.failure(error, as_json=as_json)
    except typer.TyperException as error:
        return show.failure(_explained(error), as_json=as_json) if error.format_message() else error.exit_code
    except ModuleNotFoundError as error:
        missing = _missing_extra(error)
        return _bug(error, as_json) if missing is None else show.failure(missing, as_json=as_json)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends
        return 141
    except Exception as error:  # noqa: BLE001 - the last resort: a bug of ours still needs an exit code and a JSON line
        return _bug(error, as_json)
    return code if isinstance(code, int) else 0


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, at any point of a command: what a job scheduler stops can be gone on with."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _version(value: bool) -> None:
    if value:
        from lightmeter import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Pictures in, an honest image classifier out, within the time you give it."""


def _explained(error: typer.TyperException) -> UsageError:
    """A mistake that the parser found, in the form that every other mistake has."""
    context = getattr(error, "ctx", None)
    fix = f"see `{context.command_path} --help`." if context is not None else ""
    return UsageError(error.format_message(), fix=fix)


def _bug(error: Exception, as_json: bool) -> int:
    traceback.print_exception(error)
    fix = "this is a bug of Lightmeter; please report it with the lines above."
    show.failure(LightmeterError(f"{type(error).__name__}: {error}", fix=fix), as_json=as_json)
    return BUG


def _missing_extra(error: ModuleNotFoundError) -> UsageError | None:
    root = (error.name or "").split(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if root in modules), None)
    if extra is None:
        return None
    return UsageError(
        f"This command needs {root}, which is not installed.",
        f"Lightmeter with its {extra!r} extra",
        f"pip install 'lightmeter[{extra}]'",
    )
