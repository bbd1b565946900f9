# SPDX-License-Identifier: GPL-3.0-or-later
"""Score the image regressor on the subjects that it was not trained on, as the paper's Table 1 does.

    python -m models.image_regressor.evaluate people.npz [--input build/image_regressor] [--per-action]

The rivals: the mean pose of the training subjects, direct joints, ModelFit (the kinematic model fitted to direct joints
afterwards), direct parameters, and the kinematic layer. The size of the people is not told.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.image_regressor.body import UPRIGHT, bone_lengths, kinematic_layer
from models.image_regressor.fit import fit
from models.image_regressor.network import HEADS, ImageRegressor
from models.image_regressor.people import People, PeopleError, load_people
from models.image_regressor.train import OUTPUT, Settings, checkpoint_path
from models.kinematic_regressor.metrics import aligned_errors, joint_errors
from video2rig.errors import Video2RigError
from video2rig.skeleton import Skeleton

_AT_ONCE = 64


@dataclass(frozen=True)
class Scores:
    """Millimetres over a set of pictures.

    Attributes:
        mpjpe: Mean distance of the 16 other joints, pelvis on pelvis; mpjpe_worst: of the worst picture.
        pa_mpjpe: The same after the similarity that fits best, picture by picture.
        bone_deviation: Standard deviation of a bone's length over the pictures, mean over the bones;
            bone_deviation_worst: of the worst bone.
    """

    mpjpe: float
    mpjpe_worst: float
    pa_mpjpe: float
    bone_deviation: float
    bone_deviation_worst: float


def score(found: np.ndarray, truth: np.ndarray) -> Scores:
    """Score joints [N, 17, 3] against the truth, metres."""
    each = joint_errors(found, truth).mean(axis=1)
    deviation = bone_lengths(found).std(axis=0)
    metres = each.mean(), each.max(), aligned_errors(found, truth).mean(), deviation.mean(), deviation.max()
    return Scores(*(1e3 * float(value) for value in metres))


@torch.no_grad()
def predict(network: ImageRegressor, images: np.ndarray) -> Tensor:
    """Return the joints [N, 17, 3], upright axes, metres, in pictures [N, S, S, 3] uint8."""
    network.eval()
    return torch.cat([network(some) for some in torch.from_numpy(images).split(_AT_ONCE)])


def poses(path: Path, folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray, People]:
    """Return the joints [N, 17, 3] that each rival finds in the held out pictures, the truth, and the pictures.

    Raises:
        PeopleError: The file cannot be used, holds no held out subject, or the folder holds no network.
    """
    found: dict[str, np.ndarray] = {}
    truth, people = np.zeros(0), None
    for head in HEADS:
        if not (at := checkpoint_path(folder, head)).exists():
            continue
        checkpoint = torch.load(at, map_location="cpu", weights_only=True)
        settings, state = Settings(**checkpoint["settings"]), checkpoint["state"]
        if state["epoch"] < settings.epochs:
            print(f"{head} is unfinished: {state['epoch']} of {settings.epochs} epochs")
        skeleton = Skeleton.from_json(state["skeleton"])
        people = load_people(path, settings.size).of(settings.held_out)
        if len(people) == 0:
            raise PeopleError(f"{path}: none of the held out subjects {sorted(settings.held_out)} is in it")
        truth = people.joints @ UPRIGHT.T
        network = ImageRegressor(kinematic_layer(skeleton), head, settings.backbone)
        network.load_state_dict(checkpoint["network"])
        found.setdefault("mean_pose", network.joint_mean.expand(len(people), -1, -1).numpy())
        joints = predict(network, people.images)
        found[head] = joints.numpy()
        if head == "direct_joint":
            found["model_fit"] = network.layer(fit(network.layer, joints)).numpy()
    if people is None:
        raise PeopleError(f"{folder} holds no network; python -m models.image_regressor.train makes them")
    return found, truth, people


def main() -> int:
    """Print the table, and write it if that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, metavar="NPZ")
    parser.add_argument("--input", type=Path, default=OUTPUT, metavar="FOLDER")
    parser.add_argument("--per-action", action="store_true", help="MPJPE by action as well")
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args()
    try:
        found, truth, people = poses(options.people, options.input)
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    rows = {rival: score(joints, truth) for rival, joints in found.items()}
    print(f"{len(people)} pictures of subjects {', '.join(map(str, np.unique(people.subject)))}; millimetres")
    print(f"{'':<18}{'MPJPE':>8}{'worst':>8}{'PA':>8}{'bones':>8}{'worst':>8}")
    for rival, row in rows.items():
        print(f"{rival:<18}" + "".join(f"{value:8.1f}" for value in asdict(row).values()))
    if options.per_action:
        for action in np.unique(people.action):
            at = people.action == action
            values = (f"{rival} {score(joints[at], truth[at]).mpjpe:.1f}" for rival, joints in found.items())
            print(f"{action}: {', '.join(values)}")
    if options.output is not None:
        options.output.write_text(json.dumps({rival: asdict(row) for rival, row in rows.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
