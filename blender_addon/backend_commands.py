# SPDX-License-Identifier: GPL-3.0-or-later
"""The backend from the command line: `blender -b --command video2rig install-backend | remove-backend | bundle`."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from . import backend_state, backend_tasks, worker
from .core import bundling
from .core.errors import Cancelled
from .core.install_request import Progress, Request
from .core.settings import DEVICES


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``install-backend``, ``remove-backend`` and ``bundle`` to the command line."""
    install_backend = commands.add_parser("install-backend", help="install the backend, outside Blender")
    install_backend.add_argument("--offline", type=Path, metavar="BUNDLE", help="from a bundle, without the network")
    make = commands.add_parser("bundle", help="write an offline bundle for computers without the network")
    make.add_argument("output", type=Path, metavar="OUT.zip", help="a zip, or a folder that does not exist yet")
    for command in (install_backend, make):
        command.add_argument("--device", choices=DEVICES, default="auto", help="which build of PyTorch")
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
        return _run("The removal", backend_tasks.remove())
    offline = getattr(arguments, "offline", None)
    if offline is None:
        backend_tasks.check_online()
    request = Request(
        backend_state.wheel(),
        device=arguments.device,
        bundle=offline and offline.absolute(),
        index=arguments.index,
        python=arguments.python,
        blender_python=sys.executable,
    )
    if arguments.command == "install-backend":
        return _run("The installation", backend_tasks.install(request))

    def task(report: Callable[[Progress], None], cancelled: threading.Event) -> list[str]:
        size = bundling.make_bundle(
            arguments.output, request, lambda line: report(Progress("Bundling", 0.5, line)), cancelled
        )
        return [f"Wrote {arguments.output}, {size / 1e6:.0f} MB"]

    return _run("The bundle", task)


def _run(title: str, task: worker.Task) -> Sequence[str]:
    work = worker.run_blocking(worker.Work(title, task, said=lambda now: print(f"video2rig: {now.line}", flush=True)))
    if work.error:
        raise backend_state.BackendError(work.error)
    if work.cancelling:
        raise Cancelled("cancelled")
    return work.lines
