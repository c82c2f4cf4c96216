from __future__ import annotations

import gc
import weakref

from lightmeter.serving.memory import Rest, settle


class Ring:
    """Refers to itself."""

    def __init__(self) -> None:
        self.own = self


def test_what_is_loaded_is_spared_by_the_collector_and_what_has_gone_is_not_kept() -> None:
    try:
        first = Ring()
        settle()
        assert not any(one is first for one in gc.get_objects())  # the collector does not go through it any more
        gone = weakref.ref(first)
        del first
        gc.collect()
        assert gone() is not None
        settle()
        assert gone() is None
    finally:
        gc.unfreeze()


def test_memory_goes_back_at_rest_and_under_lasting_load_at_a_free_moment() -> None:
    rest = Rest()
    assert not rest.due(0, busy=False)  # nothing has come yet
    assert not rest.due(5, busy=False)  # some came just now
    assert not rest.due(5, busy=True)  # one of them is still under way
    assert rest.due(5, busy=False)
    assert not rest.due(5, busy=False)  # once is enough
    looks = [rest.due(5 + number, busy=number % 2 == 0) for number in range(1, 30)]
    assert looks.count(True) == 2
