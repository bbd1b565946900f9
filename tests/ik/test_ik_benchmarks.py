# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shared_data import ROOT, SHARED

sys.path.insert(0, str(ROOT / "benchmarks"))

import ik_accuracy
import ik_rivals
import imvip22

FOLDER = SHARED / "reference" / "position_ik"
pytestmark = pytest.mark.skipif(not (FOLDER / "evaluate.py").is_file(), reason=f"no reference tool at {FOLDER}")


@functools.cache
def reference() -> imvip22.Reference:
    return imvip22.Reference.load(FOLDER)


@functools.cache
def drawn() -> list[imvip22.Sequence]:
    return imvip22.sequences(reference(), "paper", 0.0, seed=5, count=3)


class Truth:
    """Answers with the true rotations, but for one joint of one frame."""

    name = "truth"

    def __init__(self, joint: int = 0, angle: float = 0.0) -> None:
        self._turn = reference().chain.local_rot(np.array([0.0, 0.0, angle]))
        self._joint = joint

    def solve(self, problems: list[ik_rivals.Problem]) -> ik_rivals.Answer:
        rotations = [one.rotations.copy() for one in drawn()]
        for one in rotations:
            one[3, self._joint] = one[3, self._joint] @ self._turn
        return ik_rivals.Answer(rotations, 0.0)


def test_scores_are_those_of_the_reference_tool() -> None:
    tool = reference()
    chains = [one.chain for one in drawn()]
    assert np.abs(ik_accuracy.score(tool, Truth(), drawn(), chains)).max() < 1e-5
    knee = tool.nominal.names.index("KneeL")
    errors = ik_accuracy.score(tool, Truth(knee, 0.5), drawn(), chains)
    assert errors.shape == (3, 14)
    assert errors[:, tool.evaluated.index(knee)] == pytest.approx(np.degrees(0.5) / 30)
    assert np.delete(errors, tool.evaluated.index(knee), axis=1).max() < 1e-5


def test_a_limb_in_a_local_minimum_is_named() -> None:
    one = drawn()[0]
    assert ik_accuracy.lost_limbs(reference(), one, one.rotations) == []
    elbow = reference().nominal.names.index("ElbowR")
    lost = ik_accuracy.lost_limbs(reference(), one, Truth(elbow, 0.4).solve([]).rotations[0])
    assert [limb.rpartition(" ")[0].rpartition(" ")[0] for limb in lost] == ["right arm"]
    slightly = Truth(elbow, 0.05).solve([]).rotations[0]  # 13 mm at the wrist
    assert ik_accuracy.lost_limbs(reference(), one, slightly) == []


def test_lengths_are_estimated_for_the_nominal_chain_and_believed_of_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ik_accuracy, "solve_chain", lambda *_, estimate_lengths: asked.append(estimate_lengths))
    one = drawn()[0]
    ik_accuracy.solve(reference().nominal, one.keypoints)
    ik_accuracy.solve(one.chain, one.keypoints)
    assert asked == [True, False]


def test_the_reference_tool_takes_the_solver_from_a_checkout() -> None:
    command = [sys.executable, FOLDER / "evaluate.py", "--solver", "benchmarks.ik_accuracy:solve", "--true-lengths"]
    done = subprocess.run([*command, "--seqs", "2"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    score = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["all"])
    assert float(score.split()[1]) < 3.0


def test_a_scaled_chain_has_the_subjects_lengths_where_keypoints_show_them() -> None:
    tool, one = reference(), drawn()[1]
    scaled = ik_rivals.scaled_chain(tool.nominal, one.keypoints)
    for name in ("KneeL", "AnkleR", "ElbowL", "WristR", "HipL", "Neck", "Head"):
        joint = tool.nominal.names.index(name)
        assert np.allclose(scaled.t0[joint], one.chain.t0[joint], atol=1e-9), name
    hidden = [tool.nominal.names.index(name) for name in ("SpineLow", "ClavicleL")]
    factors = np.linalg.norm(scaled.t0[hidden], axis=1) / np.linalg.norm(tool.nominal.t0[hidden], axis=1)
    assert factors[0] == pytest.approx(factors[1])
    assert 0.8 < factors[0] < 1.2


def test_rivals_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ik_rivals.RivalError, match="--opensim-python"):
        ik_rivals.OpenSim(tmp_path / "python", reference())
    with pytest.raises(ik_rivals.RivalError, match="--kinepose"):
        ik_rivals.KinePose(tmp_path, reference())


def test_an_interpreter_without_opensim_is_named_in_the_refusal() -> None:
    rival = ik_rivals.OpenSim(Path(sys.executable), reference())
    with pytest.raises(ik_rivals.RivalError, match="No module named 'opensim'"):
        rival.solve([(drawn()[0].chain, drawn()[0].keypoints)])


def test_kinepose_is_given_the_chain_in_its_own_terms(tmp_path: Path) -> None:
    settings = tmp_path / "6DOF" / "Custom_chain" / "IMVIP22"
    settings.mkdir(parents=True)
    (settings / "Graph.txt").write_text("{0: [1]}")
    (settings / "Vectors.txt").write_text("[((0, 1), (0, 1))]\n")
    (tmp_path / "6DOF" / "kinematics.py").write_text(
        "class Result:\n"
        "    def __init__(self, x): self.x = x\n"
        "class kinematics:\n"
        "    def IK_opt_frames(chain, poses, graph, bounds, start, pairs):\n"
        "        assert len(chain) == 19 and chain[1].shape == (4, 4) and graph == {0: [1]}\n"
        "        assert pairs == [((0, 1), (0, 1))] and start == [0.0] * 57\n"
        "        return [Result([high for low, high in bounds]) for _ in poses]\n"
    )
    one = drawn()[0]
    found = ik_rivals.KinePose(tmp_path, reference()).solve([(one.chain, one.keypoints)]).rotations[0]
    highest = reference().chain.local_rot(one.chain.hi)
    assert found.shape == (30, 19, 3, 3)
    assert np.abs(found - highest).max() < 0.005  # bounds in turns have three decimals, as in its own files
