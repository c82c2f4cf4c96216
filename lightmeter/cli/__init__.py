"""The command line: one function per verb, each a thin caller of the verb of the same name."""

from __future__ import annotations

from lightmeter.cli.application import app, main

__all__ = ["app", "main"]
