# SPDX-License-Identifier: GPL-3.0-or-later
"""One thread for small matrices: libraries that spread them over all cores lose more than they win."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """Return a context in which BLAS and OpenMP use a single thread."""
    return _controller().limit(limits=1)


@cache
def _controller() -> ThreadpoolController:
    """Return the libraries that are loaded; to find them takes milliseconds."""
    return ThreadpoolController()
