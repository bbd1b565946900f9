# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: ``video2rig solve | live | people | report | export | joints | serve | models | doctor | ...``."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import __version__
from .errors import Video2RigError
from .settings import CONTACT_MODES, DETECTORS, DEVICES, ROM_PROFILES, Settings, SettingsError

if TYPE_CHECKING:
    from .frames import VideoSource


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        The exit code: 0 done, 1 an error that was told in one line, 2 wrong usage, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except Video2RigError as error:
        print(f"video2rig: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("video2rig: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="video2rig", description=__doc__)
    parser.add_argument("--version", action="version", version=f"video2rig {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    solve = commands.add_parser("solve", help="solve a video to a take, without Blender")
    solve.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="TAKE.npz",
        help="with --person everyone, one file a person: TAKE.person1.npz, TAKE.person2.npz, ...",
    )
    _add_video_arguments(solve)
    solve.add_argument(
        "--person",
        metavar="WHO",
        default=Settings.person,
        help="largest: the largest person at first, that same one to the end (default). everyone: a take each. A "
        "number, as `video2rig people` shows them. X,Y@SECONDS: who is at this pixel at this time",
    )
    solve.add_argument(
        "--overwrite", action="store_true", help="replace the takes that `--person everyone` left before"
    )
    _add_solve_arguments(solve)
    solve.add_argument("--json-progress", action="store_true", help="one JSON object a line on standard output")
    solve.set_defaults(run=_solve)

    live = commands.add_parser("live", help="record from a camera, the screen or a stream, and solve it to a take")
    live.add_argument(
        "--source",
        default="0",
        help="a camera's number (default: %(default)s); screen, screen:2 or screen:LEFT,TOP,WIDTH,HEIGHT; a stream's "
        "address; or a video, played at its own pace",
    )
    live.add_argument("-o", "--output", type=Path, required=True, metavar="TAKE.npz")
    live.add_argument(
        "--seconds", type=float, default=math.inf, metavar="S", help="how long to record (default: until Ctrl-C)"
    )
    _add_network_arguments(live)
    _add_solve_arguments(live)
    live.add_argument("--json-progress", action="store_true", help="one JSON object a line on standard output")
    live.set_defaults(run=_live)

    people = commands.add_parser(
        "people", help="show who is in a video, with the numbers and points by which solve --person takes them"
    )
    people.add_argument("-o", "--output", type=Path, required=True, metavar="PEOPLE.png")
    _add_video_arguments(people)
    people.add_argument("--json-progress", action="store_true", help="one JSON object a line on standard output")
    people.set_defaults(run=_people)

    report = commands.add_parser("report", help="tell which joints sat at the end of their range, when and how long")
    report.add_argument("take", type=Path, metavar="TAKE.npz")
    report.add_argument("--json", action="store_true")
    report.set_defaults(run=_report)

    export = commands.add_parser("export", help="write a take for other programs, in the format of the suffix")
    export.add_argument("take", type=Path, metavar="TAKE.npz")
    export.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help=".mot, .csv: joint angles under OpenSim's names; .trc: the body's keypoints; .bvh: the moving skeleton",
    )
    export.set_defaults(run=_export)

    joints = commands.add_parser("joints", help="write a take's joint positions as a plain .npz")
    joints.add_argument("take", type=Path, metavar="TAKE.npz")
    joints.add_argument("-o", "--output", type=Path, required=True, metavar="JOINTS.npz")
    joints.set_defaults(run=_joints)

    serve = commands.add_parser("serve", help="serve Blender's add-on")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    serve.add_argument("--port", type=int, default=0, help="first of two ports; 0 takes free ones")
    serve.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run")
    serve.add_argument("--authorized-keys", type=Path, help="public keys of clients, one a line; needed off loopback")
    serve.add_argument("--connection-file", type=Path, help="where to write how to connect")
    serve.add_argument("--parent-pid", type=int, help="stop when this process ends")
    serve.set_defaults(run=_serve)

    models = commands.add_parser("models", help="list the detectors, or add the weights of one")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="what there is: keypoints, licence, size, accuracy, where the weights are")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=_list_models)
    add = actions.add_parser("add", help="take a file of weights that is not fetched, and show its licence")
    add.add_argument("name", metavar="DETECTOR", help="as `models list` names it")
    add.add_argument("file", type=Path, metavar="FILE", help="the file, or the .zip that holds it")
    add.set_defaults(run=_add_model)

    fetch = commands.add_parser("fetch", help="fetch a detector's weights, and show their licence")
    fetch.add_argument("name", metavar="DETECTOR", help="as `models list` names it")
    fetch.set_defaults(run=_fetch)

    doctor = commands.add_parser("doctor", help="tell what is installed, and what is wrong")
    doctor.add_argument("--json", action="store_true")
    doctor.add_argument("--device", choices=DEVICES, default="auto", help="where the networks should run")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_video_arguments(to: argparse.ArgumentParser) -> None:
    to.add_argument("video", type=Path, help="a video file, or a folder of images")
    to.add_argument("--fps", type=float, help="frames a second of a folder of images")
    _add_network_arguments(to)


