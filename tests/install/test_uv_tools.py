# SPDX-License-Identifier: GPL-3.0-or-later
"""uv itself, and what it is told to take PyTorch from."""

import sys
import threading
from pathlib import Path

import pytest

from video2rig import torch_build
from video2rig.installer import install
from video2rig.package_index import configured
from video2rig.uv_tools import Tools


def test_a_damaged_uv_is_replaced(request_of) -> None:
    done = install(request_of())
    (uv,) = done.root.glob("tools/uv-*/uv*")
    uv.write_text("damaged")
    assert install(request_of()).problem is None
    assert uv.stat().st_size > 10**7 and [path.name for path in (done.root / "tools").iterdir()] == [uv.parent.name]


def test_which_torch(request_of, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyTorch's own index by the device, unless somebody chose an index."""

    def arguments(device: str) -> list[str]:
        indexes = configured()
        return Tools(tmp_path, indexes, lambda text: None, threading.Event()).torch_arguments(device)

    assert arguments("cpu") == []
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(torch_build, "has_nvidia_driver", lambda: False)
    assert arguments("cpu") == arguments("auto") == ["--torch-backend", "cpu"]
    monkeypatch.setattr(torch_build, "has_nvidia_driver", lambda: True)
    assert arguments("auto") == arguments("cuda") == ["--torch-backend", "auto"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert arguments("auto") == []
