# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given

from shared_data import ROOT, SHARED
from strategies import seeds
from video2rig.kinematics import KinematicChain

sys.path.insert(0, str(ROOT / "benchmarks"))

import imvip22

FOLDER = SHARED / "reference" / "position_ik"
pytestmark = pytest.mark.skipif(not (FOLDER / "evaluate.py").is_file(), reason=f"no reference tool at {FOLDER}")


@functools.cache
def reference() -> imvip22.Reference:
    return imvip22.Reference.load(FOLDER)


def rom_inside(seed: int, chain) -> np.ndarray:
    return np.random.default_rng(seed).uniform(chain.lo, chain.hi, (5, chain.nj, 3))


@given(seeds)
def test_skeleton_and_chain_have_the_same_forward_kinematics(seed: int) -> None:
    tool = reference()
    chain = tool.evaluate.subject(tool.nominal, np.random.default_rng(seed))
    skeleton, (joints, offsets) = imvip22.skeleton_of(chain)
    angles = rom_inside(seed, chain)
    local = tool.chain.local_rot(angles)
    rotations, positions, keypoints = tool.chain.fk(chain, local)

    ours = KinematicChain(skeleton)
    mine = ours.local_rotations(torch.from_numpy(angles))
    found, turned = ours.forward(mine, torch.zeros(5, 3, dtype=torch.float64))
    assert np.abs(mine.numpy() - local).max() < 1e-12
    assert np.abs(turned.numpy() - rotations).max() < 1e-12
    assert np.abs(found.numpy() - positions).max() < 1e-12
    sites = found.numpy()[:, joints] + np.einsum("tkij,kj->tki", turned.numpy()[:, joints], offsets)
    assert np.abs(sites - keypoints).max() < 1e-12


def test_ranges_roles_and_lengths_are_the_chains() -> None:
    chain = reference().nominal
    skeleton, _ = imvip22.skeleton_of(chain)
    assert np.array_equal(skeleton.free_axes()[1:], (chain.hi > chain.lo)[1:])
    assert np.array_equal(skeleton.rom[1:, :, 0], chain.lo[1:])
    assert np.array_equal(skeleton.rom[1:, :, 1], chain.hi[1:])
    assert all(skeleton.roles)
    for role, name in (("left_knee", "KneeL"), ("right_clavicle", "ClavicleR"), ("pelvis", "Pelvis")):
        assert skeleton.names[skeleton.index(role)] == name
    shin = skeleton.length[skeleton.index("left_knee")]
    assert shin == np.linalg.norm(chain.t0[chain.names.index("AnkleL")])
    assert skeleton.length[skeleton.index("pelvis")] == np.linalg.norm(chain.t0[1])
    assert skeleton.length[skeleton.index("left_wrist")] == imvip22.TIP_LENGTH


def test_sequences_are_those_that_the_reference_tool_scores() -> None:
    tool = reference()
    seen = []

    def solver(chain, keypoints: np.ndarray) -> np.ndarray:
        seen.append((chain, keypoints))
        return np.tile(np.eye(3), (*keypoints.shape[:1], chain.nj, 1, 1))

    class Stub:
        solve = staticmethod(solver)

    arguments = ["evaluate.py", "--solver", "stub:solve", "--noise", "10", "--seqs", "3", "--seed", "7"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*arguments, "--true-lengths"])
        patch.setitem(sys.modules, "stub", Stub)
        patch.setattr(sys, "path", list(sys.path))
        tool.evaluate.main()
    mine = imvip22.sequences(tool, "paper", noise=10.0, seed=7, count=3)
    assert len(seen) == len(mine) == 3
    for (chain, keypoints), sequence in zip(seen, mine, strict=True):
        assert np.array_equal(chain.t0, sequence.chain.t0)
        assert np.array_equal(keypoints, sequence.keypoints)


def test_markers_carry_the_names_that_keypoints_have_here() -> None:
    tool = reference()
    markers = imvip22.markers_of(tool.nominal, imvip22.sequences(tool, "paper", 0.0, 3, 1)[0].keypoints)
    assert markers.names[:4] == ("pelvis", "right_hip", "right_knee", "right_ankle")
    assert {"spine", "neck", "head_top", "left_wrist"} < set(markers.names)
    assert len(markers) == 30


def test_a_folder_without_the_tool_is_refused(tmp_path) -> None:
    with pytest.raises(imvip22.ReferenceError, match="no reference tool"):
        imvip22.Reference.load(tmp_path)
