"""The page at /: its files, read once, with the policy under which a browser may run them."""

from __future__ import annotations

from pathlib import Path

from fastapi.responses import Response

from lightmeter.serving.problems import Problem

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {
    path.name: (path.read_bytes(), _KINDS[path.suffix])
    for path in sorted(Path(__file__).parent.iterdir())
    if path.suffix in _KINDS
}

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: what comes from this server, and nothing else."""


def asset(name: str) -> Response:
    """A file of the page. Raises Problem (404)."""
    if name not in _FILES:
        raise Problem(404, "not_found", "There is no such file.")
    content, kind = _FILES[name]
    return Response(content, media_type=kind, headers={"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})
