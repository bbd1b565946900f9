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

    What ``items`` raises is raised here, in its turn. Whoever does not take all of them closes this generator, which
    waits for the item that is being made and closes ``items``.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(count))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item  # pyright: ignore[reportReturnType]
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()
