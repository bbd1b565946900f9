# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's conversation with servers: through lost connections and dead servers, until the takes are here.

What is sent stays here until the server has worked it through. A connection that breaks is made anew and goes on where
the server stands; a session that is gone with its server begins again at the first frame. The result waits at the
server until it is acknowledged, so nothing is solved twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .cargo import Cargo
from .connection import Connection
from .errors import Cancelled, Video2RigError
from .greeting import FREE_SECONDS, free, greet
from .link import CONTROL, FRAMES, Link, Pulse, ServerError, Timing, Unreachable
from .progress import Progress, Teller
from .send_window import SendWindow
from .settings import Settings
from .skeleton import Skeleton
from .take import Take, unpack_all
from .wire import Limits, Message, WireError, encode


@dataclass(frozen=True)
class Call:
    """A call to a server, and the caller's part in it.

    Attributes:
        connection: Where the server is.
        progress: Called on the caller's thread, several times a second.
        cancelled: Set by another thread to stop.
        restart: Returns a server to go on with when this one is lost: the same, or one that it started. Without it
            the client waits for the server to come back.
        timing: How patient to be.
    """

    connection: Connection
    progress: Callable[[Progress], None]
    cancelled: threading.Event
    restart: Callable[[], Connection] | None = None
    timing: Timing = field(default_factory=Timing)


class _SessionGone(Exception):
    """The server does not know the session: it is another server, or it freed it."""


