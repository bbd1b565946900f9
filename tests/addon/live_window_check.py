# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive live use in a real Blender window: a video as the camera, Esc, a recording to its take, then the screen.

    xvfb-run -a -s '-screen 0 1600x900x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/live_window_check.py -- ADDON.zip VIDEO FOLDER

Needs the program scrot, and a video of half a minute. Set BLENDER_USER_RESOURCES to an empty folder, and
VIDEO2RIG_COMMAND to the backend's program.
Exit code 0 if all held, 1 if not; each step is printed. FOLDER is where its pictures go; live.png is that of
docs/images.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras.view3d_utils import region_2d_to_location_3d
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).parent))
from window_driver import (
    Box,
    Steps,
    box_of,
    display,
    in_view,
    install,
    module,
    picture,
    press,
    region_of,
    run,
    say,
    show_panel,
    sidebar,
    unfold,
    view,
)

ZIP, VIDEO, FOLDER = sys.argv[sys.argv.index("--") + 1 :][:3]
PATIENCE = 300.0  # seconds
_SIZE = 700, 470  # pixels of the manual's picture: panel, and the figure beside it


def state() -> dict[str, Any]:
    kinds = ("objects", "collections", "armatures", "cameras", "actions", "images", "meshes")
    found: dict[str, Any] = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in kinds}
    active = bpy.context.view_layer.objects.active
    found["active"] = active and (active.name, active.mode)
    return found


def frame() -> Box:
    """Return where panel and figure are on the display."""
    _, top, right, _ = box_of(sidebar())
    return right - _SIZE[0], top, right, top + _SIZE[1]


def look_at_the_figure() -> Steps:
    """Bring who stands at the origin into the middle of what :func:`frame` leaves beside the panel."""
    region, looks = region_of(view(), "WINDOW"), view().spaces.active.region_3d
    looks.view_distance = 4.2
    yield 1.0
    left, top, _, bottom = frame()
    edge, upper, _, _ = box_of(region)
    middle = (left + box_of(sidebar())[0]) / 2 - edge, region.height - ((top + bottom) / 2 - upper)
    waist = Vector((0.0, 0.0, 0.85))
    looks.view_location += waist - region_2d_to_location_3d(region, looks, middle, waist)
    yield 1.0


def start() -> Any:
    assert in_view(lambda: bpy.ops.video2rig.live("INVOKE_DEFAULT")) == {"RUNNING_MODAL"}
    return module("live_run").current


def steps() -> Steps:
    """Yield either seconds to wait, or a condition to wait for."""
    install(ZIP)
    job, live = module("job"), module("live_run")
    yield 1.0
    for name in ("Cube", "Light"):
        bpy.data.objects.remove(bpy.data.objects[name])
    in_view(lambda: bpy.ops.ed.undo_push(message="furnished"))
    wrong = unfold(module("live_panel").VIDEO2RIG_PT_live)
    yield from show_panel()
    yield from look_at_the_figure()
    chosen = bpy.context.scene.video2rig_live
    chosen.kind, chosen.address = "STREAM", VIDEO

    before = state()
    for seconds in (0.0, 1.0, 6.0):
        session, began = start(), time.monotonic()
        yield lambda began=began, seconds=seconds: time.monotonic() - began > seconds
        press("ESC")
        yield lambda: live.current is None
        assert session.done and state() == before, "Esc changed the scene"
    say("Esc: the scene is as it was")

    session = start()
    yield lambda: session.done or session.pace() is not None
    assert not session.done, session.error
    assert in_view(bpy.ops.video2rig.live_record) == {"FINISHED"}
    recorded = time.monotonic()
    yield lambda: session.done or time.monotonic() - recorded > 2.5
    assert not session.done, f"it has ended: {session.error}"
    image = display()
    rig = bpy.data.objects["Video2Rig Live"]
    assert rig.animation_data is None and rig.pose.bones[0].location.length > 0
    say(f"live: {session.pace()}; {session.status}")
    yield 1.5
    in_view(bpy.ops.video2rig.live_stop)
    yield lambda: live.current is None
    name = f"Live {Path(VIDEO).stem}"
    # a short recording may be solved before the next look
    yield lambda: job.current is not None or name in bpy.data.objects
    picture(Path(FOLDER) / "live.png", frame(), image=image)
    yield lambda: job.current is None
    action = bpy.data.objects[name].animation_data.action
    take = module("kept").read(action).take
    say(f"recorded: {len(take.motion)} frames, {take.motion.times[-1]:.2f} s")
    assert "Video2Rig Live" not in bpy.data.objects
    yield 1.0
    picture(Path(FOLDER) / "live_take.png")
    in_view(bpy.ops.ed.undo)
    yield 0.5
    assert name not in bpy.data.objects and state()["objects"] == before["objects"], state()
    say("undo: one step takes the take back")

    chosen = bpy.context.scene.video2rig_live
    chosen.kind = "SCREEN"
    session = start()
    yield lambda: session.began is not None or session.done
    yield lambda: session.status in ("", "Nobody in view") or session.done
    yield 1.0
    seen = session._source.newest()
    assert not session.done and seen is not None and np.std(seen.image) > 5, "the screen was not read"
    say(f"screen: {session._source.width}x{session._source.height}, {session._source.taken} pictures")
    picture(Path(FOLDER) / "live_screen.png")
    press("ESC")
    yield lambda: live.current is None

    chosen.kind, chosen.camera = "CAMERA", 97
    session = start()
    yield lambda: live.current is None
    say("no camera:", session.error)
    assert "camera 97" in str(session.error)
    assert not wrong, wrong[0]
    say("panel: drawn without errors")


run(steps(), PATIENCE)
