"""The page at /docs: one file of HTML that loads nothing from anywhere, as a server may stand where no network is."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape

from lightmeter.serving.limits import Limits
from lightmeter.serving.problems import CODES
from lightmeter.serving.shelf import Shelf

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f3f3f1 } pre { padding: .8rem; overflow-x: auto }
table { border-collapse: collapse } td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
h2 { margin-top: 2rem } form { padding: .8rem; border: 1px solid #ccc } pre { white-space: pre-wrap }
a { color: #0b57a4 }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #e8e8e8 } code, pre { background: #262626 }
a { color: #8ab8f0 } }
"""

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: its own style, its own form, no script at all."""

_ROUTES = (
    (
        "POST /v1/predict",
        (
            "a picture as the body, or files in a form; <code>?topk=</code> classes are listed, "
            "<code>?model=NAME</code> asks one of several, <code>?explain=true</code> adds where the evidence lies, "
            "<code>?neighbours=</code> training pictures like it"
        ),
    ),
    ("GET /v1/models", "what is served, by name"),
    ("GET /v1/models/NAME", "its card: classes, size of the canvas, temperature, threshold, scores, provenance"),
    ("/v2", "the Open Inference Protocol, for clients of Triton and KServe; with binary tensors"),
    ("GET /livez", "200 while the process runs"),
    ("GET /readyz", "200 while it answers, and its exam was passed; else 503"),
    ("GET /metrics", "counters for Prometheus"),
    ("GET <a href='/openapi.json'>/openapi.json</a>", "this, for programs"),
)


def page(shelf: Shelf | None, limits: Limits) -> str:
    """The HTML of the page; without a shelf it says nothing of what is served, as who reads it has no key."""
    told = "What it tells apart, <code>/v1/models</code> says to those who have a key."
    if shelf is not None:
        names = shelf.get(shelf.default).bundle.classes
        classes = ", ".join(escape(name) for name in names[:12]) + (", …" if len(names) > 12 else "")
        told = f"It tells {len(names)} classes apart: {classes}."
    routes = "".join(f"<tr><td><code>{route}</code></td><td>{says}</td></tr>" for route, says in _ROUTES)
    codes = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{_marked(says)}</td></tr>' for code, says in CODES.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Lightmeter server</title><style>{_STYLE}</style></head><body>
<h1>Lightmeter server</h1>
<p>{told}</p>
<form method="post" action="/v1/predict" enctype="multipart/form-data">
<label>Pictures <input type="file" name="file" accept="image/*" multiple required></label>
<button>Ask</button></form>
<h2>Addresses</h2><table>{routes}</table>
<h2>From the command line</h2>
<pre>curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' \\
  'http://HOST:PORT/v1/predict?topk=3'
curl -F file=@one.jpg -F file=@two.png 'http://HOST:PORT/v1/predict'</pre>
<p>A request may have {limits.body:,} bytes and {limits.images} files. Where one of its pictures cannot be read, the
whole request is refused and the answer names each.</p>
<h2>Answers</h2>
<p>Each picture gets <code>label</code>, its <code>probability</code>, the <code>top</code> classes,
<code>calibrated</code> (whether probabilities were fitted on held-out pictures), <code>abstain</code> and, where it
abstains, a <code>reason</code>. <code>bundle</code> names exactly what answered.</p>
<h2>Errors</h2>
<p><code>application/problem+json</code> (RFC 9457) with one of these codes:</p><table>{codes}</table>
</body></html>
"""


def _marked(text: str) -> str:
    """Plain text with code between backticks -> HTML."""
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(text))
