"""Progress for people, on standard error: bars on a terminal, else a plain line now and then."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from lightmeter.cli.show import duration
from lightmeter.nouns.progress import Advance

if TYPE_CHECKING:
    from rich.progress import Progress, Task

EVERY = 5.0
"""Seconds between two plain lines of one counter."""


def open_progress() -> RichProgress | PlainProgress:
    """Bars where standard error is a terminal, else plain lines."""
    console = Console(stderr=True)
    return RichProgress(console) if console.is_terminal else PlainProgress(console)


class RichProgress:
    """Bars with count, rate and time left. A finished bar vanishes; what is said stays above the bars."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: Progress | None = None

    @contextlib.contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Show one bar; bars may nest."""
        outermost = self._bars is None
        bars = self._bars or _bars(self._console, unit)
        if outermost:
            self._bars = bars
            bars.start()
        task = bars.add_task(title, total=total, unit=unit)
        (shown,) = (one for one in bars.tasks if one.id == task)

        def advance(count: int, total: int | None = None) -> None:
            if total is not None:
                shown.total = total  # `update` would forget the speed as well
            bars.advance(task, count)

        try:
            yield advance
        finally:
            bars.remove_task(task)
            if outermost:
                bars.stop()
                self._bars = None

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(Text(text), soft_wrap=True)


class PlainProgress:
    """At most one line each few seconds and counter, for logs and pipes."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock

    @contextlib.contextmanager
    def track(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """Print count, rate and time left, but nothing for what is done within a few seconds."""
        began = shown = self._clock()
        done, of = 0, total

        def advance(count: int, total: int | None = None) -> None:
            nonlocal done, of, shown
            done += count
            of = of if total is None else total
            now = self._clock()
            if now - shown >= EVERY and done < of:
                shown = now
                rate = done / (now - began)
                left = (of - done) / rate if rate else 0.0
                self.say(f"{title}: {done:,} of {of:,} {unit}, {rate:,.0f} {unit}/s, {duration(left)} left")

        yield advance
        if shown > began:
            took = self._clock() - began
            self.say(f"{title}: {done:,} {unit} in {duration(took)}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(Text(text), soft_wrap=True)


def _bars(console: Console, unit: str) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

    class Rate(ProgressColumn):
        """Units per second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", style="cyan")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
