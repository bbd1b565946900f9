# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend from within Blender: install, repair, remove, ask the doctor, test a remote one.

Operators and command-line subcommands over the same functions. In a window they start work on a thread and return;
in background mode, and when called from a script, they wait for it.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import bpy
from bpy.props import StringProperty
from bpy.types import Operator

from . import job, preferences, worker
from .core import __version__, bundling, child, installation, installer
from .core.errors import Video2RigError
from .core.installer import Progress, Request
from .core.launcher import COMMAND, LaunchError, find_backend_command
from .core.link import probe

_WIDTH = 100  # characters of a line in a popup
REPORT = "Video2Rig Doctor"
LOG = "Video2Rig Installation"
"""Names of the text blocks."""


class BackendError(Video2RigError):
    """The backend cannot be installed or asked now."""


def wheel() -> Path:
    """Return the backend's wheel, which the add-on brings.

    Raises:
        BackendError: It is not there.
    """
    found = list((Path(__file__).parent / "environment").glob("video2rig-*.whl"))
    if len(found) != 1:
        raise BackendError("the add-on does not bring the backend's wheel; install the add-on anew from its zip")
    return found[0]


def request_of(chosen: preferences.VIDEO2RIG_preferences, offline: str = "") -> Request:
    """Return what the preferences ask to be installed.

    Args:
        chosen: The preferences. offline: A bundle that takes precedence over theirs.

    Raises:
        BackendError: A video is being solved, or the network is needed while Blender is set to stay offline.
    """
    check_idle()
    named = offline or chosen.bundle
    if not named:
        check_online()
    return Request(
        wheel(),
        device=chosen.install_device,
        bundle=Path(bpy.path.abspath(named)) if named else None,
        index=chosen.package_index.strip(),
        python=bpy.path.abspath(chosen.python) if chosen.python else "",
        blender_python=sys.executable,
    )


def check_idle() -> None:
    """Leave a backend that works alone.

    Raises:
        BackendError: A video is being solved.
    """
    if job.current is not None:
        raise BackendError("a video is being solved; wait for it, or cancel it")


def check_online() -> None:
    """Respect Blender's choice to stay offline.

    Raises:
        BackendError: It is set to stay offline.
    """
    if not bpy.app.online_access:
        raise BackendError(
            "the installation downloads packages, and Blender is set to stay offline; allow online access under "
            "Preferences > System > Network (or start Blender with --online-mode), or install from an offline bundle"
        )


def install(request: Request) -> worker.Task:
    """Return the task that installs the backend."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        job.stop_server()  # an old backend's server would go on answering
        done = installer.install(request, report, cancelled)
        return [
            f"Installed {done.version} ({done.bytes / 1e9:.1f} GB) in {done.root}",
            f"{done.computes[:1].upper()}{done.computes[1:]}",
            f"Python {done.python}; packages from {done.source}",
            *(f"Note: {note}" for note in done.notes),
        ]

    return task


def remove() -> worker.Task:
    """Return the task that removes what was installed."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        report(Progress("Removing", 0.5, ""))
        job.stop_server()
        left = installation.remove()
        return ["Removed", *(f"Not ours, left alone: {path}" for path in left)]

    return task


def ask_doctor(wanted: preferences.Wanted) -> worker.Task:
    """Return the task that asks how everything is: Blender's side, and `video2rig doctor` or the remote server."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        report(Progress("Asking the doctor", 0.5, ""))
        lines = blender_lines()
        if wanted.remote is not None:
            return [*lines, *connection_lines(wanted)]
        program = find_backend_command(wanted.command)
        ended = child.run(
            [*program, "doctor"], folder=Path.home(), environment=child.clean_environment(), cancelled=cancelled
        )
        return [*lines, f"command     {' '.join(program)}", *ended.lines]

    return task


def test_connection(wanted: preferences.Wanted) -> worker.Task:
    """Return the task that asks a remote server who it is."""

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        report(Progress("Connecting", 0.5, ""))
        return connection_lines(wanted)

    return task


def blender_lines() -> list[str]:
    """Return what Blender's side consists of."""
    import cv2
    import zmq

    python = ".".join(map(str, sys.version_info[:3]))
    online = "allowed" if bpy.app.online_access else "off; a backend on this computer works all the same"
    return [
        f"add-on      {__version__}, Blender {bpy.app.version_string}, Python {python}, "
        f"pyzmq {zmq.__version__}, OpenCV {cv2.__version__}",
        f"online      {online}",
    ]


