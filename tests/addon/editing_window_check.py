# SPDX-License-Identifier: GPL-3.0-or-later
"""Edit a take in a real Blender window: the panel unfolded, markers in the Action Editor, bones coloured, a layer of
corrections, few keys.

    xvfb-run -a -s '-screen 0 1600x1000x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/editing_window_check.py -- ADDON.zip TAKE.npz VIDEO FOLDER

Needs the program scrot, and a take that `video2rig solve` made of the video. Set BLENDER_USER_RESOURCES to an empty
folder. The pictures that FOLDER gets are those of docs/images. Exit code 0 if all held, 1 if not; each step is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window_driver import (
    Steps,
    area_of,
    box_of,
    in_area,
    in_view,
    install,
    module,
    picture,
    run,
    say,
    show_panel,
    sidebar,
    unfold,
    view,
    window,
)

ZIP, TAKE, VIDEO, FOLDER = sys.argv[sys.argv.index("--") + 1 :][:4]


def place() -> bpy.types.Object:
    """Put the take into an empty scene."""
    for name in ("Cube", "Light", "Camera"):
        if name in bpy.data.objects:
            bpy.data.objects.remove(bpy.data.objects[name])
    take, info = module("core.take").Take.load(TAKE), module("core.frames").open_video(VIDEO).info
    placed = in_view(lambda: module("take_scene").place(bpy.context, [take], info, match=True))
    in_view(lambda: module("import_video").look_through(bpy.context, placed.camera))
    (rig,) = placed.rigs
    return rig


def taller(area: bpy.types.Area, by: int) -> Steps:
    """Drag an area's upper edge."""
    x, top = area.x + area.width // 2, area.y + area.height
    for kind, value, y in (
        ("MOUSEMOVE", "NOTHING", top),
        ("LEFTMOUSE", "PRESS", top),
        ("MOUSEMOVE", "NOTHING", top + by // 2),
        ("MOUSEMOVE", "NOTHING", top + by),
        ("LEFTMOUSE", "RELEASE", top + by),
    ):
        window().event_simulate(type=kind, value=value, x=x, y=y)
        yield 0.25


def steps() -> Steps:
    install(ZIP)
    yield 1.0
    wrong = unfold(module("take_panel").VIDEO2RIG_PT_take)
    rig = place()
    yield from show_panel()
    assert in_view(bpy.ops.video2rig.mark_doubt) == in_view(bpy.ops.video2rig.colour_doubt) == {"FINISHED"}
    action = rig.animation_data.action
    marks = [(marker.name, marker.frame) for marker in action.pose_markers]
    say("markers:", len(marks), sorted(marks)[:3])
    assert any(name == "left heel down" for name, _ in marks), "contacts are not marked"
    unsure = [frame for name, frame in marks if name.startswith(("unsure", "at limit"))]
    bpy.context.scene.frame_set(unsure[0] + 1 if unsure else 60)
    in_view(lambda: bpy.ops.object.mode_set(mode="POSE"))
    if unsure:
        assert any(bone.color.palette == "CUSTOM" for bone in rig.pose.bones), "no bone is coloured in doubt"
    yield 1.0
    picture(Path(FOLDER, "panel_edit_take.png"), box_of(sidebar(), 630))
    assert in_view(bpy.ops.video2rig.show_markers) == {"FINISHED"}
    editor = area_of("DOPESHEET_EDITOR")
    assert editor.spaces.active.ui_mode == "ACTION" and editor.spaces.active.show_pose_markers
    yield from taller(editor, 180)
    overlay = view().spaces.active.overlay
    overlay.show_floor = overlay.show_axis_x = overlay.show_axis_y = overlay.show_cursor = False
    in_view(lambda: bpy.ops.view3d.view_center_camera())
    in_area(editor, bpy.ops.action.view_all)
    yield 2.0
    picture(Path(FOLDER, "editing.png"), width=1000)
    # moved as an animator moves it: by the editor's own operator
    marker = min((m for m in action.pose_markers if m.name == "left heel up"), key=lambda m: m.frame)
    for other in action.pose_markers:
        other.select = other == marker
    before = marker.frame
    in_area(editor, lambda: bpy.ops.marker.move(frames=3))
    assert marker.frame == before + 3, "the editor does not move the action's markers"
    assert module("contact_markers").edited(action, module("kept").read(action))
    say("move: the editor moves a marker of the action")
    assert in_view(bpy.ops.video2rig.add_corrections) == {"FINISHED"}
    yield 1.0
    assert in_view(bpy.ops.video2rig.solve_again.poll), "the take is not found beneath the corrections"
    assert in_view(bpy.ops.video2rig.reduce_keys) == {"FINISHED"}
    animation = bpy.context.object.animation_data
    say("layers:", animation.nla_tracks[0].strips[0].action.name, "under", animation.action.name)
    yield 1.0
    assert in_view(bpy.ops.video2rig.colour_doubt) == {"FINISHED"}
    assert not any(bone.color.palette == "CUSTOM" for bone in bpy.context.object.pose.bones)
    yield 1.0
    assert not wrong, wrong[0]
    say("panel: drawn without errors")


run(steps())
