# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may talk to the server: CURVE keys, asked for by ZeroMQ at every handshake (its ZAP protocol)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import zmq
from zmq.utils import z85

from .connection import KEY_LENGTH, is_key
from .errors import Video2RigError

log = logging.getLogger(__name__)

DOMAIN = b"video2rig"
MAX_KEY_FILE_BYTES = 1 << 20


class AccessError(Video2RigError):
    """A list of keys that cannot be read, or that is needed and absent."""


class Access:
    """Guards the sockets of one context; a handshake with any other key than the given ones fails.

    Attributes:
        socket: ZeroMQ asks here; when it is readable, call :meth:`answer`.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: Iterable[str]) -> None:
        """Be ready to answer; must come before any bind."""
        self._keys = frozenset(z85.decode(key) for key in keys)
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def guard(self, socket: zmq.Socket[bytes], secret: bytes) -> None:
        """Make a socket that is not bound yet an encrypted one that only known clients reach."""
        socket.curve_server = True
        socket.curve_secretkey = secret
        socket.zap_domain = DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without it everyone may come in where nobody answers

    def answer(self) -> None:
        """Answer every handshake that waits."""
        while self.socket.poll(0):
            peer, *request = self.socket.recv_multipart()
            if len(request) != 8 or request[0] != b"":
                continue
            version, identifier, domain, address, _, mechanism, key = request[1:8]
            known = (version, domain, mechanism) == (b"1.0", DOMAIN, b"CURVE") and key in self._keys
            if not known:
                log.warning("a client at %s was refused: its key is not authorized", address.decode(errors="replace"))
            status = (b"200", b"OK") if known else (b"400", b"this key is not authorized")
            self.socket.send_multipart([peer, b"", version, identifier, *status, b"", b""])


def read_keys(path: str | Path) -> list[str]:
    """Read public keys of clients: one in Z85 at the start of a line, anything after a blank, ``#`` and empty lines.

    A ``#`` begins a comment only at the start of a line, because it may be part of a key.

    Raises:
        AccessError: The file cannot be read, holds no key, or a line that is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_KEY_FILE_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"authorized keys {path}: cannot be read ({error})") from error
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if is_key(words[0]):
            keys.append(words[0])
        elif not words[0].startswith("#"):
            raise AccessError(f"authorized keys {path}, line {number}: not a public key of {KEY_LENGTH} characters")
    if not keys:
        raise AccessError(f"authorized keys {path}: holds no key")
    return keys
