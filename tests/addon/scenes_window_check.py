# SPDX-License-Identifier: GPL-3.0-or-later
"""Import into scenes as animators have them, in a real Blender window, with the real backend.

    xvfb-run -a -s '-screen 0 1600x900x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/scenes_window_check.py -- ADDON.zip VIDEO [PART ...]

Needs the program scrot. Set BLENDER_USER_RESOURCES to an empty folder, and VIDEO2RIG_COMMAND to the backend's
program. Imports the beginning of the video into scenes of four rates that start at two frames, where the figure has to
stand over the person and the picture behind it has to be that of the moment; onto an armature in edit mode; while
something is dragged; onto a library override; presses Esc while a take is solved again; and looks at the saved file in
a Blender without the add-on. PARTs are the functions of this file to go through; none goes through all. Exit code 0 if
all held, 1 if not; each step is printed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from bpy_extras.view3d_utils import location_3d_to_region_2d

sys.path.insert(0, str(Path(__file__).parent))
from window_driver import Steps, in_view, install, module, press, region_of, run, say, shown, view, window

ZIP, VIDEO, *PARTS = sys.argv[sys.argv.index("--") + 1 :]
_FOLDER = Path(bpy.app.tempdir)
CLIP = str(_FOLDER / "clip.mp4")
_FRAMES = 48
_RATES = {"23.976": (24, 1.001), "25": (25, 1.0), "30": (30, 1.0), "59.94": (60, 1.001)}
_SEEN = {"left_wrist": "hand.L", "right_wrist": "hand.R", "left_knee": "shin.L", "right_knee": "shin.R"}
"""Keypoints, and the bones whose heads are there."""
_OVER = 0.02  # of the picture's height, from a keypoint to its bone, in the median: what the solver leaves


def cut() -> None:
    """Write the beginning of the video to a file of its own."""
    import cv2  # one of the add-on's wheels

    source = module("core.frames").open_video(VIDEO)
    size = source.info.width, source.info.height
    writer = cv2.VideoWriter(CLIP, cv2.VideoWriter.fourcc(*"mp4v"), source.info.fps, size)
    for _, frame in zip(range(_FRAMES), source.frames(), strict=False):
        writer.write(np.ascontiguousarray(frame.image[..., ::-1]))
    writer.release()


def over() -> bool:
    return module("job").current is None


def start(**how: Any) -> None:
    result = in_view(lambda: bpy.ops.video2rig.import_video("INVOKE_DEFAULT", **({"filepath": CLIP} | how)))
    assert result == {"RUNNING_MODAL"}, result


def told() -> list[str]:
    return [line.text for line in module("outcome").told]


def new_file() -> Steps:
    """Open a file like the one that Blender starts with."""
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    yield 1.0


def rig_of_scene() -> Any:
    (rig,) = (obj for obj in bpy.context.scene.objects if obj.type == "ARMATURE")
    return rig


def camera_of_scene() -> Any:
    """Return the camera of the take; the file may have one of its own."""
    (camera,) = (obj for obj in bpy.context.scene.objects if obj.type == "CAMERA" and obj.name != "Camera")
    return camera


def rate_of(scene: bpy.types.Scene) -> float:
    return scene.render.fps / scene.render.fps_base


def go_to(frame: float) -> None:
    bpy.context.scene.frame_set(int(frame), subframe=frame % 1.0)


def heads(rig: Any, frame: float) -> dict[str, Any]:
    """Return where an armature's bones begin at a moment, in the world."""
    go_to(frame)
    posed = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return {bone.name: posed.matrix_world @ bone.head for bone in posed.pose.bones}


def miss(rig: Any, camera: Any, later: float = 0.0) -> float:
    """Return the median distance from keypoints to their bones before the camera, as a part of the picture's height.

    Args:
        rig: With a take. camera: Its own. later: Seconds by which the armature is looked at too late.
    """
    scene, take = bpy.context.scene, module("kept").read(rig.animation_data.action).take
    names = list(module("core.keypoints").KEYPOINT_SETS[take.keypoints.set_name])
    width, height = take.camera.width, take.camera.height
    aspect = scene.render.resolution_x / scene.render.resolution_y
    assert aspect > width / height, "this takes the picture to be as high as what is rendered"
    far = []
    for index in range(0, len(take.keypoints.times), 7):
        now = heads(rig, scene.frame_start + (take.keypoints.times[index] + later) * rate_of(scene))
        for name, bone in _SEEN.items():
            point = names.index(name)
            x, y, _ = world_to_camera_view(scene, camera, now[bone])
            pixel = (x - 0.5) * aspect * height + width / 2 - 0.5, (1 - y) * height - 0.5
            if take.keypoints.confidence[index, point] > 0.5:
                far.append(np.linalg.norm(pixel - take.keypoints.positions[index, point]))
    assert len(far) > 10
    return float(np.median(far)) / height


