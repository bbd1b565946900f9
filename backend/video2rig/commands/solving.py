# SPDX-License-Identifier: GPL-3.0-or-later
"""`solve`, `live` and `people`: a video or a camera becomes takes."""

from __future__ import annotations

import argparse
import math
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import Settings, SettingsError
from .options import add_json_progress, add_network_arguments, add_solve_arguments, add_video_arguments, settings_of
from .terminal import GlanceLine, ProgressLine, say

if TYPE_CHECKING:
    from ..frames import VideoSource
    from ..pipeline import Pipeline

_LINES = 4  # of the report that ends a solve


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    solve = commands.add_parser("solve", help="solve a video to a take, without Blender")
    solve.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="TAKE.npz",
        help="with --person everyone, one file a person: TAKE.person1.npz, TAKE.person2.npz, ...",
    )
    add_video_arguments(solve)
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
    add_solve_arguments(solve)
    add_json_progress(solve)
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
    add_network_arguments(live)
    add_solve_arguments(live)
    add_json_progress(live)
    live.set_defaults(run=_live)

    people = commands.add_parser(
        "people", help="show who is in a video, with the numbers and points by which solve --person takes them"
    )
    people.add_argument("-o", "--output", type=Path, required=True, metavar="PEOPLE.png")
    add_video_arguments(people)
    add_json_progress(people)
    people.set_defaults(run=_people)


def _solve(options: argparse.Namespace) -> int:
    from ..bounds import find_at_bounds, summary
    from ..files import check_writable
    from ..presence import presence
    from ..take_files import path_of, refuse_former, remove_former

    settings = settings_of(options, options.person)
    check_writable(options.output)
    several = settings.choice().kind == "everyone"
    if several and not options.overwrite:
        refuse_former(options.output)
    source, pipeline = _opened(options, settings)
    with closing(ProgressLine(options.json_progress)) as progress:
        pipeline.push_all(source, progress)
        takes = pipeline.solve(progress)
    for notice in pipeline.notices:
        say(notice)
    for take in takes:
        path = path_of(options.output, take.person) if several else options.output
        take.save(path)
        say(f"person {take.person}: {presence(take.keypoints)}")
        for line in summary(find_at_bounds(take.motion), _LINES):
            say(line)
        say(f"wrote {path}")
    if several:
        remove_former(options.output, [path_of(options.output, take.person) for take in takes])
    return 0


def _live(options: argparse.Namespace) -> int:
    from ..files import check_writable
    from ..live.recorded import record, solve
    from ..live_source import open_live
    from ..pipeline import Backend
    from ..presence import presence

    settings = settings_of(options, "largest")
    check_writable(options.output)
    backend = Backend(settings.device)
    say(backend.notice)
    with open_live(options.source) as source:
        say(f"{source.name}, {source.width}x{source.height}; Ctrl-C ends the recording")
        with closing(GlanceLine()) as line:
            recording = record(source, settings, backend, lambda seconds: seconds >= options.seconds, line)
    with closing(ProgressLine(options.json_progress)) as progress:
        take = solve(recording, settings, backend, progress)
    take.save(options.output)
    say(str(presence(take.keypoints)))
    say(f"wrote {options.output}")
    return 0


def _people(options: argparse.Namespace) -> int:
    import cv2

    from ..contact_sheet import contact_sheet, point_on, telling_frames
    from ..files import FileError, check_writable, replacing
    from ..presence import clarity, presence
    from ..stillness import stillness

    settings = Settings(device=options.device, detector=options.detector, person="everyone", regression=False)
    if options.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise FileError(f"{options.output} cannot be written: its name must end in .png or .jpg")
    check_writable(options.output)
    source, pipeline = _opened(options, settings)
    with closing(ProgressLine(options.json_progress)) as progress:
        pipeline.push_all(source, progress)
    people = dict(pipeline.people())
    picture = cv2.cvtColor(contact_sheet(source, people, telling_frames(people)), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(options.output.suffix.lower(), picture)
    with replacing(options.output) as file:
        file.write(data.tobytes())
    for number, keypoints in people.items():
        frame = int(clarity(keypoints).argmax())
        x, y = point_on(keypoints, frame)
        where = f"{x:.0f},{y:.0f}@{keypoints.times[frame]:.3f}"
        still = stillness(keypoints)
        note = "" if still is None else f"; {still}"
        print(f"person {number}: {presence(keypoints)}{note}; --person {number}, or --person {where}")
    say(f"wrote {options.output}")
    return 0


def _opened(options: argparse.Namespace, settings: Settings) -> tuple[VideoSource, Pipeline]:
    """Open the video, and make what is to look at it."""
    from ..frames import open_video
    from ..pipeline import Backend, Pipeline

    if options.fps is not None and not options.video.is_dir():
        raise SettingsError("--fps is for a folder of images; a video tells its own times")
    source = open_video(options.video, fps=options.fps)
    backend = Backend(settings.device)
    say(backend.notice)
    return source, Pipeline(settings, source.info.facts(), backend)
