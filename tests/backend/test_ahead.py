# SPDX-License-Identifier: GPL-3.0-or-later
"""Items that are made ahead: the same ones, in the same order, no more than allowed, and none left running."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video2rig.ahead import ahead


class Source:
    """Counts up; remembers how far it went, on which threads, and whether it was closed."""

    def __init__(self, count: int, fails: bool = False) -> None:
        self.count, self.fails = count, fails
        self.made = 0
        self.closed = False
        self.threads: set[int] = set()

    def items(self) -> Generator[int, None, None]:
        try:
            for i in range(self.count):
                self.threads.add(threading.get_ident())
                self.made += 1
                yield i
            if self.fails:
                raise ValueError("the source broke")
        finally:
            self.closed = True


@given(st.integers(0, 20), st.integers(1, 5))
def test_all_items_come_in_order(count: int, held: int) -> None:
    source = Source(count)
    assert list(ahead(source.items(), held)) == list(range(count))
    assert source.closed
    assert threading.get_ident() not in source.threads and len(source.threads) <= 1


@given(st.integers(0, 10), st.integers(1, 5))
def test_an_error_comes_in_its_turn(count: int, held: int) -> None:
    source, seen = Source(count, fails=True), []
    with pytest.raises(ValueError, match="the source broke"):
        for item in ahead(source.items(), held):
            seen.append(item)
    assert seen == list(range(count))


def test_no_more_are_made_than_allowed() -> None:
    source = Source(100)
    items = ahead(source.items(), 3)
    assert next(items) == 0
    deadline = time.monotonic() + 5.0
    while source.made < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert source.made == 4
    items.close()
    assert source.closed and source.made == 4


def test_items_are_made_while_the_last_is_worked_on() -> None:
    source = Source(2)
    items = ahead(source.items(), 1)
    next(items)
    deadline = time.monotonic() + 5.0
    while source.made < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert source.made == 2
    assert list(items) == [1]
