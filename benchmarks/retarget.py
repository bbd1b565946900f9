# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds to put a long motion onto rigs of every family, keys and all; needs the bpy module.

    python benchmarks/retarget.py [--frames 10000] [--repeat 3]
    python benchmarks/retarget.py --video VIDEO

The rigs are those of the add-on's tests: true names, rest poses, parents, constraints and scales, random rolls, and
what Rigify generates.
"keying" is all that happens when a solved motion is put onto a rig: its bones are found, turned into their own spaces
and rotation modes, and keyed. The fastest of the repeats is told, and the processor's seconds of it, as other programs
may run. "apart" is the largest distance between joint centres in Blender and the solved ones, over twenty frames.

With a video its largest person is solved and put on each rig, keyed, and the feet are measured in Blender: a point of
the sole, fixed to its bone. "ends" is how far wrists and ankles are, in parts of the rig's height, from where limbs of
the rig's lengths end that point as the person's do; feet that are planted take the legs along, the person's and the
rig's each in its own way, and "unplanted" is the most without that. "slide" is the speed along the floor from frame to
frame while the point rests, "sunk" how deep it is below the height that it has when standing, in any frame.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/addon", "tests", "backend", ".")]
PACKAGE = "bl_ext.user_default.video2rig"


def install() -> Any:
    """Install the add-on's zip into a scratch folder and return its modules."""
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="video2rig-benchmark-")
    import bpy  # isort: skip  it brings addon_utils
    import addon_utils
    import build_addon

    from conftest import Addon

    path = build_addon.build(build_addon.current_platform(), Path(tempfile.mkdtemp()))
    addon_utils.enable("bl_pkg")
    bpy.ops.extensions.package_install_files(filepath=str(path), repo="user_default", enable_on_install=True)
    return Addon(PACKAGE, path)


def rigs(addon: Any) -> list[tuple[str, Any]]:
    """Return what is measured: the name of each rig, and a function that builds it."""
    from known_rigs import auto_rig_pro, vroid
    from rigs import KINDS, build, rigify

    from video2rig.human import default_human

    human = default_human()

    def of_kind(name: str) -> Any:
        return lambda context: build(context, human, KINDS[name], np.random.default_rng(1))

    def own(context: Any) -> Any:
        skeleton = addon.core.skeleton.Skeleton.from_json(human.to_json())
        rig = addon.rig.build_armature(context, skeleton, "own", context.scene.collection)
        context.view_layer.update()
        return rig

    made = [("the add-on's own", own), *((name, of_kind(name)) for name in KINDS)]
    made.append(("VRoid Studio", lambda context: vroid(context, np.random.default_rng(1))))
    made.append(("Auto-Rig Pro", lambda context: auto_rig_pro(context, human, np.random.default_rng(1))))
    made.append(("rigify metarig", lambda context: rigify(context, generate=False)))
    made.append(("rigify generated", lambda context: rigify(context, generate=True)))
    return made


def apart(rig: Any, motion: Any, frames: int) -> float:
    """Return the largest distance between joint centres in Blender and the solved ones, metres."""
    from reference import forward
    from test_rigs import shown

    expected = forward(motion)
    joints = [j for j, name in enumerate(motion.skeleton.names) if j and name in rig.data.bones]
    names = [motion.skeleton.names[j] for j in joints]
    return max(
        float(np.linalg.norm(shown(rig, names, frame + 1)[:, :3, 3] - expected[frame, joints, :3, 3], axis=1).max())
        for frame in np.linspace(0, frames - 1, 20).astype(int)
    )


def feet(rig: Any, motion: Any, frames: np.ndarray) -> tuple[list[float], float]:
    """Return how feet stand in Blender: [N] speeds of resting points, millimetres a second, and how deep any point is
    in the floor at most, millimetres.

    Args:
        rig: With its keys. motion: What was keyed. frames: [T] scene frames of the keys.
    """
    import bpy
    from reference import forward

    from video2rig.keypoints import sites
    from video2rig.planting import SOLES

    skeleton, solved = motion.skeleton, forward(motion)
    joints, offset = sites(skeleton, SOLES)
    # toes that a rig lacks are part of the foot
    hosts = [joint if skeleton.names[joint] in rig.data.bones else skeleton.parents[joint] for joint in joints]
    bones = np.empty((len(frames), len(hosts), 4, 4))
    for number, frame in enumerate(frames):
        bpy.context.scene.frame_set(int(frame), subframe=float(frame % 1))
        shown = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
        bones[number] = [shown.matrix_world @ shown.pose.bones[skeleton.names[host]].matrix for host in hosts]
    first = solved[0, joints] @ np.append(offset, np.ones((len(joints), 1)), axis=1)[..., None]
    places = (bones @ np.linalg.inv(bones[0]) @ first)[..., :3, 0]
    rest = skeleton.rest_matrices()[joints]
    standing = rest[:, 2, 3] + np.einsum("si,si->s", rest[:, 2, :3], offset)
    speeds = []
    for contact in motion.contacts:
        part = [skeleton.names[joint] for joint in joints].index(contact.joint)
        inside = (motion.times >= contact.start - 1e-9) & (motion.times <= contact.end + 1e-9)
        steps = np.linalg.norm(np.diff(places[inside, part, :2], axis=0), axis=1) / np.diff(motion.times[inside])
        speeds += (1000 * steps).tolist()
    return speeds, 1000 * max(0.0, float((standing - places[..., 2]).max()))