def _add_network_arguments(to: argparse.ArgumentParser) -> None:
    to.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run")
    to.add_argument("--detector", choices=DETECTORS, default=Settings.detector, help="`models list` tells of each")


def _add_solve_arguments(to: argparse.ArgumentParser) -> None:
    to.add_argument("--height", type=float, metavar="M", help="standing height of the person, metres")
    to.add_argument(
        "--fov", type=float, metavar="DEG", help="field of view across the longer side of the picture, degrees"
    )
    to.add_argument("--tilt", type=float, metavar="DEG", help="how far the camera looks down, degrees")
    to.add_argument(
        "--smoothing",
        type=_hertz,
        metavar="HZ",
        default=Settings.smoothing_hz,
        help="cut-off, hertz, or 'auto' to estimate it from the motion (default: %(default)s)",
    )
    to.add_argument("--contacts", choices=CONTACT_MODES, default="auto", help="hold feet that rest on the floor")
    to.add_argument("--rom", choices=ROM_PROFILES, default=Settings.rom, help="how far joints may turn")
    to.add_argument(
        "--regression",
        action=argparse.BooleanOptionalAction,
        default=Settings.regression,
        help="let a network that knows how people move tell what one camera leaves open (default: %(default)s)",
    )


def _degrees(value: float | None) -> float | None:
    return None if value is None else math.radians(value)


def _hertz(text: str) -> float | None:
    return None if text == "auto" else float(text)


