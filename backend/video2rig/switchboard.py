# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's switchboard: sessions behind two encrypted sockets, one for control, one for frames and results.

One thread owns the sockets and never waits for anything but them; each session computes on a thread of its own.
Control is always served first, so that a cancel or a heartbeat never queues behind frames.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import queue
import secrets
import socket as sockets
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from . import __version__
from .access import Access
from .connection import Connection
from .errors import Video2RigError
from .link import CONTROL, FRAMES
from .live_session import LiveSession
from .served import PipelineFactory
from .session import Session, Turns
from .session_checks import Refusal
from .settings import Settings
from .wire import PROTOCOL, Limits, Message, WireError, decode, encode

log = logging.getLogger(__name__)

BURST = 32
"""Messages of one socket that are handled before the others are looked at."""
TICK_SECONDS = 0.5
CLOSE_SECONDS = 3.0
"""For the workers to come to their next step at the end."""

_WAKE = "inproc://wake"
_REQUESTS = ("hello", "open", "live", "resume", "ping", "cancel", "frame", "keypoints", "finish", "done")


class ServeError(Video2RigError):
    """The server cannot start."""


class Switchboard:
    """Owns the sockets, the sessions and the list of who may come in.

    Attributes:
        connection: What a client on this computer needs to come in.
    """

    def __init__(
        self, factory: PipelineFactory, host: str, port: int, keys: list[str], limits: Limits | None = None
    ) -> None:
        """Listen.

        Args:
            factory: Makes the pipelines. host, port: Where; control at the port, frames at the next, 0 takes any.
            keys: Public keys of clients that may come in, besides the one made here. limits: What it takes.

        Raises:
            ServeError: The address cannot be listened at.
        """
        self._factory = factory
        self._limits = limits or Limits()
        self._sessions: dict[str, Session] = {}
        self._ending: list[Session] = []
        self._turns = Turns()
        self._posted: queue.SimpleQueue[tuple[Session, str, list[Any] | None]] = queue.SimpleQueue()
        self._context = zmq.Context()
        server_public, server_secret = zmq.curve_keypair()
        client_public, client_secret = zmq.curve_keypair()
        self._access = Access(self._context, [client_public.decode(), *keys])
        self._waker_lock = threading.Lock()
        self._waker, self._wakened = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        self._wakened.bind(_WAKE)
        self._waker.connect(_WAKE)
        address, shown = _address(host)
        control_bytes = max(self._limits.open_bytes, 1 << 12)
        frame_bytes = max(self._limits.frame_bytes, control_bytes)
        self._sockets = {CONTROL: self._socket(server_secret, control_bytes, "[" in address)}
        self._sockets[FRAMES] = self._socket(server_secret, frame_bytes, "[" in address)
        ends = []
        for offset, (channel, socket) in enumerate(self._sockets.items()):
            try:
                socket.bind(f"tcp://{address}:{port + offset if port else '*'}")
            except zmq.ZMQError as error:
                self.close()
                where = f"{host}:{port + offset}" if port else host
                raise ServeError(f"cannot listen at {where} ({channel}): {error.strerror}") from error
            ends.append(f"tcp://{shown}:{_endpoint(socket).rpartition(':')[2]}")
        self.connection = Connection(
            control_endpoint=ends[0],
            frames_endpoint=ends[1],
            server_public=server_public.decode(),
            client_public=client_public.decode(),
            client_secret=client_secret.decode(),
            pid=os.getpid(),
            protocol=PROTOCOL,
            version=__version__,
        )

    def _socket(self, secret: bytes, largest: int, ipv6: bool) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 200
        socket.router_mandatory = True  # a client that is gone is an error to know of, not a silent drop
        socket.maxmsgsize = largest
        socket.ipv6 = ipv6
        self._access.guard(socket, secret)
        return socket

    def run(self, stop: Callable[[], bool]) -> None:
        """Serve until `stop` returns true; it is asked at least twice a second."""
        poller = zmq.Poller()
        for socket in (self._access.socket, self._wakened, *self._sockets.values()):
            poller.register(socket, zmq.POLLIN)
        waiting = False
        while not stop():
            ready = dict(poller.poll(0 if waiting else round(TICK_SECONDS * 1000)))
            if self._access.socket in ready:
                self._access.answer()
            if self._wakened in ready:
                self._deliver()
            # a full burst of frames means that more may wait, but control comes before them
            waiting = any([self._receive(channel) for channel, socket in self._sockets.items() if socket in ready])
            self._tidy()

    def close(self) -> bool:
        """Stop every session and close the sockets; return whether all workers ended in time."""
        sessions = [*self._sessions.values(), *self._ending]
        for session in sessions:
            session.stop()
        with self._waker_lock:
            self._context.destroy(linger=200)
        deadline = time.monotonic() + CLOSE_SECONDS
        for session in sessions:
            session.join(max(0.0, deadline - time.monotonic()))
        return not any(session.alive for session in sessions)

    def _receive(self, channel: str) -> bool:
        """Handle messages of one socket; return whether it was a full burst."""
        for _ in range(BURST):
            try:
                peer, *parts = self._sockets[channel].recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return False
            session = ""
            try:
                message = decode([part.buffer for part in parts])
                session = message.fields.get("session", "")
                self._handle(channel, peer.bytes, message)
            except WireError as error:
                log.info("a message was refused: %s", error)
                text = f"{error}; this server is video2rig {__version__}" if error.code == "version" else str(error)
                self._refuse(channel, peer.bytes, session, error.code, text)
            except Refusal as error:
                log.info("a request was refused: %s", error)
                self._refuse(channel, peer.bytes, session, error.code, str(error))
            except Exception:
                # a defect of ours, which one client met; the others' sessions must not end with it
                log.exception("a %s message could not be handled", channel)
                self._refuse(channel, peer.bytes, session, "server", "the server failed; its log says where")
        return True

    def _handle(self, channel: str, peer: bytes, message: Message) -> None:
        kind = message.type
        wanted = FRAMES if kind in ("frame", "keypoints", "finish", "done") else CONTROL
        if kind not in _REQUESTS or channel != wanted:
            raise Refusal("malformed", f"a {kind} message does not belong on the {channel} socket of a server")
        if kind == "hello":
            welcome = encode(
                "welcome",
                package=__version__,
                device=self._factory.device,
                credit=self._limits.credit,
                sessions=len(self._sessions),
                limits=self._limits.to_json(),
            )
            self._send(channel, peer, welcome)
        elif kind in ("open", "live"):
            self._open(peer, message)
        elif kind == "ping" and not message["session"]:
            self._send(channel, peer, self._pong(None))
        else:
            session = self._sessions.get(message["session"])
            if session is None:
                if kind == "cancel":
                    self._send(channel, peer, encode("cancelled", session=message["session"]))
                    return
                raise Refusal("session", "there is no such session; it was idle for too long, or the server is new")
            session.last_heard = time.monotonic()
            session.peers[channel] = peer
            self._handle_session(channel, peer, session, message)

    def _handle_session(self, channel: str, peer: bytes, session: Session, message: Message) -> None:
        match message.type:
            case "frame":
                session.frame(message["index"], message["time"], message["scale"], message.arrays)
            case "keypoints":
                session.keypoints(message["index"], message.arrays)
            case "finish":
                session.finish(message["frames"])
                self._send_outcome(session)
            case "ping":
                self._send(channel, peer, self._pong(session))
            case "resume":
                log.info("session %s: resumed at frame %d", session.name[:6], session.received)
                self._send(channel, peer, self._opened(session))
                if session.state == "failed":
                    self._send_outcome(session)
            case "cancel":
                self._drop(session, "cancelled")
                self._send(channel, peer, encode("cancelled", session=session.name))
            case "done":
                self._drop(session, "its result arrived")

    def _open(self, peer: bytes, message: Message) -> None:
        running = len(self._sessions) + len(self._ending)
        if running >= self._limits.sessions:
            raise Refusal("limit", f"{running} sessions are open, the most that this server takes; try again later")
        try:
            settings = Settings.from_json(message["settings"])
        except Video2RigError as error:
            raise Refusal("settings", str(error)) from error
        name = secrets.token_hex(16)
        told = message["video"], message["skeleton"]
        known = self._factory, self._limits, self._turns, self._post
        if message.type == "live":
            session = LiveSession(name, settings, *told, {}, *known)
        else:
            session = Session(name, settings, *told, message["seen"], *known)
        session.peers[CONTROL] = peer
        self._sessions[name] = session
        log.info("session %s: opened, %d of %d", name[:6], running + 1, self._limits.sessions)
        self._send(CONTROL, peer, self._opened(session))

    def _opened(self, session: Session) -> list[Any]:
        return encode(
            "opened",
            session=session.name,
            next_index=session.received,
            credit=session.credit,
            state=session.state,
        )

    def _pong(self, session: Session | None) -> list[Any]:
        return encode(
            "pong",
            session=session.name if session else "",
            received=session.received if session else 0,
            next_index=session.processed if session else 0,
            credit=session.credit if session else self._limits.credit,
            state=session.state if session else "",
            sessions=len(self._sessions) + len(self._ending),
        )

    def _refuse(self, channel: str, peer: bytes, session: str, code: str, text: str) -> None:
        self._send(channel, peer, encode("error", session=session, code=code, message=text[:2000]))

    def _send_outcome(self, session: Session) -> None:
        if session.outcome is not None:
            channel, parts = session.outcome
            self._send_to(session, channel, parts)

    def _send_to(self, session: Session, channel: str, parts: list[Any]) -> None:
        if (peer := session.peers.get(channel)) is not None:
            self._send(channel, peer, parts)

    def _send(self, channel: str, peer: bytes, parts: list[Any]) -> None:
        try:
            self._sockets[channel].send_multipart([peer, *parts], flags=zmq.DONTWAIT, copy=False)
        except zmq.ZMQError as error:
            # the client is gone or deaf; when it comes back it asks for what it missed
            log.debug("a message could not be sent: %s", error)

    def _post(self, session: Session, channel: str, parts: list[Any] | None) -> None:
        """Called by workers."""
        self._posted.put((session, channel, parts))
        with self._waker_lock:
            if not self._context.closed:
                with contextlib.suppress(zmq.Again):  # it has been woken often enough
                    self._waker.send(b"", zmq.DONTWAIT)

    def _deliver(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self._wakened.recv(zmq.DONTWAIT)
        with contextlib.suppress(queue.Empty):
            while True:
                session, channel, parts = self._posted.get_nowait()
                if parts is not None and self._sessions.get(session.name) is session:
                    self._send_to(session, channel, parts)

    def _drop(self, session: Session, why: str) -> None:
        log.info("session %s: freed, %s", session.name[:6], why)
        del self._sessions[session.name]
        session.stop()
        self._ending.append(session)

    def _tidy(self) -> None:
        self._ending = [session for session in self._ending if session.alive]
        deadline = time.monotonic() - self._limits.idle_seconds
        for session in [session for session in self._sessions.values() if session.last_heard < deadline]:
            self._drop(session, f"its client was silent for {self._limits.idle_seconds:g} s")


def _address(host: str) -> tuple[str, str]:
    """Return a host as ZeroMQ listens at it, and as clients name it."""
    try:
        number = str(sockets.getaddrinfo(host, None, type=sockets.SOCK_STREAM)[0][4][0])
    except (OSError, UnicodeError) as error:
        raise ServeError(f"cannot listen at {host!r}: it is no address of this computer ({error})") from error
    found = ipaddress.ip_address(number.partition("%")[0])
    written = f"[{number}]" if found.version == 6 else number
    return written, sockets.gethostname() if found.is_unspecified else written


def _endpoint(socket: zmq.Socket[bytes]) -> str:
    named = socket.getsockopt(zmq.LAST_ENDPOINT)
    return named.decode() if isinstance(named, bytes) else str(named)
