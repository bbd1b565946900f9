# SPDX-License-Identifier: GPL-3.0-or-later
"""Drive a real Blender window as a first-time user would: the add-on is there, the backend is not; one press installs.

    xvfb-run -a -s '-screen 0 1600x900x24' blender --factory-startup --enable-event-simulate \\
        --gpu-backend opengl -P tests/addon/backend_window_check.py -- ADDON.zip PYTHON FOLDER

Needs the program scrot and a package index. Set BLENDER_USER_RESOURCES, XDG_DATA_HOME and VIDEO2RIG_CONNECTION to
empty places, and unset VIDEO2RIG_COMMAND. PYTHON makes the environment ("" takes what is found). Photographs the panel
and the preferences before, while and after, cancels once in the middle, asks the doctor, and removes everything.
Exit code 0 if all held, 1 if not; each step is printed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
from window_driver import PACKAGE, box_of, install, module, picture, run, say, show_panel, sidebar

ZIP, PYTHON, FOLDER = sys.argv[sys.argv.index("--") + 1 :][:3]
PATIENCE = 900.0  # seconds for an installation


def windows() -> list[bpy.types.Window]:
    return list(bpy.context.window_manager.windows)


def area_of(kind: str) -> tuple[bpy.types.Window, bpy.types.Area]:
    return next((w, area) for w in windows() for area in w.screen.areas if area.type == kind)


def show_preferences() -> Iterator[float]:
    bpy.ops.preferences.addon_show(module=PACKAGE)
    yield 1.5
    window, area = area_of("PREFERENCES")
    window.event_simulate(type="MOUSEMOVE", value="NOTHING", x=area.x + area.width // 2, y=area.y + area.height // 2)
    yield 0.5


def shoot(name: str, panel: int | None = None) -> None:
    """Save the display, or so many rows of the sidebar."""
    picture(Path(FOLDER, f"{name}.png"), None if panel is None else box_of(sidebar(), panel))


def steps() -> Iterator[Callable[[], bool] | float]:
    """Yield either seconds to wait, or a condition to wait for."""
    install(ZIP)
    state, operators, worker = module("backend_state").state, module("backend_operators"), module("worker")
    installation, job = module("core.installation"), module("job")
    chosen = module("preferences").of(bpy.context)
    chosen.install_device, chosen.python = "cpu", PYTHON
    root = installation.default_root()
    assert not root.exists(), f"{root} must not be there"
    yield 1.0
    yield from show_panel()
    yield 1.0
    shoot("install_panel", 404)
    assert state(bpy.context)[0] == "absent"

    assert not bpy.app.online_access
    try:
        bpy.ops.video2rig.install_backend("INVOKE_DEFAULT")
        raise AssertionError("it installed while Blender is set to stay offline")
    except RuntimeError as error:
        assert "stay offline" in str(error), error
    say("offline: refused in words")
    yield from show_preferences()
    shoot("preferences-offline")
    bpy.context.preferences.system.use_online_access = True
    yield 1.0

    window, area = area_of("PREFERENCES")
    with bpy.context.temp_override(window=window, area=area):
        assert bpy.ops.video2rig.install_backend("INVOKE_DEFAULT") == {"FINISHED"}
    yield lambda: worker.current is not None and worker.current.progress().stage == "Installing packages"
    yield 0.4
    shoot("preferences-running")
    bpy.ops.video2rig.cancel_work()
    yield lambda: worker.current is None
    assert installation.find_installed() is None and not list(root.glob("env-*")), "cancelling left something"
    say("cancelled:", worker.last.lines)

    bpy.ops.video2rig.install_backend("INVOKE_DEFAULT")
    yield lambda: worker.current is not None and worker.current.progress().fraction > 0.2
    shoot("both-running")
    yield lambda: worker.current is None
    assert not worker.last.error, worker.last.error
    assert state(bpy.context)[0] == "installed"
    say("installed:", worker.last.lines)
    chosen.python = ""
    yield 1.5
    shoot("preferences-installed")

    bpy.ops.video2rig.doctor("INVOKE_DEFAULT")
    yield lambda: worker.current is None
    yield 1.0
    shoot("doctor")
    report = bpy.data.texts[operators.REPORT].as_string()
    assert "all is well" in report, report
    say("doctor: all is well")
    window, _ = area_of("PREFERENCES")
    for value in ("PRESS", "RELEASE"):
        window.event_simulate(type="ESC", value=value, x=window.width // 2, y=window.height // 2)
    yield 0.5

    server = job.reach(job.wanted_from_preferences(bpy.context))
    chosen.connection_file = os.environ["VIDEO2RIG_CONNECTION"]
    bpy.ops.video2rig.test_connection("INVOKE_DEFAULT")
    yield lambda: worker.current is None
    assert not worker.last.error and server.control_endpoint in worker.last.lines[0], worker.last.error
    yield 1.5
    shoot("connection")
    say("connection:", worker.last.lines)
    chosen.connection_file = ""

    window, area = area_of("VIEW_3D")
    x, y = area.x + area.width // 2, area.y + area.height // 4
    window.event_simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y)
    yield 1.0
    with bpy.context.temp_override(window=window, area=area):
        bpy.ops.video2rig.remove_backend("INVOKE_DEFAULT")
    yield 1.0
    shoot("remove")
    assert root.exists(), "it removed without asking"
    for below in range(3):
        window.event_simulate(type="MOUSEMOVE", value="NOTHING", x=x, y=y + below)
        yield 0.3
    for value in ("PRESS", "RELEASE"):
        window.event_simulate(type="RET", value=value, x=x, y=y + 2)
        yield 0.3
    yield lambda: worker.last is not None and worker.last.title == "The removal"
    assert not root.exists(), f"{root} is still there"
    say("removed: nothing of it is left")


run(steps(), PATIENCE)
