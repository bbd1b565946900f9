# SPDX-License-Identifier: GPL-3.0-or-later
"""Training batches: composed motions of random bodies, filmed by random cameras, seen by a faulty detector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from video2rig.human import DEFAULT_HEIGHT
from video2rig.keypoints import sites
from video2rig.kinematics import KinematicChain
from video2rig.regression.features import features
from video2rig.regression.points import POINTS
from video2rig.regression.proportions import SEGMENTS, bone_segments, offset_segments, stretched

from .cameras import Range, film
from .chance import Random
from .compose import Composer
from .detector_errors import DetectorErrors, facing
from .errors import detected
from .measured import Measured
from .mocap import Clips

_SPREAD = 0.43  # metres, root mean square distance of a body's points from its middle
_STATURE, _SEGMENT = 0.06, 0.06  # standard deviations of the logarithms
_SITE = 0.012  # metres, in 3 axes: where on a body a detector's point lies
_BODY_KNOWN, _FOCAL_RIGHT, _FOCAL_NEAR = 0.5, 0.4, 0.25  # shares of windows; in the rest the focal length is guessed


@dataclass(frozen=True)
class Batch:
    """Windows of frames, as the network reads them and as it should answer.

    Attributes:
        features: [B, T, F]. rotation: [B, T, J, 3, 3] true local rotations, in the camera turned to the torso.
        turned: [B, T, J, 3, 3] true rotations from the bones' axes to that camera's.
        joints: [B, T, J, 3] true joints and points: [B, T, P, 3], metres from the root, in the same camera.
        offset: [B, 1, J, 3] of the joints, site_offset: [B, 1, P, 3] of the points, metres: the body.
        trust: [B, T, J] weight of the rotations.
    """

    features: Tensor
    rotation: Tensor
    turned: Tensor
    joints: Tensor
    points: Tensor
    offset: Tensor
    site_offset: Tensor
    trust: Tensor


class Bodies:
    """The default human with other proportions, and where the points lie on it."""

    def __init__(self, clips: Clips, device: torch.device | str) -> None:
        skeleton = clips.skeleton
        self.chain = KinematicChain(skeleton, torch.float32, device)
        site_joint, site_offset = sites(skeleton, POINTS)
        self._site_joint = torch.tensor(site_joint, device=device)
        self._sites = torch.tensor(site_offset, dtype=torch.float32, device=device)
        self._offset_segments = offset_segments(skeleton)
        self._site_segments = bone_segments(skeleton)[site_joint]

    def offsets(self, proportions: Tensor) -> tuple[Tensor, Tensor]:
        """Return offsets of the joints [B, 1, J, 3] and of the points [B, 1, P, 3] for proportions [B, 10]."""
        joints = stretched(self.chain.offset, self._offset_segments, proportions)
        return joints[:, None], stretched(self._sites, self._site_segments, proportions)[:, None]

    def places(self, rotation: Tensor, offset: Tensor, site_offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return joints [..., J, 3] and points [..., P, 3] from the root, and global rotations [..., J, 3, 3]."""
        root = torch.zeros_like(rotation[..., 0, :, 0])
        joints, turned = self.chain.forward(rotation, root, offset)
        carrier = self._site_joint
        beside = (turned[..., carrier, :, :] @ site_offset[..., None])[..., 0]
        return joints, joints[..., carrier, :] + beside, turned


class Batches:
    """Draws training batches; the same seed draws the same ones."""

    def __init__(self, clips: Clips, seed: int, device: torch.device | str = "cpu") -> None:
        self.device = device
        self._choose = Random(seed, device)
        self.composer = Composer(clips, self._choose)
        self.bodies = Bodies(clips, device)
        self._shoulders = [clips.skeleton.index(f"{side}_shoulder") for side in ("left", "right")]

    def state(self) -> Tensor:
        """Return where the random numbers stand; :meth:`restore` goes on from there."""
        return self._choose.generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Go on from a state."""
        self._choose.generator.set_state(state)

    @cached_property
    def _measured(self) -> Measured:
        return Measured(DetectorErrors.load(device=self.device))

    @torch.no_grad()
    def draw(self, count: int, frames: int, measured: float = 0.0) -> Batch:
        """Return a batch of windows.

        Args:
            measured: Share of the windows with errors that the detector made on rendered people; in the rest they are
                made up.
        """
        choose, bodies = self._choose, self.bodies
        motion = self.composer.windows(count, frames)
        proportions = _STATURE * choose.normal(count, 1) + _SEGMENT * choose.normal(count, len(SEGMENTS))
        proportions = proportions.clamp(-0.35, 0.35)
        offset, site_offset = bodies.offsets(proportions)
        legs = proportions[:, [SEGMENTS.index("thigh"), SEGMENTS.index("shin")]].mean(1).exp()
        camera, root = film(motion.path * legs[:, None, None], choose, Range())
        local = bodies.chain.local_rotations(motion.angles)
        rest = bodies.chain.rest_rotation[0]
        local[:, :, 0] = rest.T @ camera @ motion.orientation
        wandering = site_offset + choose.chance(0.8, count, 1, 1, 1) * _SITE * choose.normal(count, 1, len(POINTS), 3)
        joints, points, _ = bodies.places(local, offset, wandering)
        points = points + root[:, :, None]
        depth = root[..., 2].clamp_min(0.5)
        true_rays = points[..., :2] / points[..., 2:].clamp_min(0.3)
        rays, confidence = detected(true_rays, _SPREAD / depth, choose)
        if some := round(measured * count):
            stature = DEFAULT_HEIGHT * proportions[:some].mean(1, keepdim=True).exp() / depth[:some]
            across = joints[:some, :, self._shoulders[0]] - joints[:some, :, self._shoulders[1]]
            seen = self._measured.detected(true_rays[:some], stature, facing(across, root[:some]), choose)
            rays[:some], confidence[:some] = seen
        zoom, focal_known = self._focal(count)
        known = choose.chance(_BODY_KNOWN, count)
        told = proportions + 0.03 * choose.normal(*proportions.shape)
        read, turn = features(rays * zoom, confidence, told, known.float(), focal_known)
        local[:, :, 0] = rest.T @ turn @ rest @ local[:, :, 0]
        joints, points, turned = bodies.places(local, offset, site_offset)
        return Batch(read, local, turned, joints, points, offset, site_offset, motion.trust)

    def _focal(self, count: int) -> tuple[Tensor, Tensor]:
        """Return by what rays are stretched [B, 1, 1, 1] since the focal length is a guess, and whether it is not."""
        choose = self._choose
        kind = choose.uniform(0, 1, count)
        near, far = (0.07 * choose.normal(count)).exp(), choose.log_uniform(0.6, 1.7, count)
        rough = torch.where(kind < _FOCAL_RIGHT + _FOCAL_NEAR, near, far)
        zoom = torch.where(kind < _FOCAL_RIGHT, torch.ones_like(kind), rough)
        return zoom[:, None, None, None], (kind < _FOCAL_RIGHT + _FOCAL_NEAR / 2).float()