def in_the_view(camera: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return lower left and upper right corner of what a camera frames, pixels of the view."""
    region, space = region_of(view(), "WINDOW"), view().spaces.active
    corners = camera.data.view_frame(scene=bpy.context.scene)
    where = [location_3d_to_region_2d(region, space.region_3d, camera.matrix_world @ corner) for corner in corners]
    return np.min(where, axis=0), np.max(where, axis=0)


def behind(camera: Any, frames: list[np.ndarray]) -> int:
    """Return which of the video's frames, grey, looks most like the picture that stands before the camera."""
    import cv2

    (left, low), (right, high) = in_the_view(camera)
    height, width = frames[0].shape
    scale, middle = (high - low) / height, (left + right) / 2
    # without the frame's own line
    rows, columns = np.arange(8, height - 8, 2), np.arange(8, width - 8, 2)
    y = np.round(low + (height - 0.5 - rows) * scale).astype(int)
    x = np.round(middle + (columns + 0.5 - width / 2) * scale).astype(int)
    seen = shown(region_of(view(), "WINDOW"))[np.ix_(y, x)].mean(axis=-1).ravel()
    blurred = [cv2.GaussianBlur(frame, (5, 5), 0)[np.ix_(rows, columns)].ravel() for frame in frames]
    return int(np.argmax([np.corrcoef(seen, frame)[0, 1] for frame in blurred]))


def rates() -> Steps:
    """Scenes at four rates, from frame 0 and from frame 1001."""
    frames = [frame.image.mean(axis=-1) for frame in module("core.frames").open_video(CLIP).frames()]
    seconds = [frame.time for frame in module("core.frames").open_video(CLIP).frames()]
    home = window().scene
    for name, (fps, base) in _RATES.items():
        for first in (0, 1001):
            scene = window().scene = bpy.data.scenes.new(f"{name} from {first}")
            scene.render.fps, scene.render.fps_base = fps, base
            scene.frame_start, scene.frame_end = first, first + 200
            scene.frame_set(first)
            start()
            yield over
            assert not told(), told()
            assert (scene.render.fps, scene.frame_start, scene.frame_end) == (fps, first, first + 200)
            rig, camera = rig_of_scene(), camera_of_scene()
            begin, end = rig.animation_data.action.frame_range
            assert abs(begin - first) < 1e-3 and abs(end - first - seconds[-1] * rate_of(scene)) < 2e-2, (begin, end)
            near, late = miss(rig, camera), miss(rig, camera, 0.4)
            assert near < _OVER < late, (near, late)
            # the picture, with nothing before it
            rig.hide_set(True)
            in_view(bpy.ops.view3d.view_center_camera)
            found = []
            for share in (0.0, 0.37, 0.93):
                frame = first + round(share * (end - first))
                scene.frame_set(frame)
                yield 1.5
                wanted = (frame - first) / rate_of(scene) * 30
                found.append((behind(camera, frames), round(wanted, 1)))
            assert all(abs(one - other) <= 1 for one, other in found), found
            say(f"{name} frames a second from frame {first}: off by {near:.1%}, 0.4 s late by {late:.1%}; {found}")
    window().scene = home


def edit_mode() -> Steps:
    """Onto an armature that is in edit mode when the solve begins, with a bone that was changed just now."""
    yield from new_file()
    start()
    yield over
    rig = rig_of_scene()
    rig.animation_data.action.name = "former"
    scene = bpy.context.scene
    scene.video2rig.armature = "ACTIVE"
    in_view(lambda: bpy.ops.ed.undo_push(message="named"))
    in_view(lambda: bpy.ops.object.mode_set(mode="EDIT"))
    in_view(lambda: bpy.ops.ed.undo_push(message="edit mode"))
    rig.data.edit_bones["spine.006"].length = 0.4
    in_view(lambda: bpy.ops.ed.undo_push(message="longer"))
    start()
    yield over
    assert not told(), told()
    assert rig.animation_data.action.name == "clip" and bpy.data.actions["former"].use_fake_user
    assert rig.mode == "OBJECT" and abs(rig.data.bones["spine.006"].length - 0.4) < 1e-6
    say("edit mode: the motion has come, and the bone is as it was edited")
    in_view(bpy.ops.ed.undo)
    yield 0.5
    rig = rig_of_scene()
    assert rig.mode == "EDIT" and abs(rig.data.edit_bones["spine.006"].length - 0.4) < 1e-6, rig.mode
    assert rig.animation_data.action.name == "former", rig.animation_data.action.name
    say("edit mode: undone, it is in edit mode again, with its former motion")


def in_hand() -> Steps:
    """What is solved while the user drags something comes when they let go."""
    yield from new_file()
    cube = bpy.data.objects["Cube"]
    start()
    work = module("job").current
    yield lambda: work.progress().done > 5
    in_view(lambda: bpy.ops.object.mode_set(mode="EDIT"))
    area = view()
    place = {"x": area.x + area.width // 2, "y": area.y + area.height // 2}
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", **place)
    yield 0.5
    assert in_view(lambda: bpy.ops.transform.translate("INVOKE_DEFAULT")) == {"RUNNING_MODAL"}
    yield lambda: work.done
    for step in range(8):
        window().event_simulate(type="MOUSEMOVE", value="NOTHING", x=place["x"] + 20 * step, y=place["y"])
        yield 0.5
    assert work.waits_for and not over() and cube.mode == "EDIT", (work.waits_for, told())
    assert not [obj for obj in bpy.data.objects if obj.type == "ARMATURE"]
    window().event_simulate(type="ESC", value="PRESS", **place)
    yield over
    assert not told() and len(rig_of_scene().animation_data.action.name) > 0, told()
    say("dragged meanwhile: the motion waits for the user")


def override() -> Steps:
    """Onto a rig that is linked, and then overridden."""
    yield from new_file()
    bpy.ops.preferences.addon_enable(module="rigify")
    in_view(bpy.ops.object.armature_human_metarig_add)
    cast = bpy.data.collections.new("cast")
    cast.objects.link(bpy.context.view_layer.objects.active)
    path = str(_FOLDER / "library.blend")
    bpy.data.libraries.write(path, {cast})
    yield from new_file()
    with bpy.data.libraries.load(path, link=True) as (_, there):
        there.collections = ["cast"]
    cast, scene = bpy.data.collections["cast"], bpy.context.scene
    scene.collection.children.link(cast)
    layer = bpy.context.view_layer
    layer.update()
    layer.objects.active = linked = cast.objects[0]
    scene.video2rig.armature = "ACTIVE"
    try:
        start()
        raise AssertionError("a linked rig is solved")
    except RuntimeError as refused:
        assert "is linked from another file; make a library override of it first" in str(refused), refused
    own = cast.override_hierarchy_create(scene, layer, do_fully_editable=True)
    layer.objects.active = rig = own.objects[0]
    in_view(lambda: bpy.ops.ed.undo_push(message="overridden"))
    rest = [list(bone.matrix_local) for bone in linked.data.bones]
    start()
    yield over
    assert rig.override_library and rig.animation_data.action.name == "clip", told()
    near = miss(rig, camera_of_scene())
    assert near < 2 * _OVER and linked.animation_data is None, near  # another's proportions
    assert rest == [list(bone.matrix_local) for bone in linked.data.bones]
    name, path = rig.name, str(_FOLDER / "shot.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path)
    yield 1.0
    rig = next(obj for obj in bpy.data.objects if obj.name == name and obj.library is None)
    bpy.context.view_layer.objects.active = rig
    in_view(lambda: bpy.ops.video2rig.solve_again("INVOKE_DEFAULT"))
    yield over
    assert rig.animation_data.action.name == "clip.001", told()
    say(f"library override: off by {near:.1%}; saved, opened and solved again")


def state() -> dict[str, Any]:
    """Return what a Solve Again sets."""
    rig, camera = rig_of_scene(), camera_of_scene()
    found: dict[str, Any] = {kind: sorted(getattr(bpy.data, kind).keys()) for kind in ("actions", "objects")}
    found["action"], found["frame"] = rig.animation_data.action.name, bpy.context.scene.frame_current
    found["camera"] = [camera.data.lens, *(list(row) for row in camera.matrix_world)]
    found["limits"] = [[c.min_x, c.max_x] for bone in rig.pose.bones for c in bone.constraints]
    return found


def solve_again() -> Steps:
    """Esc in the middle leaves all as it was; one undo takes all back."""
    yield from new_file()
    start(filepath=VIDEO)
    yield over
    before, chosen = state(), bpy.context.scene.video2rig
    chosen.rom, chosen.smoothing_hz = "athlete", 3.0
    in_view(lambda: bpy.ops.ed.undo_push(message="chosen"))
    job, greeting = module("job"), module("core.greeting")
    for seconds in (0.0, 1.0):
        in_view(lambda: bpy.ops.video2rig.solve_again("INVOKE_DEFAULT"))
        work = job.current
        yield seconds
        assert job.current is work, "it was over before Esc"
        press("ESC")
        yield over
        assert work.done and work.cancelling and state() == before and not told(), (state(), told())
    wanted = job.wanted_from_preferences(bpy.context)
    yield lambda: greeting.probe(job.reach(wanted)).sessions == 0
    say("Solve Again: Esc leaves all as it was, and the server's session is freed")
    in_view(lambda: bpy.ops.video2rig.solve_again("INVOKE_DEFAULT"))
    yield over
    after = state()
    for key in ("action", "camera", "limits"):
        assert after[key] != before[key], f"{key} did not come"
    in_view(bpy.ops.ed.undo)
    yield 0.5
    assert state() == before, "one undo did not take it back"
    in_view(bpy.ops.ed.redo)
    yield 0.5
    assert state() == after, "redo did not bring it back"
    say("Solve Again: undone and redone in one step, camera and limits too")


_LOOK = """
import json, sys, bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[-1])
assert not hasattr(bpy.context.scene, "video2rig"), "the add-on is there"
(rig,) = (obj for obj in bpy.data.objects if obj.type == "ARMATURE")
found = []
for frame in (1, 20, 40):
    bpy.context.scene.frame_set(frame)
    posed = rig.evaluated_get(bpy.context.evaluated_depsgraph_get())
    found.append([[bone.name, list(posed.matrix_world @ bone.head)] for bone in posed.pose.bones])
print("FOUND" + json.dumps(found), flush=True)
"""


def without_the_addon() -> Steps:
    """A saved file, bones in the colours of doubt, in a Blender that has never heard of the add-on."""
    yield from new_file()
    start()
    yield over
    rig, path, script = rig_of_scene(), _FOLDER / "saved.blend", _FOLDER / "look.py"
    assert in_view(bpy.ops.video2rig.colour_doubt) == {"FINISHED"}
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    script.write_text(_LOOK)
    (_FOLDER / "bare").mkdir()
    done = subprocess.run(
        [bpy.app.binary_path, "-b", "--factory-startup", "--python-exit-code", "1", "-P", script, "--", path],
        capture_output=True,
        text=True,
        env={**os.environ, "BLENDER_USER_RESOURCES": str(_FOLDER / "bare")},
    )
    assert done.returncode == 0 and "Error" not in done.stdout + done.stderr, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("FOUND"))
    for frame, found in zip((1, 20, 40), json.loads(line.removeprefix("FOUND")), strict=True):
        here = heads(rig, frame)
        assert max(np.abs(np.subtract(here[name], place)).max() for name, place in found) < 1e-5
    say("without the add-on: the saved file opens, and the motion is there")


def steps() -> Steps:
    """Yield either seconds to wait, or a condition to wait for."""
    install(ZIP)
    press("ESC")  # the splash screen
    yield 1.0
    cut()
    parts: list[Callable[[], Steps]] = [rates, edit_mode, in_hand, override, solve_again, without_the_addon]
    assert not set(PARTS) - {part.__name__ for part in parts}, f"there is no part among {PARTS}"
    for part in parts:
        if not PARTS or part.__name__ in PARTS:
            yield from part()


run(steps())
