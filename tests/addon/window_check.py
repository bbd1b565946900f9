# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive a real Blender window: the panel, a modal run, Esc in mid-video, then a run to its end and a screenshot.

    xvfb-run -a -s '-screen 0 1600x900x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/window_check.py -- ADDON.zip VIDEO SCREENSHOT.png

Needs the program scrot. Set BLENDER_USER_RESOURCES to an empty folder, and VIDEO2RIG_COMMAND to the backend's
program. Installs the zip, checks that Esc leaves the scene as it was and frees the server's session, and that the
armature arrives in one undo step.
Exit code 0 if all held, 1 if not; each step is printed.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

PACKAGE = "bl_ext.user_default.video2rig"
ZIP, VIDEO, SHOT = sys.argv[sys.argv.index("--") + 1 :][:3]
PATIENCE = 600.0  # seconds for a solve


def module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def view() -> bpy.types.Area:
    return next(area for area in window().screen.areas if area.type == "VIEW_3D")


def in_view(call: Callable[[], Any]) -> Any:
    area = view()
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window(), area=area, region=region):
        return call()


def press(key: str) -> None:
    area = view()
    place = {"x": area.x + area.width // 2, "y": area.y + area.height // 2}
    for value in ("PRESS", "RELEASE"):
        window().event_simulate(type=key, value=value, **place)


def state() -> dict[str, Any]:
    scene = bpy.context.scene
    kinds = ("objects", "collections", "armatures", "cameras", "actions", "images", "meshes", "scenes")
    found: dict[str, Any] = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in kinds}
    found["scene"] = (scene.render.fps, scene.render.resolution_x, scene.frame_current, scene.camera.name)
    return found


def sidebar() -> bpy.types.Region:
    return next(region for region in view().regions if region.type == "UI")


def show_panel() -> Iterator[float]:
    """Click down the sidebar's tabs until ours is open; its category cannot be set from Python."""
    view().spaces.active.show_region_ui = True
    yield 0.5
    region = sidebar()
    for below in range(20, region.height, 25):
        if sidebar().active_panel_category == "Video2Rig":
            break
        place = {"x": region.x + region.width - 10, "y": region.y + region.height - below}
        window().event_simulate(type="MOUSEMOVE", value="NOTHING", **place)
        yield 0.25
        for value in ("PRESS", "RELEASE"):
            window().event_simulate(type="LEFTMOUSE", value=value, **place)
        yield 0.25
    assert sidebar().active_panel_category == "Video2Rig", "the panel is not in the sidebar"


def screenshot(path: str) -> None:
    """Save what the display shows; Blender's own screenshot is black under software OpenGL."""
    subprocess.run(["scrot", "--overwrite", path], check=True)
    image = bpy.data.images.load(path)
    pixels = np.empty(len(image.pixels), dtype=np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    assert pixels.reshape(-1, 4)[:, :3].std() > 0.02, "the screenshot is empty"


def start() -> None:
    result = in_view(lambda: bpy.ops.video2rig.import_video("INVOKE_DEFAULT", filepath=VIDEO))
    assert result == {"RUNNING_MODAL"}, result


def steps() -> Iterator[Callable[[], bool] | float]:
    """Yield either seconds to wait, or a condition to wait for."""
    bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
    job = module("job")
    yield 1.0
    yield from show_panel()
    print("CHECK panel: in the sidebar", flush=True)

    before = state()
    start()
    yield lambda: job.current is not None and job.current.progress().done >= 5
    print("CHECK running:", job.current.progress(), flush=True)
    first = job.current
    press("ESC")
    yield lambda: job.current is None
    assert first.done and first.cancelling
    assert state() == before, "Esc changed the scene"
    print("CHECK Esc: the scene is as it was", flush=True)

    link, wanted = module("core.link"), job.wanted_from_preferences(bpy.context)
    yield lambda: link.probe(job.reach(wanted)).sessions == 0
    print("CHECK Esc: the server's session is freed", flush=True)

    bpy.context.scene.video2rig.match_scene = True
    start()
    yield lambda: job.current is not None and job.current.progress().done >= 5
    yield 0.5
    second = job.current
    screenshot(SHOT.replace(".png", ".running.png"))
    yield lambda: job.current is None
    print("CHECK solved:", [len(take.motion) for take in second.result()], "frames", flush=True)
    name = Path(VIDEO).stem
    assert name in bpy.data.objects, "the armature did not arrive"
    print("CHECK finished:", bpy.data.objects[name].animation_data.action.frame_range[:], flush=True)

    in_view(bpy.ops.ed.undo)
    yield 0.5
    after_undo = state()
    assert name not in bpy.data.objects, "one undo did not take the armature away"
    assert {k: after_undo[k] for k in ("objects", "collections", "scene")} == {
        k: before[k] for k in ("objects", "collections", "scene")
    }
    print("CHECK undo: one step takes it all back", flush=True)
    in_view(bpy.ops.ed.redo)
    yield 0.5
    in_view(lambda: module("import_video").look_through(bpy.context, bpy.data.objects[f"{name} camera"]))

    for default in ("Cube", "Light"):
        if default in bpy.data.objects:
            bpy.data.objects.remove(bpy.data.objects[default])
    rig = bpy.data.objects[name]
    bpy.context.view_layer.objects.active = rig
    space = view().spaces.active
    space.overlay.show_relationship_lines = False
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False
    in_view(lambda: bpy.ops.view3d.view_center_camera())
    first_frame, last_frame = bpy.context.scene.frame_start, bpy.context.scene.frame_end
    bpy.context.scene.frame_set(round(first_frame + 0.55 * (last_frame - first_frame)))
    in_view(lambda: bpy.ops.object.mode_set(mode="POSE"))
    in_view(lambda: bpy.ops.pose.select_all(action="DESELECT"))
    rig.data.bones.active = rig.data.bones["forearm.L"]
    space.overlay.show_extras = space.overlay.show_cursor = False
    yield 3.0
    screenshot(SHOT)
    print("CHECK screenshot:", SHOT, flush=True)


_running = steps()
_waiting: list[Any] = [6.0, 0.0]  # what is waited for, and for how long already
_TICK = 0.25


def finish(code: int) -> None:
    module("job").shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def tick() -> float:
    wanted, waited = _waiting
    try:
        if wanted() if callable(wanted) else waited >= wanted:
            _waiting[:] = [next(_running), 0.0]
        else:
            assert waited < PATIENCE, "waited too long"
            _waiting[1] = waited + _TICK
    except StopIteration:
        print("CHECK all held", flush=True)
        finish(0)
    except BaseException:
        traceback.print_exc()
        finish(1)
    return _TICK


bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
