# SPDX-License-Identifier: GPL-3.0-or-later
"""BVH: places and turns come back, here and in Blender's own importer; what is no such file is refused by line."""

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from scipy.spatial.transform import Rotation

from strategies import random_motion, seeds, skeletons
from video2rig.formats.bvh import write_bvh
from video2rig.formats.bvh_reader import read_bvh
from video2rig.formats.text import FormatError
from video2rig.kinematics import joint_positions
from video2rig.motion import Motion
from video2rig.skeleton import Skeleton


def evenly(motion: Motion, rate: float = 25.0) -> Motion:
    return dataclasses.replace(motion, times=np.arange(len(motion)) / rate, contacts=())


def turns_from_rest(motion: Motion) -> np.ndarray:
    """[T, J, 3, 3] in the world; bone rolls do not matter to it."""
    return joint_positions(motion)[1] @ motion.skeleton.rest_matrices()[:, :3, :3].transpose(0, 2, 1)


def degrees_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    difference = (a.swapaxes(-1, -2) @ b).reshape(-1, 3, 3)
    return np.degrees(Rotation.from_matrix(difference).magnitude())


def in_order(motion: Motion, names: tuple[str, ...]) -> list[int]:
    return [motion.skeleton.names.index(name) for name in names]


@given(seeds)
def test_the_human_comes_back(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    motion = evenly(random_motion(np.random.default_rng(seed), 4))
    path = tmp_path_factory.mktemp("bvh") / "take.bvh"
    write_bvh(motion, path)
    again = read_bvh(path)
    order = in_order(again, motion.skeleton.names)
    assert np.allclose(again.times, motion.times, atol=1e-9)
    assert np.abs(joint_positions(again)[0][:, order] - joint_positions(motion)[0]).max() < 1e-6
    assert degrees_between(turns_from_rest(again)[:, order], turns_from_rest(motion)).max() < 1e-4
    ends = [np.allclose(again.skeleton.length[order[j]], motion.skeleton.length[j], atol=1e-6) for j in (5, 9, 13)]
    assert all(ends), "bones without children keep their length"


@given(skeletons(), seeds)
def test_any_skeleton_comes_back(tmp_path_factory: pytest.TempPathFactory, skeleton: Skeleton, seed: int) -> None:
    motion = evenly(random_motion(np.random.default_rng(seed), 3, skeleton))
    path = tmp_path_factory.mktemp("bvh") / "take.bvh"
    write_bvh(motion, path)
    again = read_bvh(path)
    order = in_order(again, skeleton.names)
    assert np.abs(joint_positions(again)[0][:, order] - joint_positions(motion)[0]).max() < 1e-6
    assert degrees_between(turns_from_rest(again)[:, order], turns_from_rest(motion)).max() < 1e-4
    # what was read is written and read again
    write_bvh(again, path)
    assert np.allclose(joint_positions(read_bvh(path))[0], joint_positions(again)[0], atol=1e-6)


def test_uneven_frames_are_resampled_at_the_median_interval(tmp_path: Path) -> None:
    skeleton = random_motion(np.random.default_rng(0), 2).skeleton
    times = np.array([0.0, 0.04, 0.08, 0.16, 0.2])
    rotations = np.tile(np.array([1.0, 0, 0, 0]), (5, len(skeleton), 1))
    rotations[:, skeleton.index("left_elbow")] = Rotation.from_euler("x", 500 * times[:, None], degrees=True).as_quat(
        scalar_first=True
    )
    root = times[:, None] * [1.0, 2.0, 3.0]
    write_bvh(Motion(skeleton, times + 7, rotations, root, np.ones((5, len(skeleton)))), tmp_path / "a.bvh")
    again = read_bvh(tmp_path / "a.bvh")
    assert np.allclose(again.times, np.arange(6) * 0.04)
    assert np.allclose(again.root_position, again.times[:, None] * [1.0, 2.0, 3.0], atol=1e-7)
    elbow = in_order(again, ("forearm.L",))[0]
    turn = Rotation.from_quat(again.rotations[:, elbow], scalar_first=True).magnitude()
    assert np.allclose(np.degrees(turn), 500 * again.times, atol=1e-5)


def test_channels_do_not_jump_where_x_passes_90_degrees(tmp_path: Path) -> None:
    motion = evenly(random_motion(np.random.default_rng(0), 35))
    hip = motion.skeleton.index("left_hip")
    rotations = np.tile(np.array([1.0, 0, 0, 0]), (35, len(motion.skeleton), 1))
    turn = np.arange(35) * -5.0
    rotations[:, hip] = Rotation.from_euler("x", turn[:, None], degrees=True).as_quat(scalar_first=True)
    write_bvh(dataclasses.replace(motion, rotations=rotations), tmp_path / "a.bvh")
    text = (tmp_path / "a.bvh").read_text()
    rows = np.array([line.split() for line in text.split("Frame Time:")[1].splitlines()[1:]], dtype=float)[:, 3:]
    assert np.abs(np.diff(rows, axis=0)).max() == pytest.approx(5.0, abs=1e-5)


def test_one_frame_is_written(tmp_path: Path) -> None:
    write_bvh(random_motion(np.random.default_rng(0), 1), tmp_path / "a.bvh")
    assert len(read_bvh(tmp_path / "a.bvh")) == 1


def test_the_file_faces_its_z_and_counts_metres(tmp_path: Path) -> None:
    motion = evenly(random_motion(np.random.default_rng(0), 2))
    write_bvh(motion, tmp_path / "a.bvh")
    lines = [line.split() for line in (tmp_path / "a.bvh").read_text().splitlines()]
    assert lines[:2] == [["HIERARCHY"], ["ROOT", "spine"]]
    position, rotation = ([f"{axis}position" for axis in "XYZ"], [f"{axis}rotation" for axis in "ZXY"])
    assert lines[4] == ["CHANNELS", "6", *position, *rotation]

    def offset(name: str) -> list[float]:
        at = next(index for index, line in enumerate(lines) if line[-1] == name)
        return [float(number) for number in lines[at + 2][1:]]

    assert offset("thigh.L") == pytest.approx([0.0875, 0, 0], abs=1e-6), "left is +X"
    assert offset("shin.L") == pytest.approx([0, -0.245 * 1.75, 0], abs=1e-6), "Y is up"
    assert offset("toe.L") == pytest.approx([0, -0.027 * 1.75, 0.074 * 1.75], abs=1e-6), "toes point to +Z"


BLENDER = """
import os, sys
import bpy, numpy as np
path, out = sys.argv[1:]
bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
bpy.ops.import_anim.bvh(filepath=path)
rig = bpy.context.object
first, last = (int(round(frame)) for frame in rig.animation_data.action.frame_range)
names = [bone.name for bone in rig.pose.bones]
rest = np.array([rig.matrix_world @ bone.bone.matrix_local for bone in rig.pose.bones])[:, :3, :3]
heads, turns = [], []
for frame in range(first, last + 1):
    bpy.context.scene.frame_set(frame)
    world = np.array([rig.matrix_world @ bone.matrix for bone in rig.pose.bones])
    heads.append(world[:, :3, 3])
    turns.append(world[:, :3, :3] @ rest.transpose(0, 2, 1))
np.savez(out, names=names, heads=heads, turns=turns)
sys.stdout.flush()
os._exit(0)  # the module may hang at a normal exit
"""


def test_blenders_own_importer_reads_the_same_motion(tmp_path: Path) -> None:
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("needs the bpy module")
    motion = evenly(random_motion(np.random.default_rng(3), 8), 24.0)
    write_bvh(motion, tmp_path / "take.bvh")
    command = [sys.executable, "-c", BLENDER, str(tmp_path / "take.bvh"), str(tmp_path / "seen.npz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = np.load(tmp_path / "seen.npz", allow_pickle=False)
    order = [seen["names"].tolist().index(name) for name in motion.skeleton.names]
    assert seen["heads"].shape[0] == len(motion)
    assert np.abs(seen["heads"][:, order] - joint_positions(motion)[0]).max() < 1e-5
    assert degrees_between(seen["turns"][:, order].astype(float), turns_from_rest(motion)).max() < 0.05


GOOD = """HIERARCHY
ROOT hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT knee
  {
    OFFSET 0 -1 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.1
0 1 0 0 0 0 0 0 0
0 1 0 0 0 0 0 90 0
"""


def test_a_file_of_another_make(tmp_path: Path) -> None:
    (tmp_path / "a.bvh").write_text(GOOD)
    motion = read_bvh(tmp_path / "a.bvh")
    positions, _ = joint_positions(motion)
    assert motion.skeleton.names == ("hips", "knee") and np.allclose(motion.times, [0, 0.1])
    assert np.allclose(positions[:, 1], [[0, 0, 0], [0, 0, 0]], atol=1e-12)
    # the shin swings about the file's X by 90 degrees: its end, down before, points to the file's -Z, our +Y
    shin = joint_positions(motion)[1][1, 1, :, 1]
    assert np.allclose(shin, [0, 1, 0], atol=1e-9)


@pytest.mark.parametrize("order", ["XYZ", "ZYX", "YXZ"])
def test_channels_turn_in_the_order_in_which_they_stand(order: str, tmp_path: Path) -> None:
    channels = " ".join(f"{axis}rotation" for axis in order)
    text = GOOD.replace("CHANNELS 3 Zrotation Xrotation Yrotation", f"CHANNELS 3 {channels}")
    (tmp_path / "a.bvh").write_text(text.replace("0 90 0\n", "20 -30 50\n"))
    file_to_world = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    expected = file_to_world @ Rotation.from_euler(order, [20, -30, 50], degrees=True).as_matrix() @ file_to_world.T
    assert np.allclose(turns_from_rest(read_bvh(tmp_path / "a.bvh"))[1, 1], expected)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "", "line 1: the end of the file, expected HIERARCHY"),
        ("HIERARCHY", "MOTION", "line 1: 'MOTION', expected HIERARCHY"),
        ("ROOT hips", "JOINT hips", "line 2: 'JOINT hips', expected ROOT"),
        ("ROOT hips\n{", "ROOT hips", "line 3: 'OFFSET 0 0 0', expected {"),
        ("OFFSET 0 -1 0", "OFFSET 0 -1", "line 8: OFFSET 0 -1, expected OFFSET and three"),
        ("OFFSET 0 -1 0", "OFFSET 0 -1 x", "line 8: 'x', expected a number"),
        ("CHANNELS 3", "CHANNELS 4", "line 9: 'CHANNELS 4 .* expected CHANNELS, their number"),
        ("3 Zrotation", "3 Wrotation", "line 9: 'CHANNELS 3 W"),
        ("    End Site\n    {\n      OFFSET 0 -1 0\n    }\n", "", "line 10: the end of knee, expected JOINT or End"),
        ("knee", "hips", "line 16: two joints of one name"),
        ("Frames: 2", "Frames: many", "line 17: 'many', expected a number of frames"),
        ("Frames: 2", "Rows: 2", "line 17: 'Rows: 2', expected `Frames:`"),
        ("Frame Time: 0.1", "Frame Time: 0", "line 18: 0, expected a frame time above 0"),
        ("Frames: 2", "Frames: 3", "line 20: the end after 2 frames, expected 3"),
        ("0 90 0\n", "0 90\n", "line 20: 8 numbers, expected 9"),
        ("0 90 0\n", "0 x 0\n", "line 20: 'x', expected a number"),
        ("0 90 0\n", "0 nan 0\n", "line 20: a number that is not finite"),
        ("}\nMOTION", "MOTION", "line 15: 'MOTION', expected OFFSET"),
        ("MOTION\nFrames: 2\n", "", "line 16: 'Frame Time: 0.1', expected MOTION"),
    ],
)
def test_what_is_no_bvh_is_refused_by_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in GOOD
    (tmp_path / "bad.bvh").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(FormatError, match=message):
        read_bvh(tmp_path / "bad.bvh")


def test_joints_that_slide_are_refused(tmp_path: Path) -> None:
    text = GOOD.replace("CHANNELS 3 Z", "CHANNELS 4 Yposition Z").replace("0 0 0\n0 1", "-1 0 0 0\n0 1")
    (tmp_path / "still.bvh").write_text(text.replace("0 90 0\n", "-1 0 90 0\n"))
    assert len(read_bvh(tmp_path / "still.bvh")) == 2
    (tmp_path / "slides.bvh").write_text(text.replace("0 90 0\n", "-0.5 0 90 0\n"))
    with pytest.raises(FormatError, match=r"line 20: knee moved to -0\.5, expected its offset -1"):
        read_bvh(tmp_path / "slides.bvh")


def test_names_that_only_blanks_tell_apart_are_refused(tmp_path: Path) -> None:
    motion = random_motion(np.random.default_rng(0), 2)
    names = ("a b", "a_b", *motion.skeleton.names[2:])
    skeleton = dataclasses.replace(motion.skeleton, names=names)
    with pytest.raises(FormatError, match="differ"):
        write_bvh(dataclasses.replace(motion, skeleton=skeleton, contacts=()), tmp_path / "a.bvh")
