# SPDX-License-Identifier: GPL-3.0-or-later
"""``blender -b --command video2rig convert VIDEO -o OUT.blend``: the same work without a window.

Exit codes: 0 done, 1 failed (one line on the standard error says why), 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import bpy

from . import backend_commands, exports, job, keyframes, picture, read_rig, take_scene
from .core import presence, take_files
from .core import settings as core_settings
from .core.errors import Cancelled, Video2RigError
from .core.launcher import find_backend_command
from .follow_job import progress_text
from .preferences import Wanted

DONE, FAILED, INTERRUPTED = 0, 1, 130
_EXPORTS = ("fbx", "glb", "bvh")
_OF_SEVERAL = {"bvh": "; with --person everyone, one file a person: PATH.person1.bvh, PATH.person2.bvh, ..."}
_STAYS = 4  # joints at the end of their range that are told


class SaveError(Video2RigError):
    """A file that could not be written; nothing half-written is left."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    root = argparse.ArgumentParser(
        prog="blender -b --command video2rig", description="Turn a video of people into animated armatures."
    )
    commands = root.add_subparsers(dest="command", required=True)
    convert = commands.add_parser("convert", help="solve a video and save it as a .blend")
    convert.add_argument("video", type=Path, help="a video file, or a folder of images")
    convert.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.blend")
    for kind in _EXPORTS:
        convert.add_argument(
            f"--{kind}",
            nargs="?",
            type=Path,
            const=Path(),
            metavar=f"PATH.{kind}",
            help=f"export as {kind.upper()} too, beside the .blend unless a path is given" + _OF_SEVERAL.get(kind, ""),
        )
    convert.add_argument(
        "--picture", type=Path, metavar="PATH.png", help="draw video, keypoints and armature side by side"
    )
    convert.add_argument(
        "--person",
        metavar="WHO",
        help="largest: the largest person at first, that same one to the end (default). everyone: an armature each. A "
        "number, as `video2rig people` shows them. X,Y@SECONDS: who is at this pixel at this time",
    )
    convert.add_argument(
        "--detector", choices=core_settings.DETECTORS, help="which network finds people: `video2rig models list` tells"
    )
    convert.add_argument(
        "--overwrite", action="store_true", help="replace the .bvh files that `--person everyone` left before"
    )
    convert.add_argument("--json-progress", action="store_true", help="print progress as one JSON object a line")
    convert.add_argument("--height", type=float, metavar="METRES", help="standing height of the person")
    convert.add_argument("--fov", type=float, metavar="DEGREES", help="field of view across the video's longer side")
    convert.add_argument("--smoothing", type=float, metavar="HZ", help="motion slower than this passes unchanged")
    convert.add_argument(
        "--contacts", choices=core_settings.CONTACT_MODES, help="whether feet that rest on the floor are held still"
    )
    convert.add_argument("--device", choices=core_settings.DEVICES, help="where the networks run")
    convert.add_argument("--rom", choices=core_settings.ROM_PROFILES, help="how far joints may turn")
    convert.add_argument(
        "--regression",
        action=argparse.BooleanOptionalAction,
        help="let a network that knows how people move tell what one camera leaves open",
    )
    convert.add_argument(
        "--sparse-keys",
        type=_degrees,
        metavar="DEGREES",
        help="few keys, joined by smooth curves, off by no more at any frame (the hips: 5 mm a degree); else a key a "
        "frame",
    )
    convert.add_argument("--interpolation", choices=("linear", "bezier"), default="linear", help="between keys")
    convert.add_argument(
        "--armature",
        metavar="NAME",
        help="put the motion on this armature of the open file, inside its own limits; implies --keep-scene",
    )
    convert.add_argument(
        "--proportions",
        choices=core_settings.PROPORTIONS,
        help="whose proportions the video shows: the person's, measured, so that the armature takes over the pose "
        "(default), or the armature's, which was built to the person's measures",
    )
    convert.add_argument(
        "--keep-scene",
        action="store_true",
        help="add to the scene that is open instead of an empty one, and leave its frame rate and size alone",
    )
    _add_server_arguments(convert)
    doctor = commands.add_parser("doctor", help="tell what is installed and whether a solver can be reached")
    _add_server_arguments(doctor)
    backend_commands.add_commands(commands)
    return root


def _degrees(text: str) -> float:
    value = float(text)
    if not 0 < value <= 45:
        raise argparse.ArgumentTypeError(f"{text} is no tolerance: more than 0 and at most 45 degrees")
    return value


def _add_server_arguments(to: argparse.ArgumentParser) -> None:
    to.add_argument("--backend", metavar="COMMAND", help="the backend's video2rig program")
    to.add_argument("--connection", type=Path, metavar="FILE", help="connection file of a server that runs already")


