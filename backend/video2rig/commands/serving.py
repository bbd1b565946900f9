# SPDX-License-Identifier: GPL-3.0-or-later
"""`serve`: the server of Blender's add-on."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..settings import DEVICES


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    serve = commands.add_parser("serve", help="serve Blender's add-on")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    serve.add_argument("--port", type=int, default=0, help="first of two ports; 0 takes free ones")
    serve.add_argument("--device", choices=DEVICES, default="auto", help="where the networks run")
    serve.add_argument("--authorized-keys", type=Path, help="public keys of clients, one a line; needed off loopback")
    serve.add_argument("--connection-file", type=Path, help="where to write how to connect")
    serve.add_argument("--parent-pid", type=int, help="stop when this process ends")
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from ..server import serve

    return serve(
        host=options.host,
        port=options.port,
        device=options.device,
        authorized_keys=options.authorized_keys,
        connection_path=options.connection_file,
        parent_pid=options.parent_pid,
    )
