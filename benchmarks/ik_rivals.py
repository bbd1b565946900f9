# SPDX-License-Identifier: GPL-3.0-or-later
"""Other inverse kinematics on the reference tool's sequences: OpenSim and KinePose, where the user has them."""

from __future__ import annotations

import ast
import contextlib
import copy
import importlib.util
import io
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from imvip22 import Reference

from video2rig.errors import Video2RigError

Problem = tuple[Any, np.ndarray]
"""A chain of the reference tool, and keypoints [T, 16, 3] in metres."""

QUOTED = "the reference tool's README, measured on the same protocol, another seed"
OPENSIM_QUOTED = "mean 8.5, median 2.4 (0 mm, true lengths), 143 frames per CPU second"
KINEPOSE_QUOTED = "3.13, legs 1.22 (0 mm, temporal); 7.03 (10 mm); long 1.95, 8.40; 0.45 frames per CPU second"


class RivalError(Video2RigError):
    """A rival that is not where it was said to be, or failed."""


@dataclass(frozen=True)
class Answer:
    """Local rotations of each problem [T, 19, 3, 3], and the CPU seconds that all of them took."""

    rotations: list[np.ndarray]
    cpu: float


class Rival(Protocol):
    """A solver of position-to-rotation problems."""

    name: str

    def solve(self, problems: list[Problem]) -> Answer:
        """Solve problems one after another."""
        ...


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended children, all threads."""
    return time.process_time() + sum(os.times()[2:4])


class InProcess:
    """A function ``(chain, keypoints) -> rotations``, as the reference tool calls it."""

    def __init__(self, name: str, function: Callable[[Any, np.ndarray], np.ndarray]) -> None:
        self.name, self._function = name, function

    def solve(self, problems: list[Problem]) -> Answer:
        """Solve problems one after another."""
        start = cpu_seconds()
        rotations = [self._function(chain, keypoints) for chain, keypoints in problems]
        return Answer(rotations, cpu_seconds() - start)


def scaled_chain(chain: Any, keypoints: np.ndarray) -> Any:
    """Return a chain scaled to keypoints [T, 16, 3] as OpenSim's ScaleTool scales a model: by mean distances.

    A bone between two keypoints takes the mean of their distance over the sequence, its twin's included; a bone without
    such a pair takes the mean factor of the others.
    """
    places = list(chain.kp_joint)
    factors: dict[str, list[float]] = {}
    for joint, parent in enumerate(chain.parent):
        if joint in places and parent in places:
            distance = np.linalg.norm(keypoints[:, places.index(joint)] - keypoints[:, places.index(parent)], axis=-1)
            factor = float(distance.mean() / np.linalg.norm(chain.t0[joint]))
            factors.setdefault(chain.names[joint].rstrip("LR"), []).append(factor)
    measured = {name: float(np.mean(both)) for name, both in factors.items()}
    common = float(np.mean(list(measured.values())))
    scale = [measured.get(name.rstrip("LR"), common) for name in chain.names]
    scaled = copy.copy(chain)
    scaled.t0 = chain.t0 * np.array(scale)[:, None]
    return scaled


class OpenSim:
    """OpenSim's InverseKinematicsTool, in an interpreter that has ``opensim`` 4.6 from PyPI."""

    def __init__(self, python: Path, reference: Reference) -> None:
        if not python.is_file():
            raise RivalError(f"there is no interpreter {python}; --opensim-python names one that has opensim")
        self._python, self._reference = python.absolute(), reference
        self.name = "OpenSim"

    def solve(self, problems: list[Problem]) -> Answer:
        """Solve problems one after another; CPU time is the tool's alone, without start-up and model building.

        Raises:
            RivalError: The interpreter cannot import opensim, or the tool failed.
        """
        data: dict[str, Any] = {"count": len(problems)}
        for number, (chain, keypoints) in enumerate(problems):
            for name in ("parent", "R0", "t0", "lo", "hi", "kp_joint"):
                data[f"{name}_{number}"] = np.asarray(getattr(chain, name))
            data[f"keypoints_{number}"] = keypoints
        with tempfile.TemporaryDirectory() as folder:
            problem, answer = Path(folder) / "problems.npz", Path(folder) / "answers.npz"
            np.savez(problem, **data)
            worker = Path(__file__).with_name("opensim_worker.py")
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            done = subprocess.run(
                [self._python, worker, problem, answer], capture_output=True, text=True, env=environment, check=False
            )
            if done.returncode or not answer.is_file():
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise RivalError(f"OpenSim failed in {self._python}: {last}")
            with np.load(answer, allow_pickle=False) as found:
                self.name = f"OpenSim {str(found['version']).split('-')[0]}"
                angles = [found[f"angles_{number}"] for number in range(len(problems))]
                cpu = sum(float(found[f"cpu_{number}"]) for number in range(len(problems)))
        return Answer([self._reference.chain.local_rot(one) for one in angles], cpu)


class KinePose:
    """KinePose's frame-by-frame optimisation with warm start, from a checkout of its repository (KevGildea/KinePose).

    Its temporal optimisation is left out: it penalises changes of the patch's last frame alone.
    """

    def __init__(self, checkout: Path, reference: Reference) -> None:
        folder = checkout / "6DOF"
        source = folder / "kinematics.py"
        if not source.is_file():
            raise RivalError(
                f"there is no KinePose at {checkout}; --kinepose names a checkout, with 6DOF/kinematics.py"
            )
        spec = importlib.util.spec_from_file_location("kinepose_kinematics", source)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._kinematics, self._reference = module.kinematics, reference
        settings = folder / "Custom_chain" / "IMVIP22"
        # written as Python literals
        self._graph, self._pairs = (
            ast.literal_eval((settings / name).read_text().strip()) for name in ("Graph.txt", "Vectors.txt")
        )
        self.name = "KinePose"

    def solve(self, problems: list[Problem]) -> Answer:
        """Solve problems one after another, every frame from the solution of the one before."""
        start = time.process_time()
        rotations = []
        for chain, keypoints in problems:
            transforms = np.tile(np.eye(4), (chain.nj, 1, 1))
            transforms[:, :3, :3], transforms[:, :3, 3] = chain.R0, chain.t0
            turns = np.stack([chain.lo, chain.hi], axis=-1).reshape(-1, 2) / (2 * np.pi)
            bounds = [(round(float(low), 3), round(float(high), 3)) for low, high in turns]  # as its own reader does
            with contextlib.redirect_stdout(io.StringIO()):
                results = self._kinematics.IK_opt_frames(
                    list(transforms), keypoints, self._graph, bounds, [0.0] * 3 * chain.nj, self._pairs
                )
            angles = np.array([result.x for result in results]).reshape(len(keypoints), chain.nj, 3) * 2 * np.pi
            rotations.append(self._reference.chain.local_rot(angles))
        return Answer(rotations, time.process_time() - start)
