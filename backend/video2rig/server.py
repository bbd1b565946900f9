# SPDX-License-Identifier: GPL-3.0-or-later
"""`video2rig serve`: a server from its start, through signals, to the removal of its connection file."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .access import read_keys
from .connection import Connection, ConnectionFileError, default_path, is_loopback
from .errors import Video2RigError
from .greeting import probe
from .link import Unreachable
from .parent import is_running
from .seen import Seen
from .served import AnsweringPipeline, PipelineFactory, SolvingPipeline
from .settings import Settings
from .skeleton import Skeleton
from .switchboard import ServeError, Switchboard
from .take import Take
from .wire import Limits

log = logging.getLogger(__name__)

PARENT_SECONDS = 1.0
"""Between two looks at whether the parent still lives."""


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    device: str = "auto",
    authorized_keys: str | Path | None = None,
    connection_path: str | Path | None = None,
    parent_pid: int | None = None,
    pipeline_factory: PipelineFactory | None = None,
    limits: Limits | None = None,
) -> int:
    """Serve until a signal, or until the parent ends. Returns the exit code.

    Args:
        host: Address to listen at; any but loopback needs `authorized_keys`.
        port: Control listens there, frames at the next; 0 takes two free ones.
        device: Where the networks run: "auto", "cpu" or "cuda".
        authorized_keys: File with the public keys of clients that may come in, besides the one made here.
        connection_path: Where the connection file goes; None takes the user's runtime folder.
        parent_pid: End when this process ends.
        pipeline_factory: Makes the pipelines; None takes the real ones.
        limits: What the server takes.

    Raises:
        Video2RigError: The server cannot start; the message says why.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    keys = read_keys(authorized_keys) if authorized_keys is not None else []
    if not is_loopback(host) and not keys:
        raise ServeError(
            f"{host} can be reached from other computers: name the clients that may come in with --authorized-keys, "
            "or listen at 127.0.0.1"
        )
    if not 0 <= port < 65535:
        raise ServeError(f"port {port}: expected 0, or 1 to 65534")
    path = default_path(create=True) if connection_path is None else Path(connection_path)
    _refuse_second(path)
    factory = pipeline_factory or TorchPipelines(device)
    board = Switchboard(factory, host, port, keys, limits)
    try:
        with _until_signal() as signalled:
            board.connection.save(path)
            log.info("listening at %s; %s", board.connection.control_endpoint, factory.device)
            log.info("connection file %s", path)
            try:
                board.run(_stopper(signalled, parent_pid))
            finally:
                board.connection.remove(path)
    finally:
        ended = board.close()
    log.info("ended")
    if not ended and threading.current_thread() is threading.main_thread():
        # a thread deep in torch cannot be stopped, and the interpreter's own end beside it would abort the process
        logging.shutdown()
        os._exit(0)
    return 0


class TorchPipelines:
    """The real pipelines; the networks are loaded once a device, when the first video comes.

    Attributes:
        device: A line for users about what computes.
    """

    def __init__(self, device: str) -> None:
        """Choose the device.

        Raises:
            DeviceError: It is not there.
        """
        from .device import resolve_device, set_cpu_threads

        set_cpu_threads()
        self._choice = device
        self.device = resolve_device(device)[1]
        self._backends: dict[str, Any] = {}
        self._lock = threading.Lock()  # one session may detect while another one solves again

    def __call__(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> SolvingPipeline:
        """Return a pipeline for one video; called by one session at a time."""
        from .pipeline import Pipeline

        return Pipeline(settings, video, self._backend(settings), skeleton)

    def again(
        self,
        settings: Settings,
        video: dict[str, Any],
        skeleton: Skeleton | None,
        seen: Seen,
        progress: Callable[[str, int, int], None],
    ) -> Take:
        """Solve keypoints; called by one session at a time. See `pipeline.solve_seen`."""
        from .pipeline import solve_seen

        return solve_seen(seen, settings, video, self._backend(settings), progress, skeleton)

    def live(self, settings: Settings, video: dict[str, Any], skeleton: Skeleton | None) -> AnsweringPipeline:
        """Return what answers live frames; called by one session at a time."""
        from .live.pipeline import LivePipeline

        return LivePipeline(settings, video, self._backend(settings), skeleton)

    def _backend(self, settings: Settings) -> Any:
        from .pipeline import Backend

        with self._lock:
            choice = self._choice if settings.device == "auto" else settings.device
            if choice not in self._backends:
                self._backends[choice] = Backend(choice)
            return self._backends[choice]


def _refuse_second(path: Path) -> None:
    """Refuse to take a connection file away from a server that answers."""
    try:
        connection = Connection.load(path)
        probe(connection, timeout=1.0)
    except (ConnectionFileError, Unreachable):
        return
    except Video2RigError as error:
        log.info("the server of the connection file %s is not ours: %s", path, error)
        return
    raise ServeError(
        f"a server already answers (process {connection.pid}, connection file {path}); "
        "use it, or name another file with --connection-file"
    )


@contextmanager
def _until_signal() -> Iterator[threading.Event]:
    """Give an event that SIGINT, SIGTERM and SIGHUP set, and put the former handlers back."""
    signalled = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield signalled
        return
    names = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        names.append(signal.SIGHUP)
    before = {name: signal.signal(name, lambda *_: signalled.set()) for name in names}
    try:
        yield signalled
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _stopper(signalled: threading.Event, parent_pid: int | None) -> Callable[[], bool]:
    looked = time.monotonic()

    def stop() -> bool:
        nonlocal looked
        if signalled.is_set():
            return True
        if parent_pid is not None and time.monotonic() - looked > PARENT_SECONDS:
            looked = time.monotonic()
            if not is_running(parent_pid):
                log.info("the parent %d has ended", parent_pid)
                return True
        return False

    return stop
