# SPDX-License-Identifier: GPL-3.0-or-later
"""How the backend is shown: in the preferences, and in the sidebar where it is missing."""

from __future__ import annotations

import textwrap
import time

import bpy

from . import backend_operators, backend_state, preferences, worker
from .core import installation
from .core.torch_build import DOWNLOAD_SIZE, build_of

_WIDE, _NARROW = 100, 38  # characters of a line in the preferences and in the sidebar
_LOOK_SECONDS = 1.0  # between two looks at the disk
_looked: list[tuple[float, tuple[str, str]]] = []


def size_line(device: str) -> str:
    """Return what an installation does and how large it is."""
    build = build_of(device)
    kind = {"cpu": "PyTorch for the CPU", "cuda": "PyTorch for NVIDIA GPUs"}[build]
    return f"{kind}, the networks, the solver: about {DOWNLOAD_SIZE[build]} to download, outside Blender"


def draw_missing(layout: bpy.types.UILayout, context: bpy.types.Context) -> bool:
    """Show one button where there is no backend, an older one, or one that is being installed.

    Returns:
        Whether there is no backend that could solve a video.
    """
    word, text = _state(context)
    missing = word in ("absent", "broken", "misnamed")
    if not (missing or word == "outdated" or worker.current is not None):
        return False
    column = layout.box().column()
    if worker.current is not None:
        _draw_work(column, worker.current, _NARROW)
        return missing
    if word == "misnamed":
        _draw_lines(column, [text], _NARROW, "ERROR", alert=True)
        _draw_choices(column)
        return missing
    label = {"absent": "Install Backend", "broken": "Repair Backend", "outdated": "Update Backend"}[word]
    row = column.row()
    row.scale_y = 1.4
    row.operator(backend_operators.VIDEO2RIG_OT_install_backend.bl_idname, text=label, icon="IMPORT")
    chosen = preferences.of(context)
    said = size_line(chosen.install_device) if word == "absent" else text
    _draw_lines(column, [said], _NARROW)
    if not chosen.bundle:
        _draw_online(column, context, _NARROW)
    _draw_outcome(column, _NARROW)
    _draw_choices(column)
    return missing


def draw_preferences(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Show the backend of this computer: how it stands, what can be done, what is chosen for its installation."""
    chosen = preferences.of(context)
    word, text = _state(context)
    box = layout.box()
    box.label(text="Backend on This Computer", icon="DESKTOP")
    column = box.column()
    work = worker.current
    if work is not None:
        _draw_work(column, work, _WIDE)
    else:
        icon = {"installed": "CHECKMARK", "named": "CHECKMARK", "remote": "WORLD"}.get(word, "ERROR")
        _draw_lines(column, ["Not installed" if word == "absent" else text], _WIDE, icon)
        _draw_buttons(column, word)
        if word in ("absent", "named", "misnamed", "remote"):
            _draw_lines(column, [size_line(chosen.install_device), f"Folder: {installation.default_root()}"], _WIDE)
        if not chosen.bundle:
            _draw_online(column, context, _WIDE)
        if worker.last is not None and worker.last.title != backend_operators.VIDEO2RIG_OT_test_connection.title:
            _draw_outcome(column, _WIDE)
    choices = box.column()
    choices.enabled = work is None
    choices.use_property_split = True
    for name in ("install_device", "bundle", "package_index", "python", "command"):
        choices.prop(chosen, name)


def draw_remote(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Show the connection to a remote backend."""
    chosen = preferences.of(context)
    box = layout.box()
    box.label(text="Connect to a Remote Backend", icon="WORLD")
    column = box.column()
    column.use_property_split = True
    column.prop(chosen, "connection_file")
    row = column.row()
    row.enabled = bool(chosen.connection_file) and worker.current is None
    row.operator(backend_operators.VIDEO2RIG_OT_test_connection.bl_idname, icon="LINKED")
    if worker.last is not None and worker.last.title == backend_operators.VIDEO2RIG_OT_test_connection.title:
        _draw_outcome(column, _WIDE)
    if chosen.connection_file and not bpy.app.online_access:
        _draw_online(column, context, _WIDE, "Online access is off: only a backend on this computer can be reached")


def _draw_choices(layout: bpy.types.UILayout) -> None:
    layout.operator("preferences.addon_show", text="Choices", icon="PREFERENCES").module = __package__


def _draw_buttons(layout: bpy.types.UILayout, word: str) -> None:
    row = layout.row(align=True)
    row.scale_y = 1.3
    label, icon = {
        "broken": ("Repair", "FILE_REFRESH"),
        "outdated": ("Update", "FILE_REFRESH"),
        "installed": ("Repair", "FILE_REFRESH"),
    }.get(word, ("Install Backend", "IMPORT"))
    row.operator(backend_operators.VIDEO2RIG_OT_install_backend.bl_idname, text=label, icon=icon)
    if installation.default_root().is_dir():
        row.operator(backend_operators.VIDEO2RIG_OT_remove_backend.bl_idname, text="Remove", icon="TRASH")
        row.operator(backend_operators.VIDEO2RIG_OT_show_log.bl_idname, icon="TEXT")
    row.operator(backend_operators.VIDEO2RIG_OT_doctor.bl_idname, icon="HEART")


def _draw_work(layout: bpy.types.UILayout, work: worker.Work, width: int) -> None:
    progress = work.progress()
    layout.progress(factor=progress.fraction, text="Cancelling" if work.cancelling else progress.stage)
    _draw_lines(layout, textwrap.wrap(progress.line, width)[:2] or [" "], width)
    layout.operator(backend_operators.VIDEO2RIG_OT_cancel_work.bl_idname, icon="X")


def _draw_outcome(layout: bpy.types.UILayout, width: int) -> None:
    """Tell what came of the last work."""
    if worker.last is None:
        return
    if worker.last.error:
        _draw_lines(layout, [worker.last.error], width, "ERROR", alert=True)
    elif len(worker.last.lines) <= 6:  # a doctor's report has a window of its own
        _draw_lines(layout, worker.last.lines, width, "INFO")


def _draw_online(layout: bpy.types.UILayout, context: bpy.types.Context, width: int, text: str = "") -> None:
    """Tell that Blender is set to stay offline, with the switch that changes it."""
    if bpy.app.online_access:
        return
    _draw_lines(layout, [text or "Blender is set to stay offline; downloads need online access"], width, "INTERNET")
    layout.prop(context.preferences.system, "use_online_access")


def _draw_lines(
    layout: bpy.types.UILayout, lines: list[str], width: int, icon: str = "NONE", *, alert: bool = False
) -> None:
    column = layout.column(align=True)
    column.alert = alert
    for line in lines:
        for number, part in enumerate(textwrap.wrap(line, width) or [""]):
            column.label(text=part, icon=icon if number == 0 else "NONE" if icon == "NONE" else "BLANK1")


def _state(context: bpy.types.Context) -> tuple[str, str]:
    """Return :func:`backend_state.state`, looked up once a second at most: panels are drawn often."""
    now = time.monotonic()
    if not _looked or now - _looked[0][0] > _LOOK_SECONDS or worker.current is not None:
        _looked[:] = [(now, backend_state.state(context))]
    return _looked[0][1]
