"""Run an iterator ahead of whoever reads it, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.05
_END = object()


def ahead(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The items in their order, up to ``depth`` of them made before they are asked for.

    What ``items`` raises is raised at the place where its item would have come. Leaving early (an error, Ctrl-C,
    ``close``) stops the thread after the item it is at and closes ``items``.
    """
    made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: Any, error: BaseException | None = None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                made.put((item, error), timeout=_POLL_SECONDS)
                return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    break
            # A generator holds files and threads of its own: let go of them here, not when it is collected.
            if isinstance(items, Generator):
                items.close()
        except BaseException as error:  # noqa: BLE001 - raised again in the reader's thread
            put(_END, error)
        else:
            put(_END)

    thread = threading.Thread(target=work, name="oddwatch-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        thread.join()
