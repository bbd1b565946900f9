# SPDX-License-Identifier: GPL-3.0-or-later
"""A program that is run for what it says, and its end."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from video2rig import child
from video2rig.errors import Cancelled
from video2rig.parent import is_running


@pytest.mark.skipif(os.name != "posix", reason="reads /proc")
def test_cancelling_ends_the_whole_tree(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, flush=True); time.sleep(60)"
    )
    cancelled, pids = threading.Event(), []

    def line(text: str) -> None:
        pids.append(int(text))
        cancelled.set()

    begin = time.monotonic()
    with pytest.raises(Cancelled):
        child.run(
            [sys.executable, "-c", code],
            folder=tmp_path,
            environment=child.clean_environment(),
            line=line,
            cancelled=cancelled,
        )
    assert time.monotonic() - begin < 10
    deadline = time.monotonic() + 5
    while is_running(pids[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pids[0])
    with pytest.raises(child.ChildError, match="cannot be started"):
        child.run([tmp_path / "nowhere"], folder=tmp_path, environment={})
