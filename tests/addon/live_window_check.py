# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive live use in a real Blender window: a video as the camera, Esc, a recording to its take, then the screen.

    xvfb-run -a -s '-screen 0 1600x900x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/live_window_check.py -- ADDON.zip VIDEO SCREENSHOT.png

Needs the program scrot. Set BLENDER_USER_RESOURCES to an empty folder, and VIDEO2RIG_COMMAND to the backend's program.
Exit code 0 if all held, 1 if not; each step is printed.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

PACKAGE = "bl_ext.user_default.video2rig"
ZIP, VIDEO, SHOT = sys.argv[sys.argv.index("--") + 1 :][:3]
PATIENCE = 300.0  # seconds


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


def escape() -> None:
    area = view()
    place = {"x": area.x + area.width // 2, "y": area.y + area.height // 2}
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", **place)
    for value in ("PRESS", "RELEASE"):
        window().event_simulate(type="ESC", value=value, **place)


def show_panel() -> Iterator[float]:
    """Click down the sidebar's tabs until ours is open, with the live part unfolded."""
    panel = module("live_panel").VIDEO2RIG_PT_live
    bpy.utils.unregister_class(panel)
    panel.bl_options = set()
    bpy.utils.register_class(panel)
    view().spaces.active.show_region_ui = True
    yield 0.5
    region = next(region for region in view().regions if region.type == "UI")
    for below in range(20, region.height, 25):
        if region.active_panel_category == "Video2Rig":
            break
        place = {"x": region.x + region.width - 10, "y": region.y + region.height - below}
        window().event_simulate(type="MOUSEMOVE", value="NOTHING", **place)
        yield 0.25
        for value in ("PRESS", "RELEASE"):
            window().event_simulate(type="LEFTMOUSE", value=value, **place)
        yield 0.25
    assert region.active_panel_category == "Video2Rig", "the panel is not in the sidebar"


def screenshot(name: str) -> None:
    """Save what the display shows; Blender's own screenshot is black under software OpenGL."""
    subprocess.run(["scrot", "--overwrite", SHOT.replace(".png", f".{name}.png")], check=True)


def state() -> dict[str, Any]:
    kinds = ("objects", "collections", "armatures", "cameras", "actions", "images", "meshes")
    found: dict[str, Any] = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in kinds}
    active = bpy.context.view_layer.objects.active
    found["active"] = active and (active.name, active.mode)
    return found


def start() -> Any:
    assert in_view(lambda: bpy.ops.video2rig.live("INVOKE_DEFAULT")) == {"RUNNING_MODAL"}
    return module("live_run").current


def steps() -> Iterator[Callable[[], bool] | float]:
    """Yield either seconds to wait, or a condition to wait for."""
    bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
    job, live = module("job"), module("live_run")
    yield 1.0
    for name in ("Cube", "Light"):
        bpy.data.objects.remove(bpy.data.objects[name])
    in_view(lambda: bpy.ops.ed.undo_push(message="furnished"))
    yield from show_panel()
    space = view().spaces.active
    space.region_3d.view_distance, space.region_3d.view_location = 5.0, (0.0, 0.0, 0.9)
    chosen = bpy.context.scene.video2rig_live
    chosen.kind, chosen.address = "STREAM", VIDEO

    before = state()
    for seconds in (0.0, 1.0, 6.0):
        run, began = start(), time.monotonic()
        yield lambda began=began, seconds=seconds: time.monotonic() - began > seconds
        escape()
        yield lambda: live.current is None
        assert run.done and state() == before, "Esc changed the scene"
    print("CHECK Esc: the scene is as it was", flush=True)

    run = start()
    yield lambda: run.done or run.pace() is not None
    assert not run.done, run.error
    assert in_view(bpy.ops.video2rig.live_record) == {"FINISHED"}
    recorded = time.monotonic()
    yield lambda: run.done or time.monotonic() - recorded > 2.5
    assert not run.done, f"it has ended: {run.error}"
    screenshot("live")
    rig = bpy.data.objects["Video2Rig Live"]
    assert rig.animation_data is None and rig.pose.bones[0].location.length > 0
    print(f"CHECK live: {run.pace()}; {run.status}", flush=True)
    yield 1.5
    in_view(bpy.ops.video2rig.live_stop)
    yield lambda: live.current is None
    yield 0.5
    assert job.current is not None, "the recording is not being solved"
    yield lambda: job.current is None
    name = f"Live {Path(VIDEO).stem}"
    action = bpy.data.objects[name].animation_data.action
    take = module("kept").read(action).take
    print(f"CHECK recorded: {len(take.motion)} frames, {take.motion.times[-1]:.2f} s", flush=True)
    assert "Video2Rig Live" not in bpy.data.objects
    yield 1.0
    screenshot("take")
    in_view(bpy.ops.ed.undo)
    yield 0.5
    assert name not in bpy.data.objects and state()["objects"] == before["objects"], state()
    print("CHECK undo: one step takes the take back", flush=True)

    chosen = bpy.context.scene.video2rig_live
    chosen.kind = "SCREEN"
    run = start()
    yield lambda: run.began is not None or run.done
    yield lambda: run.status in ("", "Nobody in view") or run.done
    yield 1.0
    picture = run._source.newest()
    assert not run.done and picture is not None and np.std(picture.image) > 5, "the screen was not read"
    print(f"CHECK screen: {run._source.width}x{run._source.height}, {run._source.taken} pictures; {run.status}")
    screenshot("screen")
    escape()
    yield lambda: live.current is None

    chosen.kind, chosen.camera = "CAMERA", 97
    run = start()
    yield lambda: live.current is None
    print("CHECK no camera:", run.error, flush=True)
    assert "camera 97" in str(run.error)


_running = steps()
_waiting: list[Any] = [6.0, 0.0]  # what is waited for, and for how long already
_TICK = 0.1


def finish(code: int) -> None:
    module("live_run").shutdown()
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