class _ProgressLine:
    """Progress on a terminal, or as JSON lines."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._stage = ""
        self._begin = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            if self._stage and not self._as_json:
                print(file=sys.stderr)
            self._stage, self._begin = stage, now
        rate = done / (now - self._begin) if now > self._begin else 0.0
        if self._as_json:
            print(json.dumps({"stage": stage, "done": done, "total": total, "fps": round(rate, 2)}), flush=True)
        else:
            print(f"\r{stage}: {done}/{total} frames, {rate:.1f} frames/s   ", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._stage and not self._as_json:
            print(file=sys.stderr)


_LINES = 4  # of the report that ends a solve


def _solve(options: argparse.Namespace) -> int:
    from .bounds import find_at_bounds, summary
    from .files import check_writable
    from .pipeline import Backend, Pipeline
    from .presence import presence
    from .take_files import path_of, refuse_former, remove_former

    settings = _settings(options, options.person)
    check_writable(options.output)
    several = settings.choice().kind == "everyone"
    if several and not options.overwrite:
        refuse_former(options.output)
    source = _open(options)
    backend = Backend(settings.device)
    print(f"video2rig: {backend.notice}", file=sys.stderr)
    pipeline = Pipeline(settings, source.info.facts(), backend)
    progress = _ProgressLine(options.json_progress)
    try:
        pipeline.push_all(source, progress)
        takes = pipeline.solve(progress)
    finally:
        progress.close()  # an error's line begins a line
    for notice in pipeline.notices:
        print(f"video2rig: {notice}", file=sys.stderr)
    for take in takes:
        path = path_of(options.output, take.person) if several else options.output
        take.save(path)
        print(f"video2rig: person {take.person}: {presence(take.keypoints)}", file=sys.stderr)
        for line in summary(find_at_bounds(take.motion), _LINES):
            print(f"video2rig: {line}", file=sys.stderr)
        print(f"video2rig: wrote {path}", file=sys.stderr)
    if several:
        remove_former(options.output, [path_of(options.output, take.person) for take in takes])
    return 0


def _settings(options: argparse.Namespace, person: str) -> Settings:
    return Settings(
        device=options.device,
        detector=options.detector,
        person=person,
        smoothing_hz=options.smoothing,
        height=options.height,
        field_of_view=_degrees(options.fov),
        tilt=_degrees(options.tilt),
        contacts=options.contacts,
        rom=options.rom,
        regression=options.regression,
    )


def _live(options: argparse.Namespace) -> int:
    from .files import check_writable
    from .live.recorded import GlanceLine, record, solve
    from .live_source import open_live
    from .pipeline import Backend
    from .presence import presence

    settings = _settings(options, "largest")
    check_writable(options.output)
    backend = Backend(settings.device)
    print(f"video2rig: {backend.notice}", file=sys.stderr)
    with open_live(options.source) as source:
        print(f"video2rig: {source.name}, {source.width}x{source.height}; Ctrl-C ends the recording", file=sys.stderr)
        line = GlanceLine()
        try:
            recording = record(source, settings, backend, lambda seconds: seconds >= options.seconds, line)
        finally:
            line.close()
    progress = _ProgressLine(options.json_progress)
    try:
        take = solve(recording, settings, backend, progress)
    finally:
        progress.close()
    take.save(options.output)
    print(f"video2rig: {presence(take.keypoints)}", file=sys.stderr)
    print(f"video2rig: wrote {options.output}", file=sys.stderr)
    return 0


def _people(options: argparse.Namespace) -> int:
    import cv2

    from .contact_sheet import contact_sheet, point_on, telling_frames
    from .files import FileError, check_writable, replacing
    from .pipeline import Backend, Pipeline
    from .presence import clarity, presence

    settings = Settings(device=options.device, detector=options.detector, person="everyone", regression=False)
    if options.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise FileError(f"{options.output} cannot be written: its name must end in .png or .jpg")
    check_writable(options.output)
    source = _open(options)
    backend = Backend(settings.device)
    print(f"video2rig: {backend.notice}", file=sys.stderr)
    pipeline = Pipeline(settings, source.info.facts(), backend)
    progress = _ProgressLine(options.json_progress)
    try:
        pipeline.push_all(source, progress)
    finally:
        progress.close()
    people = dict(pipeline.people())
    picture = cv2.cvtColor(contact_sheet(source, people, telling_frames(people)), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(options.output.suffix.lower(), picture)
    with replacing(options.output) as file:
        file.write(data.tobytes())
    for number, keypoints in people.items():
        frame = int(clarity(keypoints).argmax())
        x, y = point_on(keypoints, frame)
        where = f"{x:.0f},{y:.0f}@{keypoints.times[frame]:.3f}"
        print(f"person {number}: {presence(keypoints)}; --person {number}, or --person {where}")
    print(f"video2rig: wrote {options.output}", file=sys.stderr)
    return 0


def _open(options: argparse.Namespace) -> VideoSource:
    from .frames import open_video

    if options.fps is not None and not options.video.is_dir():
        raise SettingsError("--fps is for a folder of images; a video tells its own times")
    return open_video(options.video, fps=options.fps)


def _export(options: argparse.Namespace) -> int:
    from .formats.export import check_format, export
    from .take import Take

    check_format(options.output)
    export(Take.load(options.take), options.output)
    return 0


def _report(options: argparse.Namespace) -> int:
    from .bounds import SHORTEST, TOLERANCE, find_at_bounds, summary, to_json
    from .take import Take

    motion = Take.load(options.take).motion
    found = find_at_bounds(motion)
    if options.json:
        facts = {
            "frames": len(motion),
            "tolerance_degrees": math.degrees(TOLERANCE),
            "shortest_seconds": SHORTEST,
            "at_bounds": to_json(found),
        }
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(summary(found)))
    return 0


def _joints(options: argparse.Namespace) -> int:
    from .formats.joints import write_joints
    from .take import Take

    write_joints(Take.load(options.take), options.output)
    return 0


def _serve(options: argparse.Namespace) -> int:
    from .server import serve

    return serve(
        host=options.host,
        port=options.port,
        device=options.device,
        authorized_keys=options.authorized_keys,
        connection_path=options.connection_file,
        parent_pid=options.parent_pid,
    )


def _list_models(options: argparse.Namespace) -> int:
    from .detection import catalogue

    lines = catalogue.status()
    as_json = [line.to_json() for line in lines]
    print(json.dumps(as_json, indent=2) if options.json else catalogue.format_status(lines))
    return 0


def _add_model(options: argparse.Namespace) -> int:
    from .detection import catalogue

    print("\n".join(catalogue.licences(options.name)))
    print(f"added: {catalogue.add(options.name, options.file)}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from .detection import catalogue

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("\n".join(catalogue.licences(options.name)))
    for name, path in catalogue.fetch(options.name).items():
        print(f"{name}: {path}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import format_report, report

    facts = report(options.device)
    print(json.dumps(facts, indent=2) if options.json else format_report(facts))
    return 1 if facts["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
