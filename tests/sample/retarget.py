# SPDX-License-Identifier: GPL-3.0-or-later
"""From a motion-capture clip to a Motion on a skeleton that has the sample body's own proportions.

1. `fit_rig` gives the default human the body's joint centres. Torso, collar bones and feet rest as the body
   stands, so that zero angles are its neutral posture; arms and legs rest as the default human's.
2. `retarget` turns each clip joint's world rotation from its T-pose into a target for our bone: the clip's
   rotation times our bone's frame in that same T-pose. All frames are then fitted at once: near the targets,
   inside the range of motion (by construction), smooth, feet held where the clip's feet stood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import roma
import torch
from body import Body
from mocap import Clip
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter1d, label
from scipy.spatial.transform import Rotation

from models.kinematic_regressor.retarget import share_bend
from video2rig.human import default_human
from video2rig.kinematics import KinematicChain
from video2rig.motion import Contact, Motion
from video2rig.skeleton import Skeleton

FORWARD, BACK, DOWN = np.array([0.0, -1, 0]), np.array([0.0, 1, 0]), np.array([0.0, 0, -1])

# our bone -> MakeHuman's bone, the clip's joint, direction that the bone's Z faces (as in video2rig/human.py)
TORSO = {
    "spine": ("Hips", "pelvis"),
    "spine.001": ("Spine", "spine"),
    "spine.002": ("Spine1", "spine"),
    "spine.003": ("Spine2", "chest"),
    "spine.004": ("Neck", "neck"),
    "spine.006": ("Head", "head"),
}
LIMBS = {
    "shoulder": ("Shoulder", "clavicle", FORWARD),
    "upper_arm": ("Arm", "upperarm", FORWARD),
    "forearm": ("ForeArm", "forearm", FORWARD),
    "hand": ("Hand", "hand", DOWN),
    "thigh": ("UpLeg", "thigh", BACK),
    "shin": ("Leg", "shank", BACK),
    "foot": ("Foot", "foot", DOWN),
    "toe": ("ToeBase", "toes", DOWN),
}
ARMS, LEGS = ("upper_arm", "forearm", "hand"), ("thigh", "shin")

# how much a bone's world rotation should follow the clip; twist of forearm and hand is the clip's weakest part
FOLLOW = {"hand": 0.2, "forearm": 0.5, "foot": 0.5, "toe": 0.05, "shoulder": 0.2}
ROOT_WEIGHT, SMOOTH_WEIGHT, PIN_WEIGHT, FLOOR_WEIGHT = 1.0, 8.0, 1e4, 3e3
ROOT_CALM = 4.0  # how much smoother than the limbs' angles the root is, per radian; 0.2 m count as a radian
STRAIGHT_KNEE = np.radians(4.0)  # what the clip's straightest knees become
CONTACT_SPEED, CONTACT_HEIGHT = 0.30, 0.05  # m/s; metres above the joint's lowest


@dataclass(frozen=True)
class Rig:
    """A skeleton of the body's proportions, and how the body carries its bones.

    body_frames [J,3,3]: world frame of each of our bones while the body is in its own rest pose.
    """

    skeleton: Skeleton
    body_frames: np.ndarray


def makehuman_bone(bone: str) -> str:
    """MakeHuman's name of one of our bones."""
    if bone in TORSO:
        return TORSO[bone][0]
    stem, side = bone.split(".")
    return {"L": "Left", "R": "Right"}[side] + LIMBS[stem][0]


def clip_joint(bone: str) -> str:
    """The clip's name of one of our bones."""
    if bone in TORSO:
        return TORSO[bone][1]
    stem, side = bone.split(".")
    return f"{side.lower()}_{LIMBS[stem][1]}"


def frame(along: np.ndarray, z_hint: np.ndarray) -> np.ndarray:
    """Bone frame [3,3]: Y along the bone, Z as near to the hint as that allows."""
    y = along / np.linalg.norm(along)
    z = z_hint - y * (y @ z_hint)
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


