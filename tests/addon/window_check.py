# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive a real Blender window as a user would, from the first look at the panel to the saved file, and photograph it.

    xvfb-run -a -s '-screen 0 1600x900x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/window_check.py -- ADDON.zip VIDEO FOLDER [PART ...]

Needs the program scrot. Set BLENDER_USER_RESOURCES to an empty folder, and VIDEO2RIG_COMMAND to the backend's
program. Installs the zip; picks a person by a click; imports by the file browser, by a drop and from the panel; presses
Esc, undoes, redoes, solves again, saves and opens again; renames, hides and edits in mid-run. The pictures that FOLDER
gets are those of docs/images. PARTs are the functions of this file to go through; none goes through all. Exit code 0 if
all held, 1 if not; each step is printed.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from window_driver import (
    PACKAGE,
    Steps,
    area_of,
    box_of,
    in_area,
    in_view,
    install,
    module,
    picture,
    press,
    region_of,
    run,
    say,
    show_panel,
    shown,
    sidebar,
    view,
    window,
)

ZIP, VIDEO, FOLDER, *PARTS = sys.argv[sys.argv.index("--") + 1 :]
NAME = Path(VIDEO).stem
_FADES = 12.0  # seconds after which Blender has taken away what it reported in the status bar
_HEADER = 26  # pixels from one folded panel to the next
_KINDS = ("objects", "collections", "armatures", "cameras", "actions", "images", "meshes", "scenes")


def photograph(name: str, height: int | None = None) -> None:
    """Save the whole window, or the uppermost rows of the sidebar."""
    path = Path(FOLDER, f"{name}.png")
    if height is None:
        picture(path, width=1000)
    else:
        picture(path, box_of(sidebar(), height))


def state() -> dict[str, Any]:
    scene = bpy.context.scene
    found: dict[str, Any] = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in _KINDS}
    found["scene"] = (scene.render.fps, scene.render.resolution_x, scene.frame_current, scene.camera.name)
    return found


def running() -> Any:
    return module("job").current


def begun() -> bool:
    return running() is not None and running().progress().done >= 5


def over() -> bool:
    return running() is None


