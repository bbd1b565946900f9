# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's two encrypted sockets to a server, and what their monitors tell about the connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import zmq
from zmq.utils.monitor import recv_monitor_message

from .connection import Connection
from .errors import Video2RigError
from .wire import MAX_RESULT_HEADER_BYTES, MAX_RESULT_PART_BYTES, Message, WireError, decode, encode

CONTROL, FRAMES = "control", "frames"

_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
_BROKEN = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_LOST = zmq.EVENT_DISCONNECTED
_ABSENT = zmq.EVENT_CLOSED


@dataclass(frozen=True)
class Timing:
    """How patient the client is, seconds.

    Attributes:
        greet: For the first answer on a new connection.
        ping: Between heartbeats.
        silence: For the answer to a heartbeat before the server counts as dead.
        stall: Without a frame arriving, or a finished result coming, before the connection is made anew.
        reconnect: For a lost server to come back, where it cannot be started.
        losses: Servers or connections (not seconds) that may be lost in a row with no frame worked through.
    """

    greet: float = 10.0
    ping: float = 1.0
    silence: float = 5.0
    stall: float = 60.0
    reconnect: float = 30.0
    losses: int = 3


class ServerError(Video2RigError):
    """The server refused, or failed; the text is its own line. `code` tells programs which refusal it was."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Unreachable(Video2RigError):
    """No server answers, or the connection to it was lost: worth another try."""


class Link:
    """One connection to a server: a control socket and one for frames and results. Used by one thread.

    A context manager; it reads only whole, checked messages.
    """

    def __init__(self, connection: Connection) -> None:
        """Begin to connect; nothing is waited for.

        Raises:
            Unreachable: The address cannot be.
        """
        self.connection = connection
        self._context = zmq.Context()
        self._sockets: dict[str, zmq.Socket[bytes]] = {}
        self._monitors: dict[str, zmq.Socket[bytes]] = {}
        self._poller = zmq.Poller()
        self._trouble: Video2RigError | None = None
        ends = ((CONTROL, connection.control_endpoint), (FRAMES, connection.frames_endpoint))
        try:
            for channel, endpoint in ends:
                self._connect(channel, endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise Unreachable(f"cannot connect to {connection.control_endpoint}: {error.strerror}") from error

    def _connect(self, channel: str, endpoint: str) -> None:
        socket = self._context.socket(zmq.DEALER)
        self._sockets[channel] = socket
        socket.linger = 0
        socket.ipv6 = "[" in endpoint
        socket.maxmsgsize = MAX_RESULT_PART_BYTES
        socket.curve_serverkey = self.connection.server_public.encode()
        socket.curve_publickey = self.connection.client_public.encode()
        socket.curve_secretkey = self.connection.client_secret.encode()
        # never by itself: what was on its way is lost with a connection, so the session must be resumed first
        socket.reconnect_ivl = -1
        self._monitors[channel] = socket.get_monitor_socket(_REFUSED | _BROKEN | _LOST | _ABSENT)
        socket.connect(endpoint)
        self._poller.register(self._monitors[channel], zmq.POLLIN)
        self._poller.register(socket, zmq.POLLIN)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self, linger: float = 0.0) -> None:
        """Close the sockets; wait at most `linger` seconds for what was sent to leave."""
        if self._context.closed:
            return
        for socket in self._sockets.values():
            socket.disable_monitor()
        self._context.destroy(linger=round(linger * 1000))

    def send(self, channel: str, parts: Sequence[bytes | memoryview]) -> None:
        """Queue a message; large parts are sent without a copy, so they must not change.

        Raises:
            Unreachable: The connection broke, or the queue is full because nothing has left for long.
            ServerError: The server does not let this client in.
        """
        try:
            self._sockets[channel].send_multipart(parts, flags=zmq.DONTWAIT, copy=False)
        except zmq.Again:
            self._look()
            full = Unreachable(f"the server at {self.connection.control_endpoint} takes no more messages")
            raise self._trouble or full from None

    def poll(self, timeout: float) -> list[Message]:
        """Return the messages that are there, waiting at most so many seconds for the first.

        Raises:
            Unreachable: The connection broke, or nothing listens there.
            ServerError: The server does not let this client in.
            WireError: The server sent something that is no message.
        """
        ready = dict(self._poller.poll(round(timeout * 1000)))
        self._look()
        # what arrived before a break still counts: it may be the reason
        messages = [message for socket in self._sockets.values() if socket in ready for message in _drain(socket)]
        if not messages and self._trouble is not None:
            raise self._trouble
        return messages

    def _look(self) -> None:
        """Read the monitors."""
        for channel, monitor in self._monitors.items():
            while monitor.poll(0):
                self._heed(channel, int(recv_monitor_message(monitor)["event"]))

    def _heed(self, channel: str, kind: int) -> None:
        if self._trouble is not None:
            return
        endpoint = self.connection.control_endpoint
        if kind == _REFUSED:
            self._trouble = ServerError(
                f"the server at {endpoint} does not know this client's key; use its connection file as it is now, "
                "or have your public key added to its --authorized-keys",
                "unauthorized",
            )
        elif kind & _BROKEN:
            self._trouble = Unreachable(
                f"what answers at {endpoint} is not the server of this connection file (the handshake failed)"
            )
        elif kind == _LOST:
            self._trouble = Unreachable(f"the {channel} connection to the server at {endpoint} broke")
        elif kind == _ABSENT:
            self._trouble = Unreachable(f"nothing listens at {endpoint}; start a server there with `video2rig serve`")


class Pulse:
    """Heartbeats on one connection, and the doubts when they are not answered."""

    def __init__(self, link: Link, timing: Timing, session: str, received: int) -> None:
        self._link, self._timing, self._session = link, timing, session
        self._asked: float | None = None
        self._next = time.monotonic()
        self._received = received
        self._sent = received
        self._moved = time.monotonic()

    def heard(self, pong: Message) -> None:
        """Take note of an answer."""
        self._asked = None
        finished = pong["state"] in ("done", "failed")
        if pong["received"] > self._received or (pong["received"] == self._sent and not finished):
            self._moved = time.monotonic()
        self._received = max(self._received, pong["received"])

    def beat(self, sent: int) -> None:
        """Send a heartbeat if it is time for one.

        Raises:
            Unreachable: The server is silent, or frames or the result no longer come through.
        """
        now = time.monotonic()
        self._sent = sent
        name = self._link.connection.control_endpoint
        if self._asked is not None and now - self._asked > self._timing.silence:
            raise Unreachable(f"the server at {name} has not answered for {now - self._asked:.0f} s")
        if now - self._moved > self._timing.stall:
            raise Unreachable(f"nothing has come through to or from the server at {name} for {now - self._moved:.0f} s")
        if now >= self._next and self._asked is None:
            self._link.send(CONTROL, encode("ping", session=self._session))
            self._asked, self._next = now, now + self._timing.ping


def _drain(socket: zmq.Socket[bytes]) -> list[Message]:
    messages = []
    while True:
        try:
            parts = socket.recv_multipart(zmq.DONTWAIT, copy=False)
        except zmq.Again:
            return messages
        try:
            messages.append(decode([part.buffer for part in parts], MAX_RESULT_HEADER_BYTES))
        except WireError as error:
            raise WireError(f"the server's answer cannot be read: {error}", error.code) from error