class Conversation:
    """Has servers solve a cargo. Its state outlives connections, sessions and servers."""

    def __init__(self, cargo: Cargo, settings: Settings, skeleton: Skeleton | None, call: Call) -> None:
        """Connect to nothing yet.

        Args:
            cargo: What is sent. settings: What the user chose. skeleton: What to solve; None has the server take the
                default human and measure the person. call: The server, and the caller's part.
        """
        self._cargo, self._settings, self._skeleton, self._call = cargo, settings, skeleton, call
        self._connection, self._timing = call.connection, call.timing
        self._tell = Teller(call.progress, cargo.count(Limits()))
        self._losses = 0
        self._beginnings = 0
        self._live = False
        self._lost_since: float | None = None
        self._limits = Limits()
        self._session = ""
        self._window = SendWindow(cargo, self._tell)

    def run(self) -> list[Take]:
        """Talk until the takes are here; return them by the numbers of their people.

        Raises:
            Cancelled: The caller cancelled; the server's session is freed.
            Unreachable: The server is lost for good.
            ServerError: The server refuses, or the solve failed there.
            VideoError: The video cannot be read.
            WireError: What the server says makes no sense, or the request is too large for it.
        """
        try:
            return self._persist()
        except BaseException:
            if self._session:
                self._free_anew()
            raise
        finally:
            self._window.close()

    def _persist(self) -> list[Take]:
        """Go on, over as many connections as it takes."""
        while True:
            try:
                self._tell.stage("connecting")
                return self._connected()
            except Unreachable as error:
                self._recover(error)
            except _SessionGone:
                self._again(f"the server no longer has {self._cargo.noun}")

    def _connected(self) -> list[Take]:
        with Link(self._connection) as link:
            try:
                self._limits = greet(link, self._timing.greet, self._call.cancelled.is_set).limits
                self._enter(link)
                return self._stream(link)
            except (Unreachable, _SessionGone):
                raise
            except BaseException:
                if self._session and free(link, self._session):
                    self._session = ""
                raise

    def _enter(self, link: Link) -> None:
        """Open a session, or resume the one that there is."""
        if self._session:
            link.send(CONTROL, encode("resume", session=self._session))
        else:
            skeleton = {} if self._skeleton is None else self._skeleton.to_json()
            facts, seen = self._cargo.facts, self._cargo.seen
            request = encode("open", settings=self._settings.to_json(), video=facts, skeleton=skeleton, seen=seen)
            if len(request[0]) > self._limits.open_bytes:
                raise WireError(
                    f"settings, skeleton and marked contacts take {len(request[0])} bytes; the server takes "
                    f"{self._limits.open_bytes}"
                )
            link.send(CONTROL, request)
        began = time.monotonic()
        while time.monotonic() < began + self._timing.greet:
            # not at once: a session could be left behind, its name unknown
            if time.monotonic() > began + FREE_SECONDS:
                self._check_cancelled()
            for message in link.poll(0.1):
                if message.type == "opened":
                    self._opened(message)
                    return
                self._check_error(message)
        raise Unreachable(f"the server at {self._connection.control_endpoint} opens no session")

    def _opened(self, message: Message) -> None:
        self._window.resume(message["next_index"], message["credit"])
        if self._session and self._lost_since is not None:
            self._tell.notice(f"connected again, going on with frame {message['next_index']}")
        self._lost_since, self._live = None, True
        self._session = message["session"]

    def _stream(self, link: Link) -> list[Take]:
        """Send what there is credit for, heed what arrives, until the result is there."""
        window = self._window
        pulse = Pulse(link, self._timing, self._session, window.next)
        finished = False
        self._tell.frames = window.read if window.whole else self._cargo.count(self._limits)
        self._tell.stage(self._cargo.stage, window.acknowledged)
        while True:
            self._check_cancelled()
            busy = window.send(link, self._session, self._limits)
            if not finished and window.whole and window.next == window.read:
                link.send(FRAMES, encode("finish", session=self._session, frames=window.read))
                finished = True
            for message in link.poll(0.0 if busy else 0.05):
                if message.type == "result" and message["session"] == self._session:
                    takes = unpack_all(message["takes"], message.arrays)
                    for notice in message["notices"]:
                        self._tell.notice(str(notice))
                    link.send(FRAMES, encode("done", session=self._session))
                    link.close(linger=1.0)
                    return takes
                self._heed(message, pulse)
            pulse.beat(window.next)

    def _heed(self, message: Message, pulse: Pulse) -> None:
        self._check_error(message)
        if "session" not in message.fields or message["session"] != self._session:
            return
        told = message.type in ("ack", "pong")
        if told and self._window.acknowledge(message["next_index"], message["credit"]):
            self._losses = 0
            self._tell.step(self._cargo.stage, self._window.acknowledged, self._tell.frames)
        if message.type == "pong":
            pulse.heard(message)
        elif message.type == "progress":
            self._losses = 0
            self._tell.step(message["stage"], message["done"], message["total"])

    def _check_error(self, message: Message) -> None:
        if message.type == "error":
            if message["code"] == "session":
                raise _SessionGone
            raise ServerError(message["message"], message["code"])

    def _check_cancelled(self) -> None:
        if self._call.cancelled.is_set():
            raise Cancelled("cancelled")

    def _free_anew(self) -> None:
        """Free the session over a connection of its own, after the old one was lost."""
        try:
            with Link(self._connection) as link:
                greet(link, FREE_SECONDS)
                free(link, self._session)
        except Video2RigError:
            return

    def _again(self, why: str) -> None:
        """Begin the video again: the session is gone."""
        self._beginnings += 1
        if self._beginnings > self._timing.losses:
            raise Unreachable(f"{why}, for the {self._beginnings}th time; gave up. The server's own log says more")
        self._tell.notice(f"{why}; sending {self._cargo.again}")
        self._window.close()
        self._session, self._window = "", SendWindow(self._cargo, self._tell)

    def _recover(self, error: Unreachable) -> None:
        """Wait for the lost server, or get another."""
        self._check_cancelled()
        now = time.monotonic()
        if self._lost_since is None:
            self._lost_since = now
            self._tell.notice(f"{error}; {'trying again' if self._call.restart is None else 'looking for a server'}")
        if self._live or self._call.restart is not None:
            self._live = False
            self._losses += 1
            if self._losses > self._timing.losses:
                raise Unreachable(f"gave up after {self._losses} losses in a row: {error}") from error
        if self._call.restart is None:
            if now - self._lost_since > self._timing.reconnect:
                raise Unreachable(f"{error}; waited {self._timing.reconnect:g} s for it") from error
            self._call.cancelled.wait(0.3)
            return
        before, self._connection = self._connection, self._call.restart()
        if self._session and self._connection.server_public != before.server_public:
            self._again("the server was restarted")
