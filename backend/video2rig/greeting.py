# SPDX-License-Identifier: GPL-3.0-or-later
"""The first words with a server, and the last ones of a session."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from . import __version__
from .connection import Connection
from .errors import Video2RigError
from .link import CONTROL, Link, ServerError, Unreachable
from .wire import PROTOCOL, Limits, encode

FREE_SECONDS = 2.0
"""How long a client that ends waits to hear that its session is freed."""


class Welcome(NamedTuple):
    """A server's answer to hello."""

    package: str
    device: str
    credit: int
    limits: Limits
    sessions: int
    latency: float
    """Seconds from hello to welcome, on a connection that stands."""


def greet(link: Link, timeout: float, stop: Callable[[], bool] = lambda: False) -> Welcome:
    """Say hello and return the welcome.

    Raises:
        Unreachable: No answer in so many seconds, or `stop` returned true.
        ServerError: The server refuses this client or its version.
        WireError: What answers is no server of ours.
    """
    endpoint = link.connection.control_endpoint
    if link.connection.protocol != PROTOCOL:
        raise ServerError(
            f"the server at {endpoint} speaks protocol {link.connection.protocol} (video2rig "
            f"{link.connection.version}), this client protocol {PROTOCOL} (video2rig {__version__}); "
            "install the same version on both sides",
            "version",
        )
    deadline = time.monotonic() + timeout
    sent = time.monotonic()
    link.send(CONTROL, encode("hello", package=__version__))
    while time.monotonic() < deadline and not stop():
        for message in link.poll(0.1):
            if message.type == "error":
                raise ServerError(message["message"], message["code"])
            if message.type == "welcome":
                return Welcome(
                    message["package"],
                    message["device"],
                    message["credit"],
                    Limits.from_json(message["limits"]),
                    message["sessions"],
                    time.monotonic() - sent,
                )
    raise Unreachable(f"the server at {endpoint} does not answer; start one with `video2rig serve`")


def probe(connection: Connection, timeout: float = 3.0) -> Welcome:
    """Ask a server whether it is there; the latency is that of a second round trip, without the handshake.

    Raises:
        Unreachable, ServerError, WireError: See :func:`greet`.
    """
    with Link(connection) as link:
        greet(link, timeout)
        return greet(link, timeout)


def free(link: Link, session: str) -> bool:
    """Free a session, as well as can be; a server that does not hear it frees it when idle.

    Returns:
        Whether the server answered.
    """
    try:
        link.send(CONTROL, encode("cancel", session=session))
        deadline = time.monotonic() + FREE_SECONDS
        while time.monotonic() < deadline:
            if any(message.type in ("cancelled", "error") for message in link.poll(0.1)):
                return True
    except Video2RigError:
        pass
    return False