def fit_rig(body: Body) -> Rig:
    """Give the default human the body's joint centres and bone lengths."""
    human = default_human()
    default_frames = human.rest_matrices()[:, :3, :3]
    heads = {bone: body.heads[makehuman_bone(bone)] for bone in human.names}
    tails = {bone: body.tails[makehuman_bone(bone)] for bone in human.names}
    tails["spine"] = heads["spine.001"]

    carried = np.stack([frame(tails[bone] - heads[bone], _z_hint(bone, body)) for bone in human.names])
    rests_as_default = np.array([bone.split(".")[0] in ARMS + LEGS for bone in human.names])
    rest = np.where(rests_as_default[:, None, None], default_frames, carried)

    local, offset = rest.copy(), np.stack([heads[bone] for bone in human.names])
    for joint, parent in enumerate(human.parents):
        if parent >= 0:
            local[joint] = rest[parent].T @ rest[joint]
            offset[joint] = carried[parent].T @ (heads[human.names[joint]] - heads[human.names[parent]])
    length = np.array([np.linalg.norm(tails[bone] - heads[bone]) for bone in human.names])
    leg = length[[human.names.index("thigh.L"), human.names.index("shin.L")]].sum()
    offset[0] = [0.0, 0.0, heads["foot.L"][2] + leg]  # the rest pose stands on straight, vertical legs
    return Rig(replace(human, rest_rotation=local, offset=offset, length=length), carried)


def _z_hint(bone: str, body: Body) -> np.ndarray:
    """Where the Z of our bone faces on the body in its rest pose, whose elbows are bent and palms turned in."""
    stem, _, side = bone.partition(".")
    if bone in TORSO:
        return FORWARD
    if stem not in ARMS:
        return LIMBS[stem][2]
    long_side = {"L": "Left", "R": "Right"}[side]
    heads, tails = body.heads, body.tails
    along_upper = tails[f"{long_side}Arm"] - heads[f"{long_side}Arm"]
    along_fore = tails[f"{long_side}ForeArm"] - heads[f"{long_side}ForeArm"]
    if stem == "upper_arm":  # X is the elbow's axis
        return np.cross(np.cross(along_upper, along_fore), along_upper)
    across = heads[f"{long_side}HandPinky1"] - heads[f"{long_side}HandIndex1"]
    along_hand = tails[f"{long_side}Hand"] - heads[f"{long_side}Hand"]
    palm = np.cross(across, along_hand) * (1 if side == "L" else -1)
    return palm if stem == "hand" else np.cross(palm, along_fore)  # a forearm's X is its hand's Z


