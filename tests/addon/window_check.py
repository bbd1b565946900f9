# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive a real Blender window: the panel, a click on a person, a modal run, Esc in mid-video, then a run for everyone
to its end, and screenshots.

    xvfb-run -a -s '-screen 0 1600x900x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/window_check.py -- ADDON.zip VIDEO SCREENSHOT.png

Needs the program scrot. Set BLENDER_USER_RESOURCES to an empty folder, and VIDEO2RIG_COMMAND to the backend's
program. Installs the zip, checks that Esc leaves the scene as it was and frees the server's session, and that the
armatures arrive in one undo step.
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


def press(key: str, x: float | None = None, y: float | None = None) -> None:
    area = view()
    place = {
        "x": area.x + area.width // 2 if x is None else round(x),
        "y": area.y + area.height // 2 if y is None else round(y),
    }
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", **place)
    for value in ("PRESS", "RELEASE"):
        window().event_simulate(type=key, value=value, **place)


def pick() -> Iterator[float]:
    """Click on a pixel of the video's frame, at the scene's time and half a second later; and let Esc end it."""
    chosen = bpy.context.scene.video2rig
    chosen.filepath, chosen.person = VIDEO, "POINT"
    frames = module("core.frames")
    info = frames.open_video(VIDEO).info
    region = next(region for region in view().regions if region.type == "WINDOW")
    layout = module("pick_person").Layout.fit(info.width, info.height, region.width, region.height)
    objects = len(bpy.data.objects), len(bpy.data.images)

    assert in_view(lambda: bpy.ops.video2rig.pick_person("INVOKE_DEFAULT")) == {"RUNNING_MODAL"}
    yield 1.0
    press("ESC")
    yield 0.5
    assert not chosen.picked(VIDEO), "Esc picked somebody"
    wanted = round(info.width * 0.3), round(info.height * 0.6)
    place = (
        region.x + layout.left + (wanted[0] + 0.5) * layout.scale,
        region.y + layout.bottom + (info.height - wanted[1] - 0.5) * layout.scale,
    )
    for steps, time in ((0, 0.0), (1, 0.5)):
        in_view(lambda: bpy.ops.video2rig.pick_person("INVOKE_DEFAULT"))
        yield 0.5
        for _ in range(steps):
            press("RIGHT_ARROW")
            yield 0.5
        yield 1.0
        if steps:
            screenshot(SHOT.replace(".png", ".picking.png"))
            seen = shown(region)
        press("LEFTMOUSE", region.x + 3, region.y + 3)  # beside the picture: still picking
        yield 0.5
        press("LEFTMOUSE", *place)
        yield 0.5
        x, y = chosen.person_point
        assert chosen.picked(VIDEO), "the click was not taken"
        assert max(abs(x - wanted[0]), abs(y - wanted[1])) <= 0.6 / layout.scale + 0.1, (x, y, wanted)
        assert abs(chosen.person_time - time) < 1.1 / info.fps, chosen.person_time
    expected = next(frame for frame in frames.open_video(VIDEO).frames() if frame.time > 0.5 - 0.5 / info.fps)
    rows = np.linspace(20, layout.height * layout.scale - 20, 30)
    columns = np.linspace(20, layout.width * layout.scale - 20, 40)
    there = seen[np.ix_((layout.bottom + rows).astype(int), (layout.left + columns).astype(int))]
    true = expected.image[
        np.ix_((info.height - 1 - rows / layout.scale).astype(int), (columns / layout.scale).astype(int))
    ]
    differ = np.abs(there - true / 255.0).max(axis=-1)
    assert np.quantile(differ, 0.7) < 0.1, "what is shown over the view is not the video's frame"
    assert objects == (len(bpy.data.objects), len(bpy.data.images)), "picking added something to the file"
    print("CHECK pick: the click is a pixel of the video, and the frame is shown as it is", flush=True)


def shown(region: bpy.types.Region) -> np.ndarray:
    """The last screenshot's [height, width, 3] colours in a region, lowest row first."""
    image = bpy.data.images.load(SHOT.replace(".png", ".picking.png"))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(len(image.pixels), dtype=np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    # the window fills the display from its lower left corner
    return pixels.reshape(height, width, 4)[region.y : region.y + region.height, region.x : region.x + region.width, :3]


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

    yield from pick()

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
    bpy.context.scene.video2rig.person = "EVERYONE"
    start()
    yield lambda: job.current is not None and job.current.progress().done >= 5
    yield 0.5
    second = job.current
    screenshot(SHOT.replace(".png", ".running.png"))
    yield lambda: job.current is None
    print("CHECK solved:", [len(take.motion) for take in second.result()], "frames", flush=True)
    name = Path(VIDEO).stem
    rigs = [obj.name for obj in bpy.data.collections[name].objects if obj.type == "ARMATURE"]
    assert len(rigs) == len(second.result()), "an armature did not arrive"
    for rig in rigs:
        print("CHECK finished:", rig, bpy.data.objects[rig].animation_data.action.frame_range[:], flush=True)

    in_view(bpy.ops.ed.undo)
    yield 0.5
    after_undo = state()
    assert not set(rigs) & set(bpy.data.objects.keys()), "one undo did not take the armatures away"
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
    bpy.context.scene.video2rig.person = "LARGEST"
    rig = bpy.data.objects[rigs[0]]
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
