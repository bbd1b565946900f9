# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark of the stages: operations as counted by hand, and that its tables are printed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from shared_data import ROOT, SAMPLE, SHARED

sys.path.insert(0, str(ROOT / "benchmarks"))

import openpose_stages


def by_hand(stages: int, size: int) -> float:
    """Multiplications and additions of the network's convolutions, 10^9, from the paper's figure."""
    cells = (size // 8) ** 2
    front = (
        64 * (3 * 64 + 64 * 64) + 16 * (64 * 128 + 128 * 128) + 4 * (128 * 256 + 3 * 256 * 256) + 256 * 512 + 512 * 512
    )
    front += 512 * 256 + 256 * 128
    first = 2 * (9 * 3 * 128 * 128 + 128 * 512) + 512 * 57
    later = 2 * (49 * (185 * 128 + 4 * 128 * 128) + 128 * 128) + 128 * 57
    return 2 * cells * (9 * front + first + (stages - 1) * later) / 1e9


@pytest.mark.parametrize("stages", [2, 3, 6])
def test_operations(stages: int) -> None:
    assert openpose_stages._flops(stages, 184) == pytest.approx(by_hand(stages, 184), rel=1e-6)
    assert openpose_stages._flops(6, 184) / openpose_stages._flops(3, 184) == pytest.approx(1.70, abs=0.005)


def test_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--sizes", "32", "--quick", "--video", str(SAMPLE), "--processor-time"]
    monkeypatch.setattr(sys, "argv", ["openpose_stages", *line])
    assert openpose_stages.main() == 0
    out = capsys.readouterr().out
    assert "random weights" in out and "6 stages " in out and "2 stages " in out
    assert "operations alone" in out and "(1.00)" in out
    assert ("median error of keypoints" in out) == (SHARED / "weights").is_dir()
    monkeypatch.setattr(sys, "argv", ["openpose_stages", *line, "--weights", str(tmp_path / "no.pth")])
    assert openpose_stages.main() == 1
    assert "there is no such file" in capsys.readouterr().err