def rigs() -> list[Any]:
    return [obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE"]


def start(**how: Any) -> None:
    result = in_view(lambda: bpy.ops.video2rig.import_video("INVOKE_DEFAULT", **({"filepath": VIDEO} | how)))
    assert result == {"RUNNING_MODAL"}, result


def start_again() -> None:
    result = in_view(lambda: bpy.ops.video2rig.solve_again("INVOKE_DEFAULT"))
    assert result == {"RUNNING_MODAL"}, result


def empty_scene() -> None:
    """Take all away but the camera, in an undo step."""
    for obj in [obj for obj in bpy.data.objects if obj.name != "Camera"]:
        bpy.data.objects.remove(obj)
    for collection in [c for c in bpy.data.collections if c.name != "Collection"]:
        bpy.data.collections.remove(collection)
    in_view(lambda: bpy.ops.ed.undo_push(message="emptied"))


def fold(label: str, first: int) -> Iterator[float]:
    """Click on the header of a sub-panel, where those above it are folded; wait until it is drawn.

    Args:
        label: Of the panel. first: Pixels from the sidebar's upper edge to the first sub-panel's header.
    """
    region = sidebar()
    yield 0.7
    panels = [cls for cls in importlib.import_module(PACKAGE)._CLASSES if hasattr(cls, "bl_parent_id")]
    there = [cls for cls in panels if not hasattr(cls, "poll") or in_view(lambda cls=cls: cls.poll(bpy.context))]
    there.sort(key=lambda cls: getattr(cls, "bl_order", 0))
    number = [cls.bl_label for cls in there].index(label)
    press("LEFTMOUSE", region.x + 60, region.y + region.height - first - number * _HEADER)
    yield 1.0


def pick() -> Iterator[float]:
    """Click on a pixel of the video's frame, at the scene's time and half a second later; and let Esc end it."""
    chosen = bpy.context.scene.video2rig
    chosen.filepath, chosen.person = VIDEO, "POINT"
    frames = module("core.frames")
    info = frames.open_video(VIDEO).info
    region = region_of(view(), "WINDOW")
    layout = module("pick_person").Layout.fit(info.width, info.height, region.width, region.height)
    objects = len(bpy.data.objects), len(bpy.data.images)

    assert in_view(lambda: bpy.ops.video2rig.pick_person("INVOKE_DEFAULT")) == {"RUNNING_MODAL"}
    yield 0.5
    press("RIGHT_ARROW")
    yield 1.5
    photograph("pick_person")
    seen = shown(region)
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
    say("pick: the click is a pixel of the video, and the frame is shown as it is")
    chosen.person = "LARGEST"


def look_at_the_panel() -> Steps:
    """The first look, and all that unfolds."""
    yield from show_panel()
    yield 0.5
    photograph("panel_first", 290)
    chosen = bpy.context.scene.video2rig
    chosen.filepath = VIDEO
    yield from fold("Settings", 163)
    photograph("panel_settings", 545)
    yield from fold("Settings", 163)
    bpy.ops.preferences.addon_enable(module="rigify")
    in_view(bpy.ops.object.armature_human_metarig_add)
    chosen.armature = "ACTIVE"
    yield 0.5
    assert in_view(bpy.ops.video2rig.find_bones) == {"FINISHED"}
    yield from fold("Bones", 186)
    photograph("panel_bones", 714)
    yield from fold("Bones", 186)
    chosen.armature = "NEW"
    bpy.data.objects.remove(bpy.context.view_layer.objects.active)
    yield 0.5
    say("panel: in the sidebar")


def escape() -> Steps:
    """Import by the file browser; Esc in mid-video leaves the scene as it was, and the server free."""
    bpy.context.preferences.view.filebrowser_display_type = "SCREEN"
    bpy.context.scene.video2rig.filepath = ""
    before = state()
    assert in_view(lambda: bpy.ops.video2rig.import_video("INVOKE_DEFAULT")) == {"RUNNING_MODAL"}
    yield lambda: any(area.type == "FILE_BROWSER" for area in window().screen.areas)
    yield 1.0
    browser = area_of("FILE_BROWSER")
    asked = browser.spaces.active.params
    asked.directory, asked.filename = str(Path(VIDEO).parent).encode(), Path(VIDEO).name
    yield 1.0
    assert in_area(browser, lambda: bpy.ops.file.execute()) == {"FINISHED"}
    yield lambda: begun() and any(area.type == "VIEW_3D" for area in window().screen.areas)
    assert bpy.context.scene.video2rig.filepath == VIDEO, "the panel does not show the chosen video"
    say("file browser: running", running().progress())
    first = running()
    press("ESC")
    yield over
    assert first.done and first.cancelling
    assert state() == before, "Esc changed the scene"
    job, greeting = module("job"), module("core.greeting")
    wanted = job.wanted_from_preferences(bpy.context)
    yield lambda: greeting.probe(job.reach(wanted)).sessions == 0
    say("Esc: the scene is as it was, and the server's session is freed")


def everyone() -> Steps:
    """A video dropped into the view, everyone in it; undo and redo."""
    before = state()
    handler = module("import_video").VIDEO2RIG_FH_video
    assert Path(VIDEO).suffix in handler.bl_file_extensions.split(";")
    assert in_view(lambda: handler.poll_drop(bpy.context)), "a 3D view does not take a video"
    assert not in_area(area_of("OUTLINER"), lambda: handler.poll_drop(bpy.context))
    scene = bpy.context.scene
    scene.video2rig.match_scene, scene.video2rig.person = True, "EVERYONE"
    # as Blender calls the operator of the handler that takes a drop
    dropped = {"directory": str(Path(VIDEO).parent), "files": [{"name": Path(VIDEO).name}]}
    yield _FADES
    start(**dropped)
    yield begun
    yield 0.5
    work = running()
    photograph("running")
    yield over
    say("drop: solved", [len(take.motion) for take in work.result()], "frames")
    names = [rig.name for rig in rigs()]
    assert len(names) == len(work.result()), "an armature did not arrive"

    in_view(bpy.ops.ed.undo)
    yield 0.5
    after_undo = state()
    assert not rigs(), "one undo did not take the armatures away"
    assert all(after_undo[kind] == before[kind] for kind in ("objects", "collections", "scene"))
    say("undo: one step takes it all back")
    in_view(bpy.ops.ed.redo)
    yield 0.5
    assert [rig.name for rig in rigs()] == names
    assert all(len(module("compat").fcurves(rig)) > 50 for rig in rigs()), "redo brought no motion"
    say("redo: it is all there again")


def meanwhile() -> Steps:
    """What a user does while a video is solved for an armature: renames, hides, edits, undoes, changes the scene."""
    scene = bpy.context.scene
    scene.video2rig.person, scene.video2rig.armature = "LARGEST", "ACTIVE"
    hero = rigs()[0]
    bpy.context.view_layer.objects.active = hero
    former = hero.animation_data.action.name
    in_view(lambda: bpy.ops.ed.undo_push(message="before"))
    start()
    yield begun
    uid = hero.session_uid
    in_view(lambda: bpy.ops.object.empty_add())
    in_view(lambda: bpy.ops.ed.undo_push(message="added"))
    in_view(bpy.ops.ed.undo)
    yield 0.5
    hero = next(rig for rig in rigs() if rig.session_uid == uid)
    hero.name = "renamed"
    in_view(lambda: bpy.ops.object.mode_set(mode="EDIT"))
    other = bpy.data.scenes.new("other")
    window().scene = other
    yield over
    hero = bpy.data.objects["renamed"]
    told = module("outcome").told
    assert hero.animation_data.action.name != former, told
    assert bpy.data.actions[former].use_fake_user and hero.mode == "OBJECT"
    assert not other.objects and window().scene == other
    scene = window().scene = bpy.data.scenes["Scene"]
    bpy.data.scenes.remove(other)
    say("meanwhile: undone, renamed, in edit mode and in another scene, it has got its motion")

    start()
    yield begun
    bpy.data.objects.remove(bpy.data.objects["renamed"])
    yield over
    assert told and "renamed was removed while the video was solved" in told[0].text, told
    say("meanwhile: told that it was removed")
    scene.video2rig.armature = "NEW"

    start()
    yield begun
    work = running()
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    yield 1.0
    assert running() is None and work.cancelling and not rigs()
    assert "another file was opened" in module("outcome").told[-1].text
    say("meanwhile: another file ends it")
    yield from show_panel()


def edge_of_the_view() -> Steps:
    """In local view, in a scene that is empty but for what is looked at."""
    bpy.context.view_layer.objects.active = bpy.data.objects["Cube"]
    bpy.data.objects["Cube"].select_set(True)
    in_view(bpy.ops.view3d.localview)
    start()
    yield over
    told = module("outcome").told
    assert not told and len(rigs()) == 1, told
    in_view(bpy.ops.view3d.localview)
    say("local view: the armature has arrived")


def solve_save_and_open() -> Steps:
    """From the panel, then solved again, saved and opened again."""
    yield from show_panel()
    empty_scene()
    yield 0.5
    scene = bpy.context.scene
    scene.video2rig.match_scene = True
    start()
    yield over
    rig = rigs()[0]
    action = rig.animation_data.action
    first = action.name
    scene.video2rig.smoothing_hz = 3.0
    start_again()
    yield over
    yield 0.5
    photograph("solve_again", 306)
    assert not [line for line in module("outcome").told if line.kind == "ERROR"], module("outcome").told
    again = rig.animation_data.action
    assert again != action and action.use_fake_user and again.frame_range[:] == action.frame_range[:]
    second = again.name
    in_view(bpy.ops.ed.undo)
    yield 0.5
    rig = rigs()[0]
    assert rig.animation_data.action.name == first, rig.animation_data.action.name
    in_view(bpy.ops.ed.redo)
    yield 0.5
    rig = rigs()[0]
    assert rig.animation_data.action.name == second, rig.animation_data.action.name
    say("solve again: another action, undone and redone")

    path = str(Path(bpy.app.tempdir, "saved.blend"))
    bpy.ops.wm.save_as_mainfile(filepath=path)
    pose = _pose(rig)
    bpy.ops.wm.open_mainfile(filepath=path)
    yield 1.0
    (rig,) = rigs()
    assert rig.animation_data.action.name == second and first in bpy.data.actions
    assert np.allclose(_pose(rig), pose, atol=1e-5)
    assert bpy.context.scene.video2rig.filepath == VIDEO and bpy.context.scene.video2rig.smoothing_hz == 3.0
    bpy.context.view_layer.objects.active = rig
    start_again()
    yield over
    assert rig.animation_data.action.name not in (first, second)
    say("saved and opened: the motion is there, and it is solved again")


def _pose(rig: Any) -> np.ndarray:
    scene = bpy.context.scene
    scene.frame_set((scene.frame_start + scene.frame_end) // 2)
    evaluated = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return np.array([bone.matrix for bone in evaluated.pose.bones])


def last_picture() -> Steps:
    """The armature over the video, through the solved camera."""
    yield from show_panel()
    scene, rig = bpy.context.scene, rigs()[0]
    (camera,) = [obj for obj in scene.objects if obj.type == "CAMERA" and obj.name.startswith(f"{NAME} camera")]
    in_view(lambda: module("import_video").look_through(bpy.context, camera))
    space = view().spaces.active
    space.overlay.show_relationship_lines = False
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False
    in_view(lambda: bpy.ops.view3d.view_center_camera())
    scene.frame_set(round(scene.frame_start + 0.55 * (scene.frame_end - scene.frame_start)))
    in_view(lambda: bpy.ops.object.mode_set(mode="POSE"))
    in_view(lambda: bpy.ops.pose.select_all(action="DESELECT"))
    rig.data.bones.active = rig.data.bones["forearm.L"]
    space.overlay.show_extras = space.overlay.show_cursor = False
    yield 3.0
    photograph("window")


def error() -> Steps:
    """A failure is told in words that stay."""
    scene = bpy.context.scene
    scene.video2rig.filepath = "/videos/holiday.mp4"
    try:
        in_view(lambda: bpy.ops.video2rig.import_video("INVOKE_DEFAULT", filepath=scene.video2rig.filepath))
        raise AssertionError("a video that is not there is solved")
    except RuntimeError as refused:
        assert "there is no file" in str(refused)
    yield 1.0
    photograph("panel_error", 205)
    assert in_view(bpy.ops.video2rig.dismiss) == {"FINISHED"}
    say("error: in the panel until it is dismissed")


def steps() -> Steps:
    """Yield either seconds to wait, or a condition to wait for."""
    install(ZIP)
    press("ESC")  # the splash screen
    yield 1.0
    parts: list[Callable[[], Steps]] = [
        look_at_the_panel,
        pick,
        escape,
        everyone,
        meanwhile,
        edge_of_the_view,
        solve_save_and_open,
        last_picture,
        error,
    ]
    assert not set(PARTS) - {part.__name__ for part in parts}, f"there is no part among {PARTS}"
    for part in parts:
        if not PARTS or part.__name__ in PARTS:
            yield from part()


run(steps())
