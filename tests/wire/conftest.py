# SPDX-License-Identifier: GPL-3.0-or-later
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import CuttingProxy, ServerProcess

from shared_data import blazepose_files
from video2rig.launcher import LocalServer


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts real server processes, by flags of `fake_server.py`; whatever still runs is killed."""
    servers: list[ServerProcess] = []

    def start(*flags: str) -> ServerProcess:
        server = ServerProcess(tmp_path / f"connection{len(servers)}.json", *flags)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for tests that leave it as it was."""
    server = ServerProcess(tmp_path_factory.mktemp("server") / "connection.json")
    yield server
    server.kill()


@pytest.fixture
def start_proxy() -> Iterator[Callable[..., CuttingProxy]]:
    """Starts proxies whose connections can be cut."""
    proxies: list[CuttingProxy] = []

    def start(endpoint: str) -> CuttingProxy:
        proxies.append(CuttingProxy(endpoint))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.fixture(scope="session")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """`video2rig serve` with the real networks and the real solver, started by whoever first asks it to `ensure`."""
    blazepose_files()
    serve = "import sys; from video2rig.cli import main; sys.exit(main())"
    with pytest.MonkeyPatch.context() as patch:
        # sums come in another order on more threads, and results are compared bit by bit
        patch.setenv("OMP_NUM_THREADS", "1")
        server = LocalServer([sys.executable, "-c", serve], tmp_path_factory.mktemp("real") / "connection.json")
        yield server
        server.stop()