def connection_lines(wanted: preferences.Wanted) -> list[str]:
    """Return who answers at a remote connection.

    Raises:
        Video2RigError: Nobody does, it refuses this key, or speaks another version.
    """
    assert wanted.remote is not None
    welcome = probe(wanted.remote)
    lines = [
        f"The server at {wanted.remote.control_endpoint} answers in {welcome.latency * 1000:.1f} ms",
        f"Version {welcome.package}, {welcome.device}, {welcome.sessions} sessions",
    ]
    if welcome.package != __version__:
        lines.append(f"Note: the add-on is {__version__}; install the same version on both sides")
    return lines


def state(context: bpy.types.Context) -> tuple[str, str]:
    """Return how the backend of this computer stands, as a word and in words.

    The word is "remote", "absent", "broken", "outdated", "installed" (by the add-on), "named" (by the user, or on the
    PATH), or "misnamed".
    """
    chosen = preferences.of(context)
    if chosen.connection_file:
        return "remote", "A remote backend is used"
    try:
        found = None if chosen.named_command() else installation.find_installed()
        command = find_backend_command(chosen.named_command())
    except LaunchError as error:
        if chosen.named_command() or os.environ.get(COMMAND):
            return "misnamed", str(error)
        return ("broken" if found else "absent"), str(error)
    except Video2RigError as error:
        return "broken", str(error)
    if found is None or command != [str(found.program)]:
        return "named", f"Used: {' '.join(command)}"
    if _outdated(found):
        return "outdated", f"The backend is {found.version}, and not the one that this add-on brings"
    return "installed", f"{found.version}, {found.computes}"


_checked: dict[str, bool] = {}


def _outdated(found: installation.Installed) -> bool:
    """Whether the add-on brings another backend; its wheel is read once."""
    if found.wheel_sha256 not in _checked:
        _checked[found.wheel_sha256] = installer.needs_update(found, wheel())
    return _checked[found.wheel_sha256]


class _Working:
    """An operator that starts work."""

    title = ""

    def make(self, context: bpy.types.Context) -> worker.Task:
        raise NotImplementedError

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start the work; the panels follow it."""
        return self._begin(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do the work and wait for it."""
        try:
            work = worker.run_blocking(worker.Work(self.title, self.make(context), self.finished))
        except Video2RigError as error:
            return self._fail(str(error))
        if work.error:
            return self._fail(work.error)
        for line in work.lines:
            self.report({"INFO"}, line)  # type: ignore[attr-defined]
        return {"CANCELLED"} if work.cancelling else {"FINISHED"}

    @staticmethod
    def finished(work: worker.Work) -> None:
        """What to do on the main thread at the end."""

    def _begin(self, context: bpy.types.Context) -> set[str]:
        try:
            worker.begin(worker.Work(self.title, self.make(context), self.finished))
        except Video2RigError as error:
            return self._fail(str(error))
        return {"FINISHED"}

    def _fail(self, why: str) -> set[str]:
        self.report({"ERROR"}, why)  # type: ignore[attr-defined]
        return {"CANCELLED"}


class VIDEO2RIG_OT_install_backend(_Working, Operator):
    """Install the backend into a folder of its own, outside Blender: PyTorch, the networks and the solver"""

    bl_idname = "video2rig.install_backend"
    bl_label = "Install Backend"
    title = "The installation"

    bundle: StringProperty(  # type: ignore[valid-type]
        name="Offline Bundle",
        description="A zip or folder to install from; empty takes the one of the preferences, else the network",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )

    def make(self, context: bpy.types.Context) -> worker.Task:
        return install(request_of(preferences.of(context), self.bundle))


class VIDEO2RIG_OT_remove_backend(_Working, Operator):
    """Remove the backend that the add-on installed; nothing else is touched"""

    bl_idname = "video2rig.remove_backend"
    bl_label = "Remove Backend"
    title = "The removal"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the work once it was confirmed; in background mode, wait for it."""
        return super().execute(context) if bpy.app.background else self._begin(context)

    def make(self, context: bpy.types.Context) -> worker.Task:
        check_idle()
        return remove()


class VIDEO2RIG_OT_doctor(_Working, Operator):
    """Tell what is installed, what will compute, which weights are here, and whether a server answers"""

    bl_idname = "video2rig.doctor"
    bl_label = "Doctor"
    title = "The doctor"

    def make(self, context: bpy.types.Context) -> worker.Task:
        return ask_doctor(preferences.of(context).wanted())

    @staticmethod
    def finished(work: worker.Work) -> None:
        """Keep the report as a text block, and show it."""
        write_text(REPORT, work.lines or [work.error])
        popup(REPORT, work.lines or [work.error])


class VIDEO2RIG_OT_test_connection(_Working, Operator):
    """Ask the remote backend who it is: its version, its device, how long an answer takes"""

    bl_idname = "video2rig.test_connection"
    bl_label = "Test Connection"
    title = "The connection test"

    def make(self, context: bpy.types.Context) -> worker.Task:
        wanted = preferences.of(context).wanted()
        if wanted.remote is None:
            raise BackendError("name the remote backend's connection file first")
        return test_connection(wanted)


class VIDEO2RIG_OT_cancel_work(Operator):
    """End it; nothing half-done stays"""

    bl_idname = "video2rig.cancel_work"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the work to end."""
        if worker.current is not None:
            worker.current.cancel()
        return {"FINISHED"}