def ends(motion: Any, person: Any) -> np.ndarray:
    """Return how far [T, 4] wrists and ankles are from where the person's own limbs point, drawn with the rig's lengths
    from its shoulders and hips; parts of the rig's height."""
    from video2rig.kinematics import joint_positions

    rig, own = motion.skeleton, person.skeleton
    places, seen = joint_positions(motion)[0], joint_positions(person)[0]
    rest = rig.rest_matrices()[:, :3, 3]
    off = []
    for side in ("left", "right"):
        for limb in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
            at, its = ([body.index(f"{side}_{role}") for role in limb] for body in (rig, own))
            along = np.diff(seen[:, its], axis=1)
            along /= np.linalg.norm(along, axis=-1, keepdims=True)
            lengths = np.linalg.norm(np.diff(rest[at], axis=0), axis=1)
            drawn = places[:, at[0]] + (lengths[:, None] * along).sum(axis=1)
            off.append(np.linalg.norm(places[:, at[2]] - drawn, axis=1))
    return np.array(off).T / np.ptp(rest[:, 2])


def unplanted(take: Any) -> np.ndarray:
    """Return the same [T, 4] of a take as its rig took over the person's pose, before feet were planted."""
    from video2rig.motion import Motion
    from video2rig.onto_rig import onto_rig

    own = take.own
    person = Motion(own.skeleton, take.motion.times, own.rotations, own.root_position, np.ones(own.rotations.shape[:2]))
    return ends(onto_rig(person, take.motion.skeleton, take.keypoints.on_skeleton().names, 1.0), person)


def of_video(addon: Any, video: Path) -> None:
    """Print the table of a video's motion on every rig."""
    import bpy

    from video2rig.frames import open_video
    from video2rig.pipeline import Backend, Pipeline, solve_seen
    from video2rig.seen import Seen
    from video2rig.settings import Settings
    from video2rig.skeleton import Skeleton

    settings, backend, clip = Settings(device="cpu"), Backend("cpu"), open_video(video)
    pipeline = Pipeline(settings, clip.info.facts(), backend)
    pipeline.push_all(clip)
    pipeline.finish()
    keypoints = pipeline.people()[0].keypoints
    facts = clip.info.facts() | {"frame_count": len(keypoints.times)}
    person = solve_seen(Seen(keypoints, 1, None), settings, facts, backend)
    print("| rig | found | apart, mm | ends, %: mean | most | unplanted | slide, mm/s: mean | 99 % | most | sunk, mm |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, make in rigs(addon):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        rig = make(bpy.context)
        body = Skeleton.from_json(addon.read_rig.skeleton_to_solve(rig).to_json())
        take = solve_seen(Seen(keypoints, 1, None), settings, facts, backend, skeleton=body)
        motion = addon.core.take.Take.from_bytes(take.to_bytes()).motion
        rate = 1 / float(np.median(np.diff(motion.times)))
        addon.keyframes.write_motion(rig, motion, "take", rate=rate, first=1)
        frames = addon.keyframes.frames_at(motion.times, rate, 1)
        speeds, sunk = feet(rig, motion, frames)
        slide = (
            f"{np.mean(speeds):.1f} | {np.percentile(speeds, 99):.1f} | {max(speeds):.1f}" if speeds else "- | - | -"
        )
        told = addon.mapping.of(rig).family or "by structure"
        whole = bool(np.allclose(frames, np.arange(1, len(frames) + 1)))
        off = f"{1000 * apart(rig, motion, len(frames)):.2f}" if whole else "-"
        missed = 100 * ends(take.motion, person.motion)
        off += f" | {missed.mean():.2f} | {missed.max():.2f} | {100 * unplanted(take).max():.2f}"
        print(f"| {name} | {told} | {off} | {slide} | {sunk:.2f} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--video", type=Path, help="whose motion is put on every rig")
    arguments = parser.parse_args()
    addon = install()
    import bpy
    from environment import describe
    from torch import device

    print(f"{describe(device('cpu'))}, Blender {bpy.app.version_string}\n")
    if arguments.video:
        of_video(addon, arguments.video)
    else:
        keying(addon, arguments.frames, arguments.repeat)
    sys.stdout.flush()
    os._exit(0)  # the module may hang at exit while extensions are registered


def keying(addon: Any, frames: int, repeat: int) -> None:
    """Print the table of seconds."""
    import bpy
    from test_rigs import moving

    print(f"{frames} frames\n")
    print("| rig | bones | keyed | mode | found | keying, s | of the processor, s | apart, mm |")
    print("|---|---|---|---|---|---|---|---|")
    for name, make in rigs(addon):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        rig = make(bpy.context)
        skeleton = addon.read_rig.skeleton_to_solve(rig)
        motion = moving(addon, skeleton, frames)
        seconds = []
        for _ in range(repeat):
            start, used = time.perf_counter(), time.process_time()
            addon.keyframes.write_motion(rig, motion, "take", rate=24.0, first=1)
            seconds.append((time.perf_counter() - start, time.process_time() - used))
        keyed = [bone for bone in skeleton.names if bone in rig.data.bones]
        mode = rig.pose.bones[keyed[1]].rotation_mode
        told = addon.mapping.of(rig).family or "by structure"
        told = "its own limits" if addon.retargeting.is_own(rig, skeleton) else told
        off = 1000 * apart(rig, motion, frames)
        wall, used = min(seconds)
        print(
            f"| {name} | {len(rig.data.bones)} | {len(keyed)} | {mode} | {told} | {wall:.2f} | {used:.2f} | {off:.2f} |"
        )


if __name__ == "__main__":
    main()
