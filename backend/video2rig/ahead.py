# SPDX-License-Identifier: GPL-3.0-or-later
"""The next items are made on a thread of their own while this one works on the last."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

READ_AHEAD = 8
"""Frames of a video that are decoded before they are wanted."""

_END = object()


def ahead(items: Generator[T, None, None], count: int) -> Generator[T, None, None]:
    """Yield the items in order, at most ``count`` of them made before they are wanted.

    What ``items`` raises is raised here, in its turn. It runs, and is closed, on one other thread; closing this
    generator waits for the item that is being made.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting = deque(pool.submit(next, items, _END) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, items, _END))
                yield item  # pyright: ignore[reportReturnType]
        finally:
            for future in waiting:
                future.cancel()
            pool.submit(items.close).result()
