"""Bundles -> what is served under which name: each ready to answer, exchanged without a gap, shared out by chance."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightmeter.errors import BundleError, LightmeterError, UsageError
from lightmeter.nouns.bundle import CARD, Bundle
from lightmeter.nouns.preprocess import PIXEL_LIMIT
from lightmeter.runners import PLAIN
from lightmeter.serving.batcher import Batcher
from lightmeter.serving.limits import Limits
from lightmeter.serving.problems import Problem
from lightmeter.verbs.choose_runner import Chosen, choose_runner
from lightmeter.verbs.explain import Explainer
from lightmeter.verbs.neighbours import Neighbours
from lightmeter.verbs.predict import Predictor

_PRIVATE = ("source",)  # of a bundle's provenance: it may name a folder of the machine that trained


class Served:
    """One bundle that has passed its exam in this process, which warmed it up, too."""

    def __init__(
        self, name: str, bundle: Bundle, limits: Limits, *, by: str = PLAIN, before: Chosen | None = None
    ) -> None:
        """Load it.

        Args:
            by: which runner answers, see `verbs.choose_runner`.
            before: how the bundle was answered whose place it takes. Where this one passes its exam that way, nothing
                is timed: the server has better to do, and would time its own load.

        Raises:
            ExamError, BundleError: it may not be served.
            UsageError: no such runner, or it is not installed.
        """
        self.name, self.bundle, self.by = name, bundle, by
        self.stamp = stamp(bundle.path)
        self.chosen = choose_runner(bundle, by=by, before=before)
        self.predictor = Predictor(bundle, runner=self.chosen.runner)
        self.explainer = Explainer(self.predictor)
        self.neighbours = Neighbours.of(bundle, self.predictor.runner)
        side, channels = bundle.preprocess.size, bundle.preprocess.channels
        self.batcher = Batcher(
            self.predictor.runner,
            largest=limits.batch,
            longest_wait=limits.batch_seconds,
            lanes=self.chosen.lanes,
            workers=limits.workers,
            warm=np.zeros((limits.batch, side, side, channels), np.uint8),
        )
        self._users, self._retired = 0, False
        self._lock = threading.Lock()

    @staticmethod
    def load(name: str, path: Path, limits: Limits, *, by: str = PLAIN, before: Chosen | None = None) -> Served:
        """Open a bundle and load it. Raises as above; BundleError, too, where it was exchanged meanwhile."""
        found = stamp(path) if (path / CARD).exists() else None  # which Bundle.open then says
        served = Served(name, Bundle.open(path), limits, by=by, before=before)
        if stamp(path) != found:
            served.retire()
            raise BundleError(f"{path} was exchanged while it was being loaded.", fix="try again.")
        return served

    @contextmanager
    def use(self) -> Iterator[Served]:
        """Keep it alive for the block."""
        with self._lock:
            self._users += 1
        try:
            yield self
        finally:
            with self._lock:
                self._users -= 1
                last = self._retired and not self._users
            if last:
                self.batcher.retire()

    def retire(self) -> None:
        """Close it as soon as nobody uses it any more."""
        with self._lock:
            self._retired = True
            unused = not self._users
        if unused:
            self.batcher.retire()

    def canvas(self, data: bytes, *, most: int = PIXEL_LIMIT) -> NDArray[np.uint8]:
        """One encoded picture, of which at most so many pixels are decoded -> uint8[S, S, C]. Raises BadImageError."""
        return self.predictor.canvas(data, most=most)

    def card(self) -> dict[str, Any]:
        """What anyone may know of it."""
        told = self.bundle.model_dump(mode="json", exclude={"files", "seal", "provenance"})
        past = {name: value for name, value in self.bundle.provenance.items() if name not in _PRIVATE}
        examples = 0 if self.neighbours is None else len(self.neighbours.examples)
        return {
            "name": self.name,
            "version": self.bundle.version,
            "bundle": self.bundle.seal,
            "examples": examples,
            "runner": self.chosen.by,
            "threads": self.chosen.threads,
            "lanes": self.chosen.lanes,
            **told,
            "provenance": past,
            "exam": self.chosen.exam.document(),
        }


class Shelf:
    """What is served, by name; the first is meant where a request names none.

    Args:
        served: in this order.
        shares: name -> share of the requests that name no model, for a trial of one against another; together 1.
        shadows: name -> share of the requests that it answers as well, unseen, to be compared.

    Raises:
        UsageError: names that repeat, or shares that are no shares.
    """

    def __init__(
        self,
        served: Sequence[Served],
        *,
        shares: Mapping[str, float] | None = None,
        shadows: Mapping[str, float] | None = None,
    ) -> None:
        self._served = {one.name: one for one in served}
        self.shares, self.shadows = dict(shares or {}), dict(shadows or {})
        self.failures: dict[str, str] = {}
        self._refused: dict[str, tuple[int, int, int]] = {}
        self._random = random.Random()
        names = [one.name for one in served]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"Served as {', '.join(names) or 'nothing'}.", "each bundle under a name of its own")
        unknown = sorted({*self.shares, *self.shadows} - set(names))
        if unknown:
            raise UsageError(f"There is no bundle called {', '.join(unknown)}.", "one of " + ", ".join(names))
        if any(not 0 <= share <= 1 for share in (*self.shares.values(), *self.shadows.values())):
            raise UsageError("A share is below 0 or above 1.", "numbers from 0 to 1, such as 0.1")
        if self.shares and abs(sum(self.shares.values()) - 1) > 1e-6:
            raise UsageError(f"The shares add up to {sum(self.shares.values()):g}.", "shares that add up to 1")

    @property
    def names(self) -> tuple[str, ...]:
        """In the order given; it never changes."""
        return tuple(self._served)

    @property
    def default(self) -> str:
        """The first one's name."""
        return self.names[0]

    def get(self, name: str) -> Served:
        """By name. Raises Problem (404)."""
        if name not in self._served:
            raise Problem(404, "no_model", f"There is no such model here; there is {', '.join(self.names)}.")
        return self._served[name]

    def pick(self, name: str | None) -> Served:
        """The one that a request names, or the one that is its turn. Raises Problem (404)."""
        if name is not None:
            return self.get(name)
        if not self.shares:
            return self._served[self.default]
        return self._served[self._random.choices(list(self.shares), list(self.shares.values()))[0]]

    def shadows_of(self, answered: str) -> list[Served]:
        """Those that answer a request as well, after `answered` has."""
        chosen = [name for name, share in self.shadows.items() if name != answered and self._random.random() < share]
        return [self._served[name] for name in chosen]

    def renewed(self, name: str, limits: Limits) -> Served | None:
        """Load a bundle again if its folder has changed and what is there now was not refused before.

        May be called from any thread; it changes nothing that is served. Where what is there fails, `failures` says
        why, and it is not tried again before it changes once more.
        """
        old = self._served[name]
        path = old.bundle.path
        try:
            found = stamp(path)
        except OSError:
            self.failures[name] = "its folder cannot be read."
            return None
        if found == old.stamp:
            self.failures.pop(name, None)  # what is served lies there, whatever did meanwhile
            return None
        if found == self._refused.get(name):
            return None
        try:
            return Served.load(name, path, limits, by=old.by, before=old.chosen)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a new bundle, the old one goes on
            said = error.received if isinstance(error, LightmeterError) else "its files cannot be read."
            self.failures[name], self._refused[name] = said.replace(str(path), name), found
            return None

    def exchange(self, new: Served) -> None:
        """Serve another bundle under its name from now on, and end the old one as soon as nobody uses it any more.

        To be called where requests are let in, on the event loop, so that none is between choosing a bundle and holding
        it.
        """
        old, self._served[new.name] = self._served[new.name], new
        self.failures.pop(new.name, None)
        self._refused.pop(new.name, None)
        old.retire()

    def close(self) -> None:
        """Answer what waits, then stop."""
        for one in self._served.values():
            one.batcher.close()


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes when the bundle of that folder is replaced. Raises OSError."""
    found = os.stat(path / CARD)
    return found.st_ino, found.st_mtime_ns, found.st_size