def run(argv: Sequence[str]) -> int:
    """Carry out a command line and return its exit code."""
    try:
        arguments = parser().parse_args(list(argv))
    except SystemExit as stop:
        return int(stop.code or 0)
    say = _json_line if getattr(arguments, "json_progress", False) else _text_line
    try:
        if arguments.command in ("convert", "doctor"):
            return convert(arguments, say) if arguments.command == "convert" else doctor(arguments)
        for line in backend_commands.run_command(arguments):
            print(f"video2rig: {line}", flush=True)
        return DONE
    except Cancelled:
        say("cancelled", {"message": "interrupted; nothing was written"})
        return INTERRUPTED
    except Video2RigError as error:
        say("error", {"message": str(error)})
        return FAILED
    finally:
        job.shutdown()


def convert(arguments: argparse.Namespace, say: Callable[[str, dict[str, object]], None]) -> int:
    """Solve, place, export, draw and save."""
    started = time.perf_counter()
    targets = _targets(arguments)
    settings = core_settings.Settings.from_json(
        {
            key: value
            for key, value in {
                "person": arguments.person,
                "detector": arguments.detector,
                "height": arguments.height,
                "field_of_view": None if arguments.fov is None else math.radians(arguments.fov),
                "smoothing_hz": arguments.smoothing,
                "contacts": arguments.contacts,
                "device": arguments.device,
                "rom": arguments.rom,
                "proportions": arguments.proportions,
                "regression": arguments.regression,
            }.items()
            if value is not None
        }
    )
    several = settings.choice().kind == "everyone"
    if several and "bvh" in targets and not arguments.overwrite:
        take_files.refuse_former(targets["bvh"])
    onto = None if arguments.armature is None else read_rig.armature_named(arguments.armature)
    skeleton = None if onto is None else read_rig.skeleton_to_solve(onto, settings.rom)
    if onto is not None and skeleton is not None:
        say("notice", {"message": read_rig.told_of(onto, skeleton)})
    keep_scene = arguments.keep_scene or onto is not None
    work = job.Job(arguments.video.absolute(), settings, _wanted(arguments), skeleton)

    def report(progress: job.Progress) -> None:
        for notice in work.take_notices():
            say("notice", {"message": notice})
        say("progress", {**progress._asdict(), "text": progress_text(progress)})

    takes = job.solve_blocking(work, report)
    for notice in work.take_notices():
        say("notice", {"message": notice})
    if not keep_scene:
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    context = bpy.context
    placed = take_scene.place(
        context,
        takes,
        work.source.info,
        match=not keep_scene,
        interpolation=arguments.interpolation.upper(),
        bound=None if arguments.sparse_keys is None else math.radians(arguments.sparse_keys),
        onto=onto,
    )
    for notice in placed.notices:
        say("notice", {"message": notice})
    files = _exported(targets, [actor.take.person for actor in placed.actors] if several else [])
    with ExitStack() as stack:
        drafts = [(kind, number, stack.enter_context(_Draft(path))) for kind, number, path in files]
        for kind, number, draft in drafts:
            if kind == "picture":
                actors = [(actor.rig, actor.take) for actor in placed.actors]
                picture.draw(context, actors, work.source, draft.path, clock=placed.clock)
            elif kind == "blend":
                _save(draft.path)
            else:
                wanted = [actor.rig for actor in placed.actors if number in (None, actor.take.person)]
                exports.export(context, wanted, draft.path)
        for _, _, draft in drafts:
            draft.publish()
    if several and "bvh" in targets:
        take_files.remove_former(targets["bvh"], [path for _, _, path in files])
    say(
        "done",
        {
            "files": [str(path) for _, _, path in files],
            "frames": len(takes[0].motion),
            "seconds": round(time.perf_counter() - started, 1),
            "device": takes[0].motion.provenance.get("device", ""),
            "people": [
                {
                    "person": actor.take.person,
                    "armature": actor.rig.name,
                    **presence.presence(actor.take.keypoints)._asdict(),
                    "at_bounds": keyframes.at_bounds(actor.action),
                }
                for actor in placed.actors
            ],
        },
    )
    return DONE


def _exported(targets: dict[str, Path], people: list[int]) -> list[tuple[str, int | None, Path]]:
    """Return the files to write: kind, the number of the person whom it holds or None for all, and path.

    Args:
        targets: By kind. people: Numbers, where there may be several.
    """
    files: list[tuple[str, int | None, Path]] = []
    for kind in (*_EXPORTS, "picture", "blend"):
        if kind == "bvh" and kind in targets and people:
            files += [(kind, number, take_files.path_of(targets[kind], number)) for number in people]
        elif kind in targets:
            files.append((kind, None, targets[kind]))
    return files


