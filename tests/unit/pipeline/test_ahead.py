"""Items made ahead come in order, errors come in their place, and leaving early stops the maker."""

from __future__ import annotations

import threading

import pytest

from oddwatch.pipeline.ahead import ahead


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "oddwatch-ahead"]


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_order_is_kept_and_nothing_is_lost(depth):
    assert list(ahead(ahead(range(200), depth), depth)) == list(range(200))
    assert list(ahead([])) == [] and not workers()


def test_items_are_made_before_they_are_asked_for_but_not_many():
    made, third = [], threading.Event()

    def items():
        for i in range(50):
            made.append(i)
            if i == 2:
                third.set()
            yield i

    running = ahead(items(), depth=2)
    assert next(running) == 0
    assert third.wait(5)
    running.close()
    assert len(made) <= 5 and not workers()


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield from (1, 2)
        raise ValueError("broken here")

    seen = []
    with pytest.raises(ValueError, match="broken here"):
        for item in ahead(items()):
            seen.append(item)  # noqa: PERF402
    assert seen == [1, 2] and not workers()


def test_leaving_early_closes_the_maker():
    closed = threading.Event()

    def items():
        try:
            yield from iter(int, 1)
        finally:
            closed.set()

    running = ahead(items())
    assert next(running) == 0
    running.close()
    assert closed.wait(5) and not workers()
