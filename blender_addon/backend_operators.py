# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend from within Blender's windows: install, remove, ask the doctor, test a remote one.

In a window the operators start work on a thread and return; in background mode, and when called from a script, they
wait for it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import bpy
from bpy.props import StringProperty
from bpy.types import Operator

from . import backend_tasks, preferences, worker
from .backend_state import BackendError
from .core import installation
from .core.errors import Video2RigError

_WIDTH = 100  # characters of a line in a popup
REPORT = "Video2Rig Doctor"
LOG = "Video2Rig Installation"
"""Names of the text blocks."""


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
        return backend_tasks.install(backend_tasks.request_of(preferences.of(context), self.bundle))


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
        backend_tasks.check_idle()
        return backend_tasks.remove()


class VIDEO2RIG_OT_doctor(_Working, Operator):
    """Tell what is installed, what will compute, which weights are here, and whether a server answers"""

    bl_idname = "video2rig.doctor"
    bl_label = "Doctor"
    title = "The doctor"

    def make(self, context: bpy.types.Context) -> worker.Task:
        return backend_tasks.ask_doctor(preferences.of(context).wanted())

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
        return backend_tasks.test_connection(wanted)


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
