# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the solver starts: limbs and trunk in closed form from points in 3D."""

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from synthetic import random_pose
from video2rig.human import default_human
from video2rig.ik.limbs import Limb, find_limbs
from video2rig.ik.model import BodyModel, Pose
from video2rig.ik.start import Starter
from video2rig.keypoints import KEYPOINT_SETS, has_site
from video2rig.rom_profiles import ROM_PROFILES

NAMES = KEYPOINT_SETS["h36m_17"]
MODEL = BodyModel.for_keypoints(default_human(), NAMES)
NEUTRAL = (MODEL.lower + MODEL.upper) / 2
LIMBS = {MODEL.skeleton.roles[limb.ball]: limb for limb in find_limbs(MODEL)}
FRAMES = 200


def truth(seed: int, straight: bool = False) -> Pose:
    """Unrelated poses whose arms and legs alone leave the neutral pose."""
    pose = random_pose(MODEL, np.random.default_rng(seed), FRAMES)
    angles = NEUTRAL.expand(FRAMES, -1).clone()
    for limb in LIMBS.values():
        turning = MODEL.dof_joint == limb.ball
        angles[:, turning] = pose.angles[:, turning]
        angles[:, limb.dof] = limb.straight if straight else pose.angles[:, limb.dof]
    return Pose(pose.root_position, pose.root_rotation, angles)


def started(pose: Pose, weight: Tensor | None = None) -> Pose:
    weight = torch.ones(FRAMES, len(NAMES)).double() if weight is None else weight
    spots = torch.where(weight[..., None] > 0, MODEL.points(pose), 0.0)
    return Starter(MODEL, NEUTRAL)(spots[None], weight[None], MODEL.no_stretch(1)).reshape(len(spots))


def degrees_apart(one: Pose, other: Pose, joint: int) -> Tensor:
    mine, theirs = (MODEL.chain.local_rotations(MODEL.full_angles(pose.angles))[:, joint] for pose in (one, other))
    return roma.rotmat_geodesic_distance(mine, theirs).rad2deg()


def bend(limb: Limb, pose: Pose) -> Tensor:
    return (limb.sign * (pose.angles[:, limb.dof] - limb.straight)).rad2deg()


@pytest.mark.parametrize("name", [name for name, points in KEYPOINT_SETS.items() if all(map(has_site, points))])
@pytest.mark.parametrize("rom", list(ROM_PROFILES))
def test_arms_and_legs_are_found_and_bend_about_their_flexion_axis(name: str, rom: str) -> None:
    """A forearm turns as far about its own length as the elbow bends; that is no flexion."""
    model = BodyModel.for_keypoints(default_human(rom=rom), KEYPOINT_SETS[name])
    limbs = find_limbs(model)
    roles = [(model.skeleton.roles[limb.ball], model.skeleton.roles[limb.hinge]) for limb in limbs]
    sides = ("left", "right")
    assert set(roles) == {(f"{s}_{b}", f"{s}_{h}") for s in sides for b, h in (("shoulder", "elbow"), ("hip", "knee"))}
    assert all(int(model.dof_axis[limb.dof]) == 0 and limb.sign == 1.0 for limb in limbs)
    assert all(abs(limb.straight) < np.radians(15) for limb in limbs)


@pytest.mark.parametrize(
    # a shin does not lie in the plane in which its knee bends, so that a nearly straight leg seems turned
    ("part", "typical", "most"),
    [("shoulder", 1.5, 4.0), ("hip", 7.0, 16.0)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_bent_limbs_start_within_a_few_degrees(part: str, typical: float, most: float, seed: int) -> None:
    true = truth(seed)
    found = started(true)
    for side in ("left", "right"):
        limb = LIMBS[f"{side}_{part}"]
        bent = bend(limb, true) > 20
        apart = degrees_apart(found, true, limb.ball)[bent]
        assert apart.median() < typical and apart.max() < most
        assert degrees_apart(found, true, limb.hinge)[bent].max() < 5


def test_the_root_starts_where_it_is() -> None:
    true = truth(2)
    found = started(true)
    assert torch.allclose(found.root_rotation, true.root_rotation, atol=1e-9)
    bent = torch.stack([bend(limb, true) > 20 for limb in LIMBS.values()]).all(0)
    assert (found.root_position - true.root_position).norm(dim=-1)[bent].max() < 0.02


def test_straight_limbs_point_where_they_were_seen() -> None:
    """Nothing tells their twist; their joints are seen all the same."""
    true = truth(3, straight=True)
    found = started(true)
    points, seen = MODEL.points(found), MODEL.points(true)
    for limb in LIMBS.values():
        for one, other in ((limb.begin, limb.middle), (limb.middle, limb.end)):
            mine, theirs = (array[:, other] - array[:, one] for array in (points, seen))
            cosine = torch.nn.functional.cosine_similarity(mine, theirs, dim=-1)
            assert cosine.clamp(-1, 1).acos().rad2deg().quantile(0.9) < 8
    assert ((found.angles >= MODEL.lower) & (found.angles <= MODEL.upper)).all()


def test_a_limb_that_is_not_wholly_seen_stays_neutral_and_the_others_do_not_care() -> None:
    true = truth(4)
    weight = torch.ones(FRAMES, len(NAMES)).double()
    hidden = LIMBS["left_shoulder"]
    weight[:, hidden.end] = 0.0
    found = started(true, weight)
    hidden_angles = (MODEL.dof_joint == hidden.ball) | (MODEL.dof_joint == hidden.hinge)
    assert torch.equal(found.angles[:, hidden_angles], NEUTRAL[hidden_angles].expand(FRAMES, -1))
    assert torch.equal(found.angles[:, ~hidden_angles], started(true).angles[:, ~hidden_angles])


def test_frames_without_a_trunk_take_the_rotation_of_the_nearest_that_shows_it() -> None:
    true = truth(5)
    weight = torch.ones(FRAMES, len(NAMES)).double()
    trunk = [NAMES.index(name) for name in ("pelvis", "left_hip", "right_hip", "spine")]
    weight[50:60, trunk] = 0.0
    found = started(true, weight)
    assert torch.allclose(found.root_rotation[50:55], true.root_rotation[49].expand(5, 3, 3), atol=1e-9)
    assert torch.allclose(found.root_rotation[55:60], true.root_rotation[60].expand(5, 3, 3), atol=1e-9)


@pytest.mark.parametrize("seen", [0, 1])
def test_next_to_nothing_seen_gives_a_finite_pose(seen: int) -> None:
    weight = torch.zeros(FRAMES, len(NAMES)).double()
    weight[:, :seen] = 1.0
    found = started(truth(6), weight)
    for part in (found.root_position, found.root_rotation, found.angles):
        assert torch.isfinite(part).all()
    assert torch.allclose(torch.linalg.det(found.root_rotation), torch.ones(FRAMES).double())