def doctor(arguments: argparse.Namespace) -> int:
    """Tell what the add-on has and whether its solver answers."""
    import cv2
    import zmq

    python = ".".join(map(str, sys.version_info[:3]))
    print(f"Blender {bpy.app.version_string}, Python {python}, pyzmq {zmq.__version__}, OpenCV {cv2.__version__}")
    print(f"online access: {'allowed' if bpy.app.online_access else 'off; loopback works all the same'}")
    wanted = _wanted(arguments)
    if wanted.remote is None:
        print(f"backend command: {' '.join(find_backend_command(wanted.command))}")
    server = job.reach(wanted)
    print(f"server: answers at {server.control_endpoint}, version {server.version}")
    return DONE


def _wanted(arguments: argparse.Namespace) -> Wanted:
    if arguments.connection is not None:
        return Wanted.remote_from(arguments.connection)
    preferred = job.wanted_from_preferences(bpy.context)
    return preferred if arguments.backend is None else Wanted(arguments.backend, None)


def _targets(arguments: argparse.Namespace) -> dict[str, Path]:
    """Return the files to write by kind, all of them known to be possible.

    Raises:
        SaveError: An ending is wrong, or a folder does not exist.
    """
    output = arguments.output.absolute()
    targets = {"blend": output}
    for kind in _EXPORTS:
        path = getattr(arguments, kind)
        if path is not None:
            targets[kind] = output.with_suffix(f".{kind}") if path == Path() else path.absolute()
    if arguments.picture is not None:
        targets["picture"] = arguments.picture.absolute()
    for kind, path in targets.items():
        ending = ".png" if kind == "picture" else f".{kind}"
        if path.suffix.lower() != ending:
            raise SaveError(f"{path.name} cannot be written: its name must end in {ending}")
        if not path.parent.is_dir():
            raise SaveError(f"{path.name} cannot be written: there is no folder {path.parent}")
        if path.is_dir():
            raise SaveError(f"{path} cannot be written: it is a folder")
        with _Draft(path):  # not after minutes of solving
            pass
    return targets


class _Draft:
    """A file written in a folder of its own beside its target, and moved there only when everything is whole."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> _Draft:
        try:
            self._folder = tempfile.TemporaryDirectory(prefix=".video2rig-", dir=self._target.parent)
        except OSError as error:
            raise SaveError(f"{self._target} cannot be written: {error.strerror or error}") from error
        self.path = Path(self._folder.name) / self._target.name
        return self

    def publish(self) -> None:
        """Move the file to its target."""
        try:
            os.replace(self.path, self._target)
        except OSError as error:
            raise SaveError(f"{self._target} cannot be written: {error.strerror or error}") from error

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _save(path: Path) -> None:
    """Save the file, uncompressed, and see that it is whole.

    Raises:
        SaveError: Blender could not write all of it; from 5.0 on it does not tell so itself.
    """
    try:
        bpy.ops.wm.save_as_mainfile(
            filepath=str(path), copy=True, check_existing=False, relative_remap=False, compress=False
        )
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), os.SEEK_END)
            whole = b"ENDB" in file.read()  # the block that ends every .blend
    except (RuntimeError, OSError) as error:
        raise SaveError(f"{path.name} cannot be saved: {str(error).strip().removeprefix('Error: ')}") from error
    if not whole:
        raise SaveError(f"{path.name} cannot be saved whole: is the disk full?")


def _text_line(kind: str, facts: dict[str, object]) -> None:
    if kind == "progress":
        print(f"video2rig: {facts['text']}", flush=True)
    elif kind == "done":
        files = ", ".join(map(str, facts["files"]))  # type: ignore[call-overload]
        print(f"video2rig: {facts['frames']} frames in {facts['seconds']} s on {facts['device']}: {files}", flush=True)
        for one in facts["people"]:  # type: ignore[attr-defined]
            seen = presence.Presence(one["first"], one["last"], one["share"])
            print(f"video2rig: person {one['person']}: {one['armature']}, {seen}", flush=True)
            for stay in one["at_bounds"][:_STAYS]:
                print(f"video2rig: {stay['title']} at the end of its range for {stay['seconds']:.1f} s", flush=True)
    else:
        print(f"video2rig: {facts['message']}", file=sys.stderr, flush=True)


def _json_line(kind: str, facts: dict[str, object]) -> None:
    print(json.dumps({"event": kind, **facts}), flush=True)
    if kind == "error":
        _text_line(kind, facts)
