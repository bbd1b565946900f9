# SPDX-License-Identifier: GPL-3.0-or-later
"""What the correction of the mocap does, beside normal gait.

    python -m models.kinematic_regressor.gait --mocap FOLDER [--image docs/images/gait.png]

Printed are knees, thighs and ankles of standing and walking subjects before and after, how far feet slide and sink, and
every subject's knees; the picture has the gait cycle of all level walking. Normal gait is that of the Rancho Los Amigos
observational gait analysis, as commonly quoted; its hip is the thigh against the vertical. The size of a subject's
correction comes from their stance alone; how much of it a bent knee keeps was chosen on the walking training subjects'
swing. Last come the joints whose range of motion the mocap leaves.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from .database import Database, euler_angles
from .ground import foot_heights
from .legs import knee_flexion
from .mocap import Clips, bone_targets, load_clips
from .retarget import joint_rotations, positions

PHASES = np.array([0.0, 0.12, 0.31, 0.5, 0.62, 0.73, 0.87, 1.0])
"""Parts of the cycle at which normal gait is told: initial contact, the ends of loading response, mid stance, terminal
stance, pre-swing, initial swing and mid swing, and the next contact."""

MID_STANCE = 2
"""Number of the phase at whose end the body is over the foot."""

NORMAL = {
    "thigh": (20, 20, 0, -20, -10, 15, 25, 20),
    "knee": (5, 15, 5, 5, 40, 60, 25, 5),
    "ankle": (0, -5, 5, 10, -15, -5, 0, 0),
}
"""Flexion in degrees at :data:`PHASES`; of the thigh against the vertical; dorsiflexion of the ankle."""

SAMPLES = 101
FASTEST_PACE, SLOWEST_PACE, SLOWEST = 15, 50, 0.6
"""Frames of a cycle at 30 Hz, and metres a second, that are walking."""


class Walk(NamedTuple):
    """What legs do: angles [N, 2 (left, right)] in degrees, and heights and sliding of the feet.

    Attributes:
        thigh: Flexion against the vertical. knee: Flexion. ankle: Dorsiflexion.
        height: [N, 2] of the lower of ankle and ball over where it rests on the floor, metres.
        slide: [N, 2] horizontal speed of the ball of the foot, metres a second.
        ahead: [N, 2] how far the ankle is in front of the hip, metres.
    """

    thigh: np.ndarray
    knee: np.ndarray
    ankle: np.ndarray
    height: np.ndarray
    slide: np.ndarray
    ahead: np.ndarray


def walk(clips: Clips) -> Walk:
    """Return what the legs of clips do."""
    skeleton = clips.skeleton
    placed, turned = positions(clips.rotation, clips.root, skeleton)
    forwards = np.cross(turned[:, 0, :, 0], [0.0, 0.0, 1.0])
    forwards /= np.linalg.norm(forwards, axis=-1, keepdims=True)
    thigh, ankle, slide, ahead = [], [], [], []
    for side in "LR":
        upper, foot, toe = (skeleton.index(f"{bone}.{side}") for bone in ("thigh", "foot", "toe"))
        along = turned[:, upper, :, 1]
        thigh.append(np.arctan2((along * forwards).sum(-1), -along[:, 2]))
        ankle.append(-euler_angles(clips.rotation[:, foot], skeleton.euler_order[foot], skeleton.rom[foot])[:, 0])
        slide.append(_speeds(placed[:, toe, :2], clips))
        ahead.append(((placed[:, foot] - placed[:, upper]) * forwards).sum(-1))
    thigh, ankle = (np.degrees(np.stack(angle, axis=1)) for angle in (thigh, ankle))
    knee = np.degrees(knee_flexion(turned, skeleton))
    return Walk(thigh, knee, ankle, foot_heights(placed, skeleton), np.stack(slide, axis=1), np.stack(ahead, axis=1))


def _speeds(path: np.ndarray, clips: Clips) -> np.ndarray:
    """Return the speed [N] of a point of every clip, metres a second; 0 in clips too short to tell."""
    speed = np.zeros(len(path))
    for start, length in zip(clips.start, clips.length, strict=True):
        if length > 1:
            speed[start : start + length] = np.linalg.norm(np.gradient(path[start : start + length], axis=0), axis=-1)
    return speed * 30.0


def cycles(clips: Clips, ahead: np.ndarray) -> list[tuple[int, int, int]]:
    """Return side, first and last frame of each gait cycle of level, straight walking.

    A cycle begins where the foot is furthest in front of the hip, at about its contact with the floor.
    """
    found = []
    for start, length, action in zip(clips.start, clips.length, clips.action, strict=True):
        words = action.lower()
        if "walk" not in words or any(word in words for word in ("turn", "veer", "stealth")):
            continue
        path = clips.root[start : start + length, :2]
        if length < SLOWEST_PACE or np.linalg.norm(np.diff(path, axis=0), axis=1).mean() * 30.0 < SLOWEST:
            continue
        for side in range(2):
            track = gaussian_filter1d(ahead[start : start + length, side], 1.5)
            peaks, _ = find_peaks(track, prominence=0.15, distance=FASTEST_PACE)
            pairs = pairwise(start + peaks)
            found += [(side, int(a), int(b)) for a, b in pairs if b - a <= SLOWEST_PACE]
    return found


def curves(angle: np.ndarray, found: list[tuple[int, int, int]]) -> np.ndarray:
    """Return an angle [N, 2] over each cycle, [cycles, SAMPLES]."""
    frames = np.arange(len(angle))
    return np.stack([np.interp(np.linspace(a, b, SAMPLES), frames, angle[:, side]) for side, a, b in found])


def at_phases(curve: np.ndarray) -> np.ndarray:
    """Return the values [8] at :data:`PHASES` of a curve [SAMPLES] over a cycle."""
    return np.interp(PHASES, np.linspace(0, 1, SAMPLES), curve)


def from_normal(curve: np.ndarray, joint: str) -> float:
    """Return the RMS difference of a curve [SAMPLES] from normal gait at :data:`PHASES`, degrees."""
    return float(np.sqrt(np.mean((at_phases(curve) - NORMAL[joint]) ** 2)))


def main() -> int:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, required=True, help="folder of cmu_train.npz and cmu_val.npz")
    parser.add_argument("--image", type=Path, metavar="PNG", help="where to draw the gait cycle")
    options = parser.parse_args()
    for name in ("cmu_train", "cmu_val"):
        path = options.mocap / f"{name}.npz"
        before, after = load_clips(path, corrected=False), load_clips(path)
        database = Database.load(path)
        orientations, _, stands = bone_targets(database, after.skeleton)
        walks = walk(before), walk(after)
        found = cycles(before, walks[0].ahead)
        print(f"\n{name}: {len(before)} clips, {len(before.root)} frames, {len(found)} gait cycles")
        tell(walks, stands, found)
        tell_people(database, walks, stands)
        tell_bounds(joint_rotations(orientations, after.skeleton)[1], after.skeleton.names)
        if name == "cmu_train" and options.image is not None:
            options.image.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(options.image), draw(walks, found), [cv2.IMWRITE_PNG_COMPRESSION, 9]):
                raise SystemExit(f"{options.image}: cannot be written")
    return 0


def tell(walks: tuple[Walk, Walk], stands: np.ndarray, found: list[tuple[int, int, int]]) -> None:
    """Print a line for each measure: before, after, normal."""

    def percentile(values: np.ndarray, share: float) -> float:
        return float(np.percentile(values, share))

    def line(title: str, *values: float) -> None:
        print(f"{title:44}" + "".join(f"{value:9.1f}" for value in values))

    print(f"{'':44}{'before':>9}{'after':>9}{'normal':>9}")
    for share in (10, 50):
        line(f"knee of standing feet, percentile {share}", *(percentile(walk.knee[stands], share) for walk in walks))
    for joint, normal in NORMAL.items():
        means = [curves(getattr(walk, joint), found).mean(axis=0) for walk in walks]
        line(f"walking: {joint}, least", *(float(mean.min()) for mean in means), min(normal))
        line(f"walking: {joint}, most", *(float(mean.max()) for mean in means), max(normal))
        line(
            f"walking: {joint}, mid stance", *(float(at_phases(mean)[MID_STANCE]) for mean in means), normal[MID_STANCE]
        )
        line(f"walking: {joint}, RMS from normal", *(from_normal(mean, joint) for mean in means))
    line("standing foot's ball slides, mm/s, mean", *(1000 * float(walk.slide[stands].mean()) for walk in walks))
    for share in (1, 50, 90):
        heights = (1000 * percentile(walk.height[stands], share) for walk in walks)
        line(f"standing foot's height, mm, percentile {share}", *heights)


def tell_people(database: Database, walks: tuple[Walk, Walk], stands: np.ndarray) -> None:
    """Print the standing knees of every subject of every source, the most bent last."""
    rows = []
    for (subject, source), frames in database.people().items():
        if not stands[frames].any():
            continue
        knees = [walk.knee[frames][stands[frames]] for walk in walks]
        rows.append((*(np.percentile(knee, share) for knee in knees for share in (10, 50)), subject, source))
    print(f"\n{'standing knees, percentiles 10 and 50':46}{'before':>14}{'after':>14}")
    for *values, subject, source in sorted(rows, key=lambda row: row[3]):
        print(f"{subject + ', ' + source:46.46}" + "".join(f"{value:7.1f}" for value in values))


def tell_bounds(excess: np.ndarray, bones: tuple[str, ...]) -> None:
    """Print how far [N, J] radians joints were held back by their range of motion."""
    print(f"\n{'held back by the range of motion':34}{'over 5 deg':>12}{'99 %':>8}{'worst':>8}")
    for bone, angle in zip(bones, np.degrees(excess).T, strict=True):
        if (angle > 5).any():
            share = 100 * float((angle > 5).mean())
            print(f"{bone:34}{share:10.2f} %{np.percentile(angle, 99):8.1f}{angle.max():8.1f}")


def draw(
    walks: tuple[Walk, Walk], found: list[tuple[int, int, int]], width: int = 960, height: int = 320
) -> np.ndarray:
    """Return a picture [height, width, 3] BGR of the gait cycle: mean and standard deviation, before and after."""
    picture = np.full((height, width, 3), 255, np.uint8)
    colours = {"before": (60, 120, 230), "after": (180, 110, 30), "normal": (40, 40, 40)}

    def write(text: str, x: float, y: float, colour: tuple[int, ...] = (60, 60, 60)) -> None:
        cv2.putText(picture, text, (round(x), round(y)), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)

    panel, top, bottom = width / len(NORMAL), 50, 40
    for number, joint in enumerate(NORMAL):
        left, right = number * panel + 42, (number + 1) * panel - 12
        series = [curves(getattr(walk, joint), found) for walk in walks]
        lower, upper = (-40, 40) if joint != "knee" else (-5, 75)

        def place(x: float, y: float, ends=(left, right, lower, upper)) -> tuple[int, int]:
            left, right, lower, upper = ends
            across, up = left + x * (right - left), (y - lower) / (upper - lower)
            return round(across), round(height - bottom - up * (height - top - bottom))

        write(
            {"thigh": "thigh, flexion from vertical", "ankle": "ankle, dorsiflexion"}.get(joint, "knee, flexion"),
            left,
            42,
        )
        for level in range(-40, 80, 20):
            if lower <= level <= upper:
                cv2.line(picture, place(0, level), place(1, level), (225, 225, 225), 1)
                write(str(level), left - 30, place(0, level)[1] + 4)
        for share in (0, 50, 100):
            write(f"{share} %", place(share / 100, 0)[0] - 12, height - bottom + 20)
        phase = np.linspace(0, 1, SAMPLES)
        for name, values in zip(("before", "after"), series, strict=True):
            mean, spread = values.mean(axis=0), values.std(axis=0)
            edge = [place(x, y) for x, y in zip(phase, mean + spread, strict=True)]
            edge += [place(x, y) for x, y in zip(phase[::-1], (mean - spread)[::-1], strict=True)]
            shade = picture.copy()
            cv2.fillPoly(shade, [np.array(edge, np.int32)], colours[name])
            picture[:] = cv2.addWeighted(shade, 0.15, picture, 0.85, 0)
            line = [place(x, y) for x, y in zip(phase, mean, strict=True)]
            cv2.polylines(picture, [np.array(line, np.int32)], False, colours[name], 2, cv2.LINE_AA)
        for x, y in zip(PHASES, NORMAL[joint], strict=True):
            cv2.circle(picture, place(x, y), 4, colours["normal"], -1, cv2.LINE_AA)
    x = 42
    for name, text in (
        ("before", "as captured"),
        ("after", "corrected"),
        ("normal", "normal gait (Rancho Los Amigos)"),
    ):
        cv2.circle(picture, (x, 17), 4, colours[name], -1, cv2.LINE_AA)
        write(text, x + 10, 21)
        x += 130
    return picture


if __name__ == "__main__":
    sys.exit(main())
