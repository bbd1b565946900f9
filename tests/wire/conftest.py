# SPDX-License-Identifier: GPL-3.0-or-later
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import CuttingProxy, ServerProcess


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
