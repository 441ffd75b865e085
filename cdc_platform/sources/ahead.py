"""Work ahead: the next item is fetched and decoded while the caller is busy with the one before.

Arrow, Polars and the drivers leave the interpreter while they work, so threads are enough.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items (none of which is None) in the same order, one of them taken before it is asked for.

    An error comes where it would have come. Whoever stops early waits for the item that is under way; closing `items`
    is the owner's business.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def together(readings: Sequence[Iterator[T]]) -> Generator[T, None, None]:
    """The items of all, each reading ahead by one in a thread of its own; in its own order, and as they arrive."""
    with ThreadPoolExecutor(max(1, len(readings)), "together") as threads:
        coming = {threads.submit(next, reading, None): reading for reading in readings}
        while coming:
            for ready in wait(coming, return_when=FIRST_COMPLETED).done:
                reading = coming.pop(ready)
                if (item := ready.result()) is not None:
                    coming[threads.submit(next, reading, None)] = reading
                    yield item
