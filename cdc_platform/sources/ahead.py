"""Work ahead: the next item is fetched and decoded while the caller is busy with the one before.

Arrow, Polars and the drivers leave the interpreter while they work, so a thread is enough.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
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
