# SPDX-License-Identifier: GPL-3.0-or-later
"""Where packages come from on this computer.

The user's own choice comes first, then what uv is set up with, then what pip is set up with (a studio's mirror is
usually named there), then PyPI.
"""

from __future__ import annotations

import configparser
import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

PYPI = "https://pypi.org/simple"


class Indexes(NamedTuple):
    """Where packages are looked for.

    Attributes:
        default: Address of the index that is asked first; None takes the installer's own setting, else PyPI.
        extra: Addresses of further ones, of equal rank.
        find_links: Folders and pages of wheels.
        constraints: Files that narrow versions.
        no_index: Whether only ``find_links`` are asked.
        chosen: Whether anybody chose; False means that PyPI and PyTorch's own index are meant.
        of_uv: Whether uv itself is set up, and finds the addresses in its own settings.
        origin: Who chose, in words.
    """

    default: str | None = None
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    no_index: bool = False
    chosen: bool = False
    of_uv: bool = False
    origin: str = "PyPI"

    def uv_environment(self) -> dict[str, str]:
        """Return the environment that makes uv ask these addresses alone; a command line would show their passwords."""
        if self.of_uv:
            return dict.fromkeys(UV_PLACES, "") | {name: os.environ[name] for name in UV_PLACES if name in os.environ}
        found = {"UV_DEFAULT_INDEX": self.default or "", "UV_INDEX": " ".join(self.extra)}
        return dict.fromkeys(UV_PLACES, "") | (found if self.chosen else {})

    def arguments(self) -> list[str]:
        """Return uv's options for what is no address."""
        options: list[str] = ["--no-index"] if self.no_index else []
        if self.extra:
            options += ["--index-strategy", "unsafe-best-match"]  # pip's own: the newest of all indexes
        for place in self.find_links:
            options += ["--find-links", place]
        for path in self.constraints:
            options += ["--constraint", path]
        return options

    def pip_environment(self) -> dict[str, str]:
        """Return what makes pip look in the same places."""
        found = {
            "PIP_INDEX_URL": self.default or "",
            "PIP_EXTRA_INDEX_URL": " ".join(self.extra),
            "PIP_FIND_LINKS": " ".join(self.find_links),
            "PIP_NO_INDEX": "1" if self.no_index else "",
        }
        return {name: value for name, value in found.items() if value}


UV_PLACES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
"""Environment variables that tell uv where packages are."""


def configured(chosen: str = "") -> Indexes:
    """Return where packages come from on this computer.

    Args:
        chosen: Address of the index that the user names; then no other is asked.
    """
    pip = pip_settings()
    constraints = tuple(pip.get("constraint", "").split())
    if chosen:
        return Indexes(chosen, constraints=constraints, chosen=True, origin=redacted(chosen))
    if any(os.environ.get(name) for name in (*UV_PLACES, "UV_NO_INDEX", "UV_CONFIG_FILE")):
        first = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL")
        default = first.partition("=")[2] if first and re.match(r"[\w-]+=\w+:", first) else first
        origin = "the index that uv is set up with"
        return Indexes(default or None, constraints=constraints, chosen=True, of_uv=True, origin=origin)
    alone = pip.get("no-index", "").lower() in ("1", "true", "yes", "on")
    found = Indexes(
        None if alone else pip.get("index-url") or None,
        () if alone else tuple(pip.get("extra-index-url", "").split()),
        tuple(pip.get("find-links", "").split()),
        constraints,
        alone,
    )
    if alone or found[:3] != (None, (), ()):
        return found._replace(chosen=True, origin="the index that pip is set up with")
    return found


def redacted(address: str) -> str:
    """Return an address without a password."""
    return re.sub(r"(?<=//)[^/@\s]+@", "", address)


def pip_settings() -> dict[str, str]:
    """Return pip's settings by long option name: its files, then its environment."""
    found: dict[str, str] = {}
    for path in _pip_files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, "utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself would tell
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    for key, value in os.environ.items():
        if key.startswith("PIP_") and value:
            found[key.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def _pip_files() -> list[Path]:
    """Return pip's configuration files, the one that wins last."""
    if sys.platform == "win32":
        folders = [os.environ.get("PROGRAMDATA", ""), os.environ.get("APPDATA", "")]
        paths = [Path(folder, "pip", "pip.ini") for folder in folders if folder]
    else:
        home = Path("~").expanduser()
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        paths = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip" / "pip.conf"]
        paths += [config / "pip" / "pip.conf"]
        if sys.platform == "darwin":
            paths.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
    if named := os.environ.get("PIP_CONFIG_FILE"):
        paths = [] if named == os.devnull else [*paths, Path(named)]
    return paths
