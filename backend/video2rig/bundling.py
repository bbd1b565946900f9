# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes an offline bundle on a computer that has the network, for computers of the same kind that have none."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from . import bundle
from .files import check_writable, replacing
from .install_request import InstallError, Request
from .installation import python_of
from .installer import WEIGHTS
from .package_index import PYPI, configured
from .pythons import find_python
from .torch_build import build_of, check_device
from .uv_tools import Tools
from .verification import version_of

# what `video2rig fetch` does, where PyTorch is not installed
_FETCH = """
import logging, sys
from video2rig import weights
logging.basicConfig(level=logging.INFO, format="%(message)s")
for name, path in weights.fetch(sys.argv[1]).items():
    print(f"{name}: {path}")
"""


def make_bundle(
    target: Path,
    request: Request,
    report: Callable[[str], None] = lambda text: None,
    cancelled: threading.Event | None = None,
) -> int:
    """Write a bundle with all that :func:`installer.install` takes from the network; return its size in bytes.

    Args:
        target: A name that ends in .zip, or a folder that does not exist yet.
        request: For which device and Python; its ``bundle`` and ``root`` are not looked at.
        report: Called with the lines of the programs at work.
        cancelled: Once set, the work ends.

    Raises:
        InstallError: Something cannot be had; nothing is left at ``target``.
        FileError: ``target`` cannot be written.
        Cancelled: ``cancelled`` was set.
    """
    target = target.absolute()
    if target.exists() and target.suffix != ".zip":
        raise InstallError(f"{target} is there already; name a folder that is not, or a .zip")
    check_writable(target)
    # what is made "for CUDA" may be made on a computer without
    if request.device != "cuda":
        check_device(request.device)
    cancelled = cancelled or threading.Event()
    try:
        with tempfile.TemporaryDirectory(prefix=".video2rig-", dir=target.parent, ignore_cleanup_errors=True) as name:
            content = Path(name) / "bundle"
            _fill(content, Path(name), request, report, cancelled)
            size = sum(path.stat().st_size for path in content.rglob("*"))
            if target.suffix == ".zip":
                with replacing(target) as file:
                    bundle.write_zip(content, file)
            else:
                content.rename(target)
            return size
    except OSError as error:
        raise InstallError(f"{error.filename or target}: {error.strerror or error}") from error


def _fill(
    content: Path, scratch: Path, request: Request, report: Callable[[str], None], cancelled: threading.Event
) -> None:
    indexes = configured(request.index)
    tools = Tools(scratch, indexes, report, cancelled)
    (content / "wheels").mkdir(parents=True)
    tools.prepare(tools.fetch(content / "uv"))
    python = find_python(tools, request)
    report(f"for Python {python.version}, {python.origin}")
    environment = scratch / "env"
    tools.run("venv", "--no-project", "--no-config", "--python", python.program, environment)
    into = ["--python", python_of(environment)]
    tools.run("pip", "install", *into, *indexes.arguments(), "--no-deps", request.wheel.absolute(), "pip")

    wanted, pins = scratch / "wanted.txt", scratch / "pins.txt"
    wanted.write_text(f"video2rig @ {request.wheel.absolute().as_uri()}\npip\n", "utf-8")
    torch = tools.torch_arguments(request.device)
    tools.run(
        *("pip", "compile", wanted, *into, *indexes.arguments(), *torch, "--output-file", pins),
        *("--only-binary", ":all:", "--no-emit-package", "video2rig", "--emit-index-annotation", "--no-header"),
    )
    text = pins.read_text("utf-8")
    # PyTorch's own index, where uv chose it
    places = sorted(set(re.findall(r"# from (https?://\S+)", text)) - {indexes.default, PYPI})
    more = [option for place in places for option in ("--extra-index-url", place)]
    tools.program(
        [
            *(python_of(environment), "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"),
            *("--disable-pip-version-check", "--progress-bar", "off", *more),
            *("--dest", content / "wheels", "--requirement", pins),
        ],
        indexes.pip_environment(),
    )
    kept = {"XDG_CACHE_HOME": str(scratch / "weights")} | indexes.pip_environment()
    for line in tools.program([python_of(environment), "-c", _FETCH, WEIGHTS], kept):
        found = re.fullmatch(r"([\w.-]+): (.+)", line)
        if found and Path(found[2]).is_file():
            (content / "weights" / WEIGHTS).mkdir(parents=True, exist_ok=True)
            shutil.copy2(found[2], content / "weights" / WEIGHTS / found[1])

    only = ["--offline", "--no-index", "--find-links", content / "wheels"]
    tools.run("pip", "install", "--dry-run", *into, *only, request.wheel.absolute(), "pip")
    version = ".".join(python.version.split(".")[:2])
    bundle.write_facts(content, version, build_of(request.device), version_of(request.wheel))