class VIDEO2RIG_OT_show_log(Operator):
    """Open the log of the last installation as a text block"""

    bl_idname = "video2rig.show_log"
    bl_label = "Log"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Read it and show where it is."""
        path = installation.default_root() / installation.LOG
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError as error:
            self.report({"ERROR"}, f"{path}: {error.strerror or error}")
            return {"CANCELLED"}
        write_text(LOG, lines)
        popup(LOG, [*lines[-20:], f"All of it: the text block {LOG}, and {path}"])
        return {"FINISHED"}


def write_text(name: str, lines: Sequence[str]) -> None:
    """Put lines into a text block, in place of what it held."""
    text = bpy.data.texts.get(name) or bpy.data.texts.new(name)
    text.from_string("\n".join(lines))


def popup(title: str, lines: Sequence[str]) -> None:
    """Show lines in a window, if there is one."""
    manager = bpy.context.window_manager
    if bpy.app.background or manager is None or not manager.windows:
        return

    def draw(self: bpy.types.Menu, context: bpy.types.Context) -> None:
        for line in lines:
            for part in textwrap.wrap(line, _WIDTH, subsequent_indent="        ", drop_whitespace=False):
                self.layout.label(text=part)

    # a timer has no window of its own; the preferences lie over the others
    asked = [window for window in manager.windows if any(area.type == "PREFERENCES" for area in window.screen.areas)]
    with bpy.context.temp_override(window=[*asked, manager.windows[0]][0]):
        manager.popup_menu(draw, title=title, icon="INFO")


CLASSES = (
    VIDEO2RIG_OT_install_backend,
    VIDEO2RIG_OT_remove_backend,
    VIDEO2RIG_OT_doctor,
    VIDEO2RIG_OT_test_connection,
    VIDEO2RIG_OT_cancel_work,
    VIDEO2RIG_OT_show_log,
)


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``install-backend``, ``remove-backend`` and ``bundle`` to the command line."""
    install_backend = commands.add_parser("install-backend", help="install the backend, outside Blender")
    install_backend.add_argument("--offline", type=Path, metavar="BUNDLE", help="from a bundle, without the network")
    make = commands.add_parser("bundle", help="write an offline bundle for computers without the network")
    make.add_argument("output", type=Path, metavar="OUT.zip", help="a zip, or a folder that does not exist yet")
    for command in (install_backend, make):
        command.add_argument("--device", choices=installer.DEVICES, default="auto", help="which build of PyTorch")
        command.add_argument("--python", default="", metavar="PROGRAM", help="make the environment from this Python")
        command.add_argument("--index", default="", metavar="URL", help="package index to use")
        command.set_defaults(run=run_command)
    commands.add_parser("remove-backend", help="remove what install-backend installed").set_defaults(run=run_command)


def run_command(arguments: argparse.Namespace) -> Sequence[str]:
    """Carry out one of these commands and return what came of it.

    Raises:
        Video2RigError: It failed.
    """
    if arguments.command == "remove-backend":
        return _run("The removal", remove())
    offline = getattr(arguments, "offline", None)
    if offline is None:
        check_online()
    request = Request(
        wheel(), arguments.device, offline and offline.absolute(), arguments.index, arguments.python, sys.executable
    )
    if arguments.command == "install-backend":
        return _run("The installation", install(request))

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        size = bundling.make_bundle(
            arguments.output, request, lambda line: report(Progress("Bundling", 0.5, line)), cancelled
        )
        return [f"Wrote {arguments.output}, {size / 1e6:.0f} MB"]

    return _run("The bundle", task)


def _run(title: str, task: worker.Task) -> Sequence[str]:
    work = worker.run_blocking(worker.Work(title, task, said=lambda now: print(f"video2rig: {now.line}", flush=True)))
    if work.error:
        raise BackendError(work.error)
    if work.cancelling:
        raise installer.Cancelled("cancelled")
    return work.lines
