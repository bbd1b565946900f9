# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the process that started this one still lives."""

from __future__ import annotations

import contextlib
import os
import sys


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that ended but was not yet waited for does not."""
    if sys.platform == "win32":
        return _runs_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # Linux alone has it
        return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    return True


def _runs_on_windows(pid: int) -> bool:
    import ctypes

    synchronize, timed_out = 0x00100000, 0x102
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # pyright: ignore[reportAttributeAccessIssue]
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(synchronize, False, pid)
    if not handle:
        return False
    try:
        return kernel.WaitForSingleObject(ctypes.c_void_p(handle), 0) == timed_out
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))
