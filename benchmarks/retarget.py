# SPDX-License-Identifier: GPL-3.0-or-later
"""Seconds to put a long motion onto rigs of every family, keys and all; needs the bpy module.

    python benchmarks/retarget.py [--frames 10000] [--repeat 3]

The rigs are those of the add-on's tests: true names, rest poses, parents, constraints and scales, random rolls, and
what Rigify generates.
"keying" is all that happens when a solved motion is put onto a rig: its bones are found, turned into their own spaces
and rotation modes, and keyed. The fastest of the repeats is told, and the processor's seconds of it, as other programs
may run. "apart" is the largest distance between joint centres in Blender and the solved ones, over twenty frames.
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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    addon = install()
    import bpy
    from environment import describe
    from test_rigs import moving
    from torch import device

    print(f"{describe(device('cpu'))}, Blender {bpy.app.version_string}, {arguments.frames} frames\n")
    print("| rig | bones | keyed | mode | found | keying, s | of the processor, s | apart, mm |")
    print("|---|---|---|---|---|---|---|---|")
    for name, make in rigs(addon):
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        rig = make(bpy.context)
        skeleton = addon.read_rig.skeleton_to_solve(rig)
        motion = moving(addon, skeleton, arguments.frames)
        seconds = []
        for _ in range(arguments.repeat):
            start, used = time.perf_counter(), time.process_time()
            addon.keyframes.write_motion(rig, motion, "take", rate=24.0, first=1)
            seconds.append((time.perf_counter() - start, time.process_time() - used))
        keyed = [bone for bone in skeleton.names if bone in rig.data.bones]
        mode = rig.pose.bones[keyed[1]].rotation_mode
        told = addon.mapping.of(rig).family or "by structure"
        told = "its own limits" if addon.retargeting.is_own(rig, skeleton) else told
        off = 1000 * apart(rig, motion, arguments.frames)
        wall, used = min(seconds)
        print(
            f"| {name} | {len(rig.data.bones)} | {len(keyed)} | {mode} | {told} | {wall:.2f} | {used:.2f} | {off:.2f} |"
        )
    sys.stdout.flush()
    os._exit(0)  # the module may hang at exit while extensions are registered


if __name__ == "__main__":
    main()
