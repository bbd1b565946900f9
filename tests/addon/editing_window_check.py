# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit a take in a real Blender window: the panel unfolded, markers in the Action Editor, bones coloured, a layer of
corrections, and screenshots.

    xvfb-run -a -s '-screen 0 1600x1000x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/editing_window_check.py -- ADDON.zip TAKE.npz VIDEO SCREENSHOT.png

Needs the program scrot, and a take that `video2rig solve` made of the video. Set BLENDER_USER_RESOURCES to an empty
folder. Exit code 0 if all held, 1 if not; each step is printed.
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

PACKAGE = "bl_ext.user_default.video2rig"
ZIP, TAKE, VIDEO, SHOT = sys.argv[sys.argv.index("--") + 1 :][:4]
_TICK = 0.25
_wrong: list[str] = []


def module(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def area(kind: str) -> bpy.types.Area:
    return next(area for area in window().screen.areas if area.type == kind)


def within(where: bpy.types.Area, call: Callable[[], Any]) -> Any:
    region = next(region for region in where.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window(), screen=window().screen, area=where, region=region):
        return call()


def in_view(call: Callable[[], Any]) -> Any:
    return within(area("VIEW_3D"), call)


def unfold(panel: type) -> None:
    """Open a panel that is folded at first, and note what goes wrong while it is drawn."""
    drawn = panel.draw

    def draw(self: Any, context: bpy.types.Context) -> None:
        try:
            drawn(self, context)
        except Exception:
            _wrong.append(traceback.format_exc())

    bpy.utils.unregister_class(panel)
    panel.bl_options, panel.draw = set(), draw  # type: ignore[attr-defined]
    bpy.utils.register_class(panel)


def show_panel() -> Iterator[float]:
    """Click down the sidebar's tabs until ours is open; its category cannot be set from Python."""
    view = area("VIEW_3D")
    view.spaces.active.show_region_ui = True
    yield 0.5
    region = next(region for region in view.regions if region.type == "UI")
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


def place() -> bpy.types.Object:
    """Put the take into an empty scene."""
    for name in ("Cube", "Light", "Camera"):
        if name in bpy.data.objects:
            bpy.data.objects.remove(bpy.data.objects[name])
    take, info = module("core.take").Take.load(TAKE), module("core.frames").open_video(VIDEO).info
    placed = in_view(lambda: module("take_scene").place(bpy.context, [take], info, match=True))
    in_view(lambda: module("import_video").look_through(bpy.context, placed.camera))
    in_view(lambda: bpy.ops.view3d.view_center_camera())
    (rig,) = placed.rigs
    return rig


def screenshot(name: str) -> None:
    path = SHOT.replace(".png", f"{name}.png")
    subprocess.run(["scrot", "--overwrite", path], check=True)
    print("CHECK screenshot:", path, flush=True)


def steps() -> Iterator[float]:
    bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
    yield 1.0
    unfold(module("take_panel").VIDEO2RIG_PT_take)
    rig = place()
    yield from show_panel()
    for call in (bpy.ops.video2rig.mark_doubt, bpy.ops.video2rig.colour_doubt):
        assert in_view(call) == {"FINISHED"}
    action = rig.animation_data.action
    names = sorted(marker.name for marker in action.pose_markers)
    print("CHECK markers:", len(names), names[:4], flush=True)
    assert any("heel down" in name for name in names), "contacts are not marked"
    unsure = [marker.frame for marker in action.pose_markers if marker.name.startswith(("unsure", "at limit"))]
    bpy.context.scene.frame_set(unsure[0] + 1 if unsure else 60)
    in_view(lambda: bpy.ops.object.mode_set(mode="POSE"))
    tint = module("doubt_colours")
    if unsure:
        shown = [tuple(bone.color.custom.normal) for bone in rig.pose.bones if bone.color.palette == "CUSTOM"]
        assert shown, "no bone is coloured in a frame of doubt"
        print("CHECK colours:", len(shown), "bones", flush=True)
    assert in_view(bpy.ops.video2rig.show_markers) == {"FINISHED"}
    editor = area("DOPESHEET_EDITOR")
    assert editor.spaces.active.ui_mode == "ACTION" and editor.spaces.active.show_pose_markers
    # as tall as names of markers can be read in
    edge, top = editor.x + editor.width // 2, editor.y + editor.height
    for kind, value, y in (
        ("MOUSEMOVE", "NOTHING", top),
        ("LEFTMOUSE", "PRESS", top),
        ("MOUSEMOVE", "NOTHING", top + 90),
        ("MOUSEMOVE", "NOTHING", top + 180),
        ("LEFTMOUSE", "RELEASE", top + 180),
    ):
        window().event_simulate(type=kind, value=value, x=edge, y=y)
        yield 0.25
    in_view(lambda: bpy.ops.view3d.view_center_camera())
    within(editor, lambda: bpy.ops.action.view_all())
    yield 2.0
    screenshot("")
    # moved as an animator moves it: the marker is the action's, in the editor's own operators
    marker = min((m for m in action.pose_markers if m.name == "left heel up"), key=lambda m: m.frame)
    for other in action.pose_markers:
        other.select = other == marker
    before = marker.frame
    within(editor, lambda: bpy.ops.marker.move(frames=3))
    assert marker.frame == before + 3, "the editor does not move the action's markers"
    assert module("contact_markers").edited(action, module("kept").read(action))
    print("CHECK move: a marker is moved by the editor", flush=True)
    in_view(bpy.ops.ed.undo_push)
    assert in_view(bpy.ops.video2rig.add_corrections) == {"FINISHED"}
    yield 1.0
    assert in_view(bpy.ops.video2rig.solve_again.poll), "the take is not found beneath the corrections"
    assert in_view(bpy.ops.video2rig.reduce_keys) == {"FINISHED"}
    strip = bpy.context.object.animation_data.nla_tracks[0].strips[0]
    print("CHECK layers:", strip.action.name, "under", bpy.context.object.animation_data.action.name, flush=True)
    yield 2.0
    screenshot(".layers")
    assert in_view(bpy.ops.video2rig.colour_doubt) == {"FINISHED"}
    assert not any(bone.color.palette == "CUSTOM" for bone in bpy.context.object.pose.bones)
    assert tint._on_frame not in bpy.app.handlers.frame_change_post
    assert not _wrong, _wrong[0]
    print("CHECK panel: drawn without errors", flush=True)


_running = steps()
_waiting = [6.0]


def finish(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def tick() -> float:
    try:
        _waiting[0] -= _TICK
        if _waiting[0] <= 0:
            _waiting[0] = next(_running)
    except StopIteration:
        print("CHECK all held", flush=True)
        finish(0)
    except BaseException:
        traceback.print_exc()
        print(*_wrong, sep="\n", flush=True)
        finish(1)
    return _TICK


assert Path(TAKE).is_file(), TAKE
bpy.app.timers.register(tick, first_interval=1.0, persistent=True)
