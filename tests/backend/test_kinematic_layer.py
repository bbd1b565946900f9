# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from strategies import planar_skeletons, seeds, skeletons
from video2rig.keypoints import KEYPOINT_SETS, sites
from video2rig.kinematic_layer import KinematicLayer, KinematicLayerError
from video2rig.paper_human import paper_human, paper_sites
from video2rig.skeleton import Skeleton

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
shapes = st.sampled_from([(), (3,), (2, 1), (0,)])
# every angle, and where derivatives could fail: none at all, half and quarter turns, gimbal lock of every order
turns = st.sampled_from([0.0, 1e-9, np.pi / 2, -np.pi / 2, np.pi, 1.0])


def random_parameters(layer: KinematicLayer, seed: int, shape: tuple[int, ...], turn: float = 1.0) -> torch.Tensor:
    """Positions and angles [..., P]: any angles where the turn is 1, that angle everywhere where it is another."""
    drawn = np.random.default_rng(seed).uniform(-3, 3, (*shape, len(layer.parameter_names)))
    if turn != 1.0:
        drawn[..., ["rotation" in name for name in layer.parameter_names]] = turn
    return torch.tensor(drawn, dtype=layer.chain.offset.dtype)


def by_matrices(layer: KinematicLayer, parameters: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """Eq. 2 as it is written, for one frame: 4x4 matrices from the root to each joint, [J, D]."""
    skeleton = layer.chain.skeleton
    value = dict(zip(layer.parameter_names, parameters, strict=True))
    world: list[np.ndarray] = []
    for joint, name in enumerate(skeleton.names):
        matrix = np.eye(4)
        matrix[:3, :3] = skeleton.rest_rotation[joint]
        matrix[:3, 3] = scale * skeleton.offset[joint]
        if joint == 0:
            matrix[:3, 3] = [value.get(f"{name} location {axis}", 0.0) for axis in "xyz"]
        for axis in reversed(skeleton.euler_order[joint].lower()):
            turn = np.eye(4)
            turn[:3, :3] = Rotation.from_euler(axis, value.get(f"{name} rotation {axis}", 0.0)).as_matrix()
            matrix = matrix @ turn
        world.append(matrix if joint == 0 else world[skeleton.parents[joint]] @ matrix)
    return np.array(world)[:, : layer.dimensions, 3]


@given(skeletons(), seeds, shapes, st.booleans(), st.booleans())
def test_it_is_equation_2_for_any_skeleton(
    skeleton: Skeleton, seed: int, shape: tuple[int, ...], moves: bool, turns: bool
) -> None:
    layer = KinematicLayer(skeleton, root_position=moves, root_orientation=turns, dtype=torch.float64)
    free = skeleton.free_axes()[1:].sum()
    assert len(layer.parameter_names) == len(set(layer.parameter_names)) == free + 3 * moves + 3 * turns
    parameters = random_parameters(layer, seed, shape)
    positions = layer(parameters)
    assert positions.shape == (*shape, len(skeleton), 3)
    for index in np.ndindex(shape):
        assert np.allclose(positions[index], by_matrices(layer, parameters[index].numpy()))


@given(planar_skeletons(), seeds, shapes)
def test_a_planar_skeleton_gives_two_coordinates(skeleton: Skeleton, seed: int, shape: tuple[int, ...]) -> None:
    layer = KinematicLayer(skeleton, dimensions=2, dtype=torch.float64)
    assert len(layer.parameter_names) == 3 + skeleton.free_axes()[1:].sum()
    parameters = random_parameters(layer, seed, shape)
    positions = layer(parameters)
    assert positions.shape == (*shape, len(skeleton), 2)
    for index in np.ndindex(shape):
        assert np.allclose(positions[index], by_matrices(layer, parameters[index].numpy()))


@given(skeletons(max_joints=5), seeds, st.sampled_from([(), (2,)]), turns)
def test_its_gradients_are_right_at_singular_angles_too(
    skeleton: Skeleton, seed: int, shape: tuple[int, ...], turn: float
) -> None:
    layer = KinematicLayer(skeleton, dtype=torch.float64)
    parameters = random_parameters(layer, seed, shape, turn).requires_grad_()
    scale = torch.rand(shape, dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(layer, (parameters, scale.requires_grad_()))


@given(planar_skeletons(max_joints=5), seeds, turns)
def test_its_gradients_are_right_in_the_plane(skeleton: Skeleton, seed: int, turn: float) -> None:
    layer = KinematicLayer(skeleton, dimensions=2, root_orientation=False, dtype=torch.float64)
    assert torch.autograd.gradcheck(layer, random_parameters(layer, seed, (2,), turn).requires_grad_())


@given(skeletons(), seeds)
def test_bones_keep_their_lengths_whatever_the_parameters(skeleton: Skeleton, seed: int) -> None:
    layer = KinematicLayer(skeleton)
    scale = torch.linspace(0.5, 2, 4)
    positions = layer(random_parameters(layer, seed, (4,)), scale)
    child, parent = np.arange(1, len(skeleton)), np.array(skeleton.parents[1:], dtype=int)
    lengths = (positions[:, child] - positions[:, parent]).norm(dim=-1)
    expected = np.linalg.norm(skeleton.offset[1:], axis=-1) * scale.numpy()[:, None]
    assert np.allclose(lengths, expected, atol=1e-5)


@given(skeletons(), seeds)
def test_single_precision_agrees_with_double(skeleton: Skeleton, seed: int) -> None:
    single, double = KinematicLayer(skeleton), KinematicLayer(skeleton, dtype=torch.float64)
    parameters = random_parameters(single, seed, (5,))
    positions = single(parameters)
    assert positions.dtype == torch.float32
    assert np.allclose(positions, double(parameters.double()), atol=2e-5)


@needs_cuda
@given(skeletons(), seeds)
def test_a_gpu_gives_the_same_positions_and_gradients(skeleton: Skeleton, seed: int) -> None:
    here = KinematicLayer(skeleton, dtype=torch.float64)
    parameters = random_parameters(here, seed, (5,))
    moved, made = KinematicLayer(skeleton, dtype=torch.float64).cuda(), KinematicLayer(skeleton, device="cuda").double()
    expected = torch.autograd.functional.jacobian(lambda x: here(x).sum(dim=0), parameters)
    for there, accuracy in ((moved, 1e-12), (made, 1e-5)):
        assert torch.allclose(there(parameters.cuda()).cpu(), here(parameters), atol=accuracy)
        found = torch.autograd.functional.jacobian(lambda x, layer=there: layer(x).sum(dim=0), parameters.cuda())
        assert torch.allclose(found.cpu(), expected, atol=accuracy)


@given(seeds)
def test_the_papers_human_has_27_parameters_for_its_17_points(seed: int) -> None:
    human = paper_human()
    layer = KinematicLayer(human, paper_sites(human), dtype=torch.float64)
    assert len(layer.parameter_names) == 27
    positions = layer(random_parameters(layer, seed, (4,)))
    names = KEYPOINT_SETS["h36m_17"]
    assert positions.shape == (4, len(names), 3)
    neck, pelvis = positions[:, names.index("neck")], positions[:, names.index("pelvis")]
    assert torch.allclose(positions[:, names.index("spine")], (neck + pelvis) / 2)


@given(seeds)
def test_points_ride_on_their_bones_and_scale_with_them(seed: int) -> None:
    human = paper_human()
    joints, offsets = sites(human, ("nose", "left_index", "right_wrist"))
    layer = KinematicLayer(human, (joints, offsets), dtype=torch.float64)
    bare = KinematicLayer(human, dtype=torch.float64)
    parameters, scale = random_parameters(layer, seed, (3,)), torch.tensor([0.5, 1.0, 1.7], dtype=torch.float64)
    away = (layer(parameters, scale) - bare(parameters, scale)[:, joints]).norm(dim=-1)
    assert np.allclose(away, np.linalg.norm(offsets, axis=-1) * scale.numpy()[:, None])


def test_it_has_nothing_to_learn_and_nothing_to_store() -> None:
    layer = KinematicLayer(paper_human())
    assert not list(layer.parameters())
    assert not layer.state_dict()


@pytest.mark.parametrize("dimensions", [1, 4])
def test_other_dimensions_are_refused(dimensions: int) -> None:
    with pytest.raises(KinematicLayerError, match="2 or 3"):
        KinematicLayer(paper_human(), dimensions=dimensions)


@given(planar_skeletons(max_joints=3).filter(lambda skeleton: len(skeleton) > 1))
def test_what_leaves_the_plane_is_refused_by_name(skeleton: Skeleton) -> None:
    last = len(skeleton) - 1
    tilted, loose = skeleton.rest_rotation.copy(), skeleton.rom.copy()
    tilted[last] = Rotation.from_euler("x", 0.1).as_matrix()
    loose[last, 1] = -0.1, 0.1
    with pytest.raises(KinematicLayerError, match=rf"'bone\.{last}' rests tilted"):
        KinematicLayer(replace(skeleton, rest_rotation=tilted), dimensions=2)
    with pytest.raises(KinematicLayerError, match=rf"'bone\.{last}' turns out of the x-y plane"):
        KinematicLayer(replace(skeleton, rom=loose), dimensions=2)


def test_parameters_of_another_skeleton_are_refused() -> None:
    layer = KinematicLayer(paper_human())
    with pytest.raises(KinematicLayerError, match=r"must be 27: spine location x, .*forearm\.R rotation x"):
        layer(torch.zeros(2, 26))