def retarget(clip: Clip, rig: Rig, iterations: int = 600) -> Motion:
    """Fit the rig's angles and root path to the whole clip.

    Returns the motion; its root is moved so that the figure's path is centred on the world's origin.
    """
    skeleton, frames = rig.skeleton, len(clip.rotations)
    chain = KinematicChain(skeleton)
    targets = _targets(clip, rig)
    weights = np.array([FOLLOW.get(bone.split(".")[0], 1.0) for bone in skeleton.names])
    path = _root_path(clip, rig, targets)
    pins = _contacts(clip, skeleton)

    lower, upper = (torch.tensor(bound) for bound in (skeleton.rom[..., 0], skeleton.rom[..., 1]))
    free = torch.tensor(skeleton.free_axes())
    free[0] = False  # the root's rotation is the target's times a small correction
    start = _start_angles(targets, skeleton)
    share = (start - lower) / (upper - lower).clamp(min=1e-9)
    logits = torch.logit(share.clamp(0.03, 0.97))[:, free].clone().requires_grad_()
    turn = torch.zeros(frames, 3, dtype=torch.float64, requires_grad=True)
    shift = torch.zeros(frames, 3, dtype=torch.float64, requires_grad=True)
    wanted, wanted_path = torch.tensor(targets), torch.tensor(path)
    root_start = chain.rest_rotation[0].T @ wanted[:, 0]
    soles, sole_points = _sole_points(rig)
    follow = torch.tensor(weights)

    def pose() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        angles = torch.zeros(frames, len(skeleton), 3, dtype=torch.float64)
        angles[:, free] = lower[free] + (upper - lower)[free] * torch.sigmoid(logits)
        local = chain.local_rotations(angles)
        root = root_start @ roma.rotvec_to_rotmat(turn)
        return torch.cat([root[:, None], local[:, 1:]], dim=1), wanted_path + shift, angles

    def loss() -> torch.Tensor:
        local, root_position, angles = pose()
        positions, rotations = chain.forward(local, root_position)
        near = (follow * (rotations - wanted).square().sum((-1, -2))).sum()
        placed = ROOT_WEIGHT * shift[:, :2].square().sum()
        curves = torch.cat([angles.flatten(1), ROOT_CALM * turn, 5 * ROOT_CALM * root_position], dim=1)
        smooth = SMOOTH_WEIGHT * curves.diff(n=2, dim=0).square().sum()
        under = positions[:, soles] + (rotations[:, soles] @ sole_points[..., None])[..., 0]
        floor = FLOOR_WEIGHT * (-under[..., 2]).clamp(min=0).square().sum()
        pinned = torch.zeros((), dtype=torch.float64)
        for joint, first, last, height in pins:
            held = positions[first:last, joint]
            level = torch.tensor(height, dtype=torch.float64).expand(len(held), 1)
            pinned = pinned + (held - torch.cat([held[:, :2].mean(0).expand(len(held), 2), level], 1)).square().sum()
        return near + placed + smooth + floor + PIN_WEIGHT * pinned

    optimizer = torch.optim.LBFGS(
        [logits, turn, shift], max_iter=iterations, history_size=30, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        local, root_position, _ = pose()
    times = np.arange(frames) / clip.fps
    centre = (root_position.amin(0) + root_position.amax(0)) / 2 * torch.tensor([1.0, 1.0, 0.0])
    return Motion(
        skeleton,
        times,
        np.roll(roma.rotmat_to_unitquat(local).numpy(), 1, axis=-1),  # roma: xyzw
        (root_position - centre).numpy(),
        np.ones((frames, len(skeleton))),
        tuple(Contact(skeleton.names[j], times[first], times[last - 1]) for j, first, last, _ in pins),
    )


def _targets(clip: Clip, rig: Rig) -> np.ndarray:
    """World rotation [T,J,3,3] that each of our bones should have."""
    skeleton = rig.skeleton
    rest = skeleton.rest_matrices()[:, :3, :3]
    targets = np.zeros((len(clip.rotations), len(skeleton), 3, 3))
    for joint, bone in enumerate(skeleton.names):
        stem, _, side = bone.partition(".")
        in_t_pose = rest[joint]
        if stem in ARMS + LEGS:
            outwards = np.array([1.0 if side == "L" else -1.0, 0, 0])
            in_t_pose = frame(outwards if stem in ARMS else DOWN, LIMBS[stem][2])
        targets[:, joint] = clip.rotations[:, clip.index(clip_joint(bone))] @ in_t_pose

    # the clip's knees never straighten, an artefact of its source: share the excess between thigh and shank
    for side in "LR":
        thigh, shin = skeleton.index(f"thigh.{side}"), skeleton.index(f"shin.{side}")
        knee = Rotation.from_matrix(targets[:, thigh].transpose(0, 2, 1) @ targets[:, shin]).as_euler("XZY")[:, 0]
        excess = max(0.0, np.percentile(knee, 5) - STRAIGHT_KNEE)
        targets[:, thigh] = targets[:, thigh] @ Rotation.from_rotvec([excess / 2, 0, 0]).as_matrix()
        targets[:, shin] = targets[:, shin] @ Rotation.from_rotvec([-excess / 2, 0, 0]).as_matrix()

    # the clip's elbows do not bend about the T-pose's axis: turn each upper arm about itself until they do
    for side in "LR":
        upper, fore = skeleton.index(f"upper_arm.{side}"), skeleton.index(f"forearm.{side}")
        x, _, z = (targets[:, upper].transpose(0, 2, 1) @ targets[:, fore])[:, :, 1].T
        twist = np.arctan2(x.sum(), z.sum())
        targets[:, upper] = targets[:, upper] @ Rotation.from_rotvec([0, twist, 0]).as_matrix()

    # the subject's head and hands are bent by a constant: take it off, relative to chest and forearms
    for bone, carrier in (("spine.006", "spine.003"), ("hand.L", "forearm.L"), ("hand.R", "forearm.R")):
        joint, base = skeleton.index(bone), skeleton.index(carrier)
        straight = targets[:, base] @ rest[base].T @ rest[joint]
        bend = Rotation.from_matrix(straight.transpose(0, 2, 1) @ targets[:, joint]).as_euler("YXZ")
        bend[:, 1] -= np.median(bend[:, 1])
        if bone != "spine.006":  # heads tilt sideways and turn as the subject likes
            bend[:, 2] -= np.median(bend[:, 2])
        targets[:, joint] = straight @ Rotation.from_euler("YXZ", bend).as_matrix()

    # where the clip has one joint, or bends one of two against the other, ours share the way alike
    share_bend(targets, skeleton, ("spine", "spine.001", "spine.002", "spine.003"))
    share_bend(targets, skeleton, ("spine.003", "spine.004", "spine.006"))
    return targets


def _root_path(clip: Clip, rig: Rig, targets: np.ndarray) -> np.ndarray:
    """Root positions [T,3]: the clip's path scaled by leg length, the lower foot near the floor."""
    skeleton = rig.skeleton
    legs = [skeleton.index(bone) for bone in ("thigh.L", "shin.L")]
    clip_leg = np.linalg.norm(clip.positions[0, clip.index("l_foot")] - clip.positions[0, clip.index("l_shank")])
    path = clip.positions[:, 0] * skeleton.length[legs].sum() / (2 * clip_leg)
    positions = _forward(skeleton, targets)
    feet = [skeleton.index(f"toe.{side}") for side in "LR"] + [skeleton.index(f"foot.{side}") for side in "LR"]
    rest = skeleton.rest_matrices()[feet, 2, 3] - skeleton.rest_matrices()[feet, 2, 3].min()
    lowest = (positions[:, feet, 2] - rest).min(1)
    drop = path[:, 2] + lowest
    path[:, 2] -= np.percentile(drop, 10) - _rest_height(rig, "toe.L")
    path[:, :2] -= path[:, :2].mean(0)
    return gaussian_filter1d(path, 1.0, axis=0)


def _forward(skeleton: Skeleton, rotations: np.ndarray) -> np.ndarray:
    """Joint positions [T,J,3] for world rotations [T,J,3,3], root at the origin."""
    positions = np.zeros(rotations.shape[:3])
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            positions[:, joint] = positions[:, parent] + rotations[:, parent] @ skeleton.offset[joint]
    return positions


def _rest_height(rig: Rig, bone: str) -> float:
    return float(rig.skeleton.rest_matrices()[rig.skeleton.index(bone), 2, 3])


def _start_angles(targets: np.ndarray, skeleton: Skeleton) -> torch.Tensor:
    """Euler angles [T,J,3] of the targets' local rotations, clipped into the range of motion."""
    angles = np.zeros((*targets.shape[:2], 3))
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        local = (targets[:, parent] @ skeleton.rest_rotation[joint]).transpose(0, 2, 1) @ targets[:, joint]
        order = skeleton.euler_order[joint][::-1]  # scipy names intrinsic rotations outermost first
        found = Rotation.from_matrix(local).as_euler(order)
        angles[:, joint, ["XYZ".index(axis) for axis in order]] = found
    return torch.tensor(np.clip(angles, skeleton.rom[..., 0], skeleton.rom[..., 1]))


def _contacts(clip: Clip, skeleton: Skeleton) -> list[tuple[int, int, int, float]]:
    """When the clip's feet stand still: our joint, first frame, frame after the last, height of the joint, metres."""
    found = []
    for side in "LR":
        for bone in ("foot", "toe"):
            joint = skeleton.index(f"{bone}.{side}")
            track = clip.positions[:, clip.index(clip_joint(f"{bone}.{side}"))]
            speed = np.linalg.norm(np.gradient(gaussian_filter1d(track, 1.0, axis=0), axis=0), axis=1) * clip.fps
            low = track[:, 2] < np.percentile(track[:, 2], 2) + CONTACT_HEIGHT
            still = (speed < CONTACT_SPEED) & low
            still = binary_opening(np.pad(binary_closing(np.pad(still, 4, "edge"), np.ones(4)), 4, "edge"), np.ones(5))
            runs, count = label(still[8:-8])
            height = float(skeleton.rest_matrices()[joint, 2, 3])
            for run in range(1, count + 1):
                inside = np.flatnonzero(runs == run)[2:-2]  # a foot needs frames to settle and to leave
                if len(inside) > 2:
                    found.append((joint, int(inside[0]), int(inside[-1]) + 1, height))
    return found


def _sole_points(rig: Rig) -> tuple[list[int], torch.Tensor]:
    """Heels, balls and toe tips, which must not sink: the joints that carry them, and points in those bones' frames."""
    skeleton = rig.skeleton
    rest = skeleton.rest_matrices()
    joints, points = [], []
    for side in "LR":
        foot, toe = skeleton.index(f"foot.{side}"), skeleton.index(f"toe.{side}")
        heel = np.array([rest[foot, 0, 3], rest[foot, 1, 3] + 0.05, 0.0])
        tip = np.array([rest[toe, 0, 3], rest[toe, 1, 3] - 1.3 * skeleton.length[toe], 0.0])
        ball = rest[toe, :3, 3] * [1, 1, 0]
        for joint, point in ((foot, heel), (foot, ball), (toe, tip)):
            joints.append(joint)
            points.append(rest[joint, :3, :3].T @ (point - rest[joint, :3, 3]))
    return joints, torch.tensor(np.array(points))
