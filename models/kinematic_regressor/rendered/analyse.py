# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the errors on rendered people are like those on real ones.

    python -m models.kinematic_regressor.rendered.analyse

2D errors are in percent of the person's apparent stature. The constant part is a clip's mean error of a keypoint, the
random part the rest; left and right are put right before both. Lag 1 is the autocorrelation of the random part from
one frame to the next, at 30 Hz.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from models.kinematic_regressor.detector_errors import MIRROR, NAMES, PATH, clip_means, straightened, swapped

_LIMBS = [any(part in name for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")) for name in NAMES]
_GROSS = 0.15  # of the stature, median of a frame's keypoints: not this person, or upside down


def print_tables(path: Path) -> None:
    """Print the tables of a file that `make.py` wrote."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {key: data[key] for key in data.files}
    length, detected = arrays["length"], arrays["detected"]
    truth, error, world = (arrays[key].astype(np.float64) for key in ("truth", "error", "world_error"))
    swaps = swapped(truth, error) & detected[:, None]
    straight, _ = straightened(truth, error)
    distance = 100 * np.linalg.norm(error, axis=-1)
    gross = detected & (np.median(distance, axis=1) > 100 * _GROSS)
    good = detected & ~gross
    constant = np.repeat(clip_means(straight, good, length), length, axis=0)
    random = np.where(good[:, None, None], straight - constant, np.nan)
    clip = np.repeat(np.arange(len(length)), length)
    follows = good[1:] & good[:-1] & (clip[1:] == clip[:-1])
    print(f"{len(length)} clips, {len(set(arrays['action'].tolist()))} actions, {len(detected)} frames\n")

    columns = ("frames", "detected %", "gross %", "2D mean %", "2D 95th %", "constant rms %", "random rms %",
               "random median %", "lag 1", "swapped arms %", "swapped legs %", "world MPJPE mm", "z share")  # fmt: skip
    print("| view | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    away = np.degrees(np.abs(arrays["facing"]))
    views = {"all": away >= 0, "front": away < 45, "side": (away >= 45) & (away < 135), "back": away >= 135}
    for name, frames in views.items():
        if not (frames & good).any():
            continue
        seen, next_too = frames & good, follows & frames[1:] & frames[:-1]
        lag = (random[1:][next_too] * random[:-1][next_too]).sum() / (random[:-1][next_too] ** 2).sum()
        of_world = world[seen][:, _LIMBS]
        row = (
            f"{frames.sum()}",
            f"{100 * detected[frames].mean():.1f}",
            f"{100 * gross[frames & detected].mean():.1f}",
            f"{distance[seen][:, _LIMBS].mean():.2f}",
            f"{np.percentile(distance[seen][:, _LIMBS], 95):.2f}",
            f"{100 * _rms(constant[seen][:, _LIMBS]):.2f}",
            f"{100 * _rms(random[seen][:, _LIMBS]):.2f}",
            f"{100 * np.median(np.linalg.norm(random[seen][:, _LIMBS], axis=-1)):.2f}",
            f"{lag:.2f}",
            *(f"{100 * share:.1f}" for share in swaps[frames & detected].mean(axis=0)),
            f"{1000 * np.linalg.norm(of_world, axis=-1).mean():.0f}",
            f"{(of_world[..., 2] ** 2).sum() / (of_world**2).sum():.2f}",
        )
        print(f"| {name} | " + " | ".join(row) + " |")

    columns = ("2D mean %", "constant rms %", "random rms %", "confidence", "world mm")
    print("\n| keypoint | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for point, name in enumerate(NAMES):
        if name.startswith("right"):
            continue
        both = sorted({point, MIRROR[point]})
        print(
            f"| {name.removeprefix('left_')} | {distance[good][:, both].mean():.2f} "
            f"| {100 * _rms(constant[good][:, both]):.2f} | {100 * _rms(random[good][:, both]):.2f} "
            f"| {arrays['confidence'][good][:, both].mean() / 255:.2f} "
            f"| {1000 * np.linalg.norm(world[good][:, both], axis=-1).mean():.0f} |"
        )


def _rms(vectors: np.ndarray) -> float:
    return float(np.sqrt((vectors**2).sum(axis=-1).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Print how large the detector's errors on rendered people are.")
    parser.add_argument("errors", type=Path, nargs="?", default=PATH)
    print_tables(parser.parse_args().errors)


if __name__ == "__main__":
    main()
