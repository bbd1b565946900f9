# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from strategies import random_motion, seeds, skeletons
from video2rig.kinematics import KinematicChain, joint_positions, keypoint_positions
from video2rig.skeleton import Skeleton


def random_pose(skeleton: Skeleton, seed: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.uniform(-3, 3, (*shape, len(skeleton), 3))), torch.tensor(rng.normal(size=(*shape, 3)))


def naive_forward(skeleton: Skeleton, angles: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One frame, with 4x4 matrices and scipy's Euler angles."""
    world = np.zeros((len(skeleton), 4, 4))
    for joint, (parent, order) in enumerate(zip(skeleton.parents, skeleton.euler_order, strict=True)):
        local = np.eye(4)
        turn = Rotation.from_euler(order.lower(), angles[joint, ["XYZ".index(axis) for axis in order]])
        local[:3, :3] = skeleton.rest_rotation[joint] @ turn.as_matrix()
        local[:3, 3] = skeleton.offset[joint] if parent >= 0 else root
        world[joint] = local if parent < 0 else world[parent] @ local
    return world[:, :3, 3], world[:, :3, :3]


@given(skeletons(), seeds, st.sampled_from([(), (3,), (2, 1), (0,)]))
def test_forward_kinematics_equals_its_naive_twin_for_any_leading_dimensions(
    skeleton: Skeleton, seed: int, shape: tuple[int, ...]
) -> None:
    angles, root = random_pose(skeleton, seed, shape)
    chain = KinematicChain(skeleton)
    positions, rotations = chain.forward(chain.local_rotations(angles), root)
    assert positions.shape == (*shape, len(skeleton), 3)
    for index in np.ndindex(shape):
        expected = naive_forward(skeleton, angles[index].numpy(), root[index].numpy())
        assert np.allclose(positions[index], expected[0]) and np.allclose(rotations[index], expected[1])


@given(skeletons(), seeds)
def test_rotation_axes_are_the_derivatives_of_the_local_rotations(skeleton: Skeleton, seed: int) -> None:
    angles, _ = random_pose(skeleton, seed, ())
    chain = KinematicChain(skeleton)
    axes = chain.rotation_axes(angles)
    step = 1e-6
    for axis in range(3):
        shift = torch.zeros_like(angles)
        shift[:, axis] = step
        change = chain.local_rotations(angles + shift) @ chain.local_rotations(angles - shift).transpose(-1, -2)
        turned = Rotation.from_matrix(change.numpy()).as_rotvec() / (2 * step)
        assert np.allclose(turned, axes[:, axis], atol=1e-5)


@given(skeletons(max_joints=5), seeds)
def test_gradients_through_the_layer_are_right(skeleton: Skeleton, seed: int) -> None:
    angles, root = random_pose(skeleton, seed, (2,))
    chain = KinematicChain(skeleton)

    def positions(angles: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
        return chain.forward(chain.local_rotations(angles), root)[0]

    assert torch.autograd.gradcheck(positions, (angles.requires_grad_(), root.requires_grad_()))


@given(skeletons())
def test_the_rest_pose_is_the_skeletons_own(skeleton: Skeleton) -> None:
    chain = KinematicChain(skeleton, dtype=torch.float32)
    rest = skeleton.rest_matrices()
    still = chain.local_rotations(torch.zeros(len(skeleton), 3))
    positions, rotations = chain.forward(still, torch.tensor(rest[0, :3, 3], dtype=torch.float32))
    assert np.allclose(positions, rest[:, :3, 3], atol=1e-5) and np.allclose(rotations, rest[:, :3, :3], atol=1e-5)


def test_a_motions_joints_and_keypoints_agree() -> None:
    motion = random_motion(np.random.default_rng(1))
    positions, rotations = joint_positions(motion)
    knees = keypoint_positions(motion, ("left_knee", "right_knee"))
    assert np.allclose(knees[:, 0], positions[:, motion.skeleton.index("left_knee")])
    assert np.allclose(positions[:, 0], motion.root_position)
    assert np.allclose(np.linalg.det(rotations), 1)
