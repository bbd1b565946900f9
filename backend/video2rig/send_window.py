# SPDX-License-Identifier: GPL-3.0-or-later
"""What is sent to a server: read ahead, under credit, and kept until the server has worked it through."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from .ahead import READ_AHEAD, ahead
from .cargo import Cargo, Piece
from .link import FRAMES, Link
from .progress import Teller
from .wire import Limits, WireError, encode


class SendWindow:
    """The messages of one session. Each has an index; those that the server may still ask for again are kept.

    Attributes:
        read: How many messages there were so far.
        next: Index of the one that is sent next; below `read` after a connection was lost.
        acknowledged: How many the server has worked through.
        whole: Whether `read` is all of them.
    """

    def __init__(self, cargo: Cargo, tell: Teller) -> None:
        """Begin at the first message; nothing is read yet.

        Args:
            cargo: What is sent. tell: Told the cargo's notices, and how many frames there are once that is known.
        """
        self._cargo, self._tell = cargo, tell
        self._pieces: Generator[Piece, None, None] | None = None
        self._kept: deque[list[bytes | memoryview]] = deque()
        self._noticed = 0
        self._credit = 1
        self.read = self.next = self.acknowledged = 0
        self.whole = False

    def close(self) -> None:
        """Read nothing more."""
        if self._pieces is not None:
            self._pieces.close()

    def resume(self, next_index: int, credit: int) -> None:
        """Go on where the server stands.

        Raises:
            WireError: It cannot stand there.
        """
        if not self.acknowledged <= next_index <= self.read:
            raise WireError(f"the server wants frame {next_index}, but {self.read} were sent")
        self.next, self._credit = next_index, max(1, credit)

    def acknowledge(self, next_index: int, credit: int) -> bool:
        """Drop what the server has worked through; return whether that is more than before.

        Raises:
            WireError: It was not sent.
        """
        if next_index > self.next:
            raise WireError(f"the server acknowledged frame {next_index}, {self.next} were sent")
        self._credit = max(1, credit)
        if next_index <= self.acknowledged:
            return False
        for _ in range(next_index - self.acknowledged):
            self._kept.popleft()
        self.acknowledged = next_index
        return True

    def send(self, link: Link, session: str, limits: Limits) -> bool:
        """Send the next message, again or for the first time; return whether there was one and credit for it.

        Raises:
            Unreachable, ServerError: See `Link.send`.
            VideoError: The video cannot be read.
        """
        if self.next - self.acknowledged >= self._credit:
            return False
        if self.next == self.read and not self._read(session, limits):
            return False
        link.send(FRAMES, self._kept[self.next - self.acknowledged])
        self.next += 1
        return True

    def _read(self, session: str, limits: Limits) -> bool:
        if self.whole:
            return False
        if self._pieces is None:
            self._pieces = ahead(self._cargo.pieces(limits), READ_AHEAD)
        piece = next(self._pieces, None)
        for notice in self._cargo.notices[self._noticed :]:
            self._tell.notice(notice)
        self._noticed = len(self._cargo.notices)
        if piece is None:
            self.whole = True
            self._tell.frames = self.read
            return False
        self._kept.append(encode(piece.kind, piece.arrays, session=session, **piece.fields))
        self.read += 1
        return True
