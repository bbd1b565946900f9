# SPDX-License-Identifier: GPL-3.0-or-later
"""A file from a package index by its name: found in a folder or on an index's page, fetched, and checked by digest."""

from __future__ import annotations

import base64
import contextlib
import html.parser
import json
import os
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from .errors import Cancelled
from .files import sha256
from .package_index import pip_settings, redacted

TIMEOUT_SECONDS = 30.0
TRIES = 3


def address_of(place: str, name: str) -> str:
    """Return the address of a file by its name: in a folder, or on a page of a simple index (PEP 503, PEP 691)."""
    folder = Path(urllib.request.url2pathname(urllib.parse.urlsplit(place).path) if "://" in place else place)
    if place.startswith("file:") or "://" not in place:
        if (folder / name).is_file():
            return (folder / name).absolute().as_uri()
        if not (folder / "index.html").is_file():
            raise ValueError("it does not have this file")
        place = (folder / "index.html").absolute().as_uri()
    with _open(place, {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5, */*;q=0.1"}) as response:
        text = response.read().decode("utf-8", "replace")
        base = response.geturl()
        if "json" in response.headers.get_content_type():
            links = [str(file["url"]) for file in json.loads(text)["files"]]
        else:
            parser = _Links()
            parser.feed(text)
            links = parser.found
    for link in links:
        if urllib.parse.unquote(urllib.parse.urlsplit(link).path).rpartition("/")[2] == name:
            return _with_login(urllib.parse.urljoin(base, link).partition("#")[0], place)
    raise ValueError("it does not have this file")


def download(
    address: str, target: Path, digest: str, report: Callable[[int, int], None], cancelled: threading.Event
) -> None:
    partial = target.with_suffix(".part")
    try:
        with _open(address, {}) as response, partial.open("wb") as file:
            total, done = int(response.headers.get("Content-Length") or 0), 0
            while block := response.read(1 << 18):
                if cancelled.is_set():
                    raise Cancelled("cancelled")
                file.write(block)
                done += len(block)
                report(done, total)
        if (found := sha256(partial)) != digest:
            raise ValueError(f"what it sent has the digest {found}, pinned is {digest}")
        os.replace(partial, target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


class _Links(html.parser.HTMLParser):
    """The addresses of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def _open(address: str, headers: dict[str, str]):
    """Open an address, through the proxy that the system names, with its login if it holds one."""
    parts = urllib.parse.urlsplit(address)
    if parts.username is not None:
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers = headers | {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
        address = redacted(address)
    request = urllib.request.Request(address, headers=headers | {"User-Agent": "video2rig-installer"})
    for number in range(1, TRIES + 1):
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=_trust())
        except urllib.error.HTTPError:
            raise
        except OSError as error:
            refused = isinstance(
                getattr(error, "reason", None), (ConnectionRefusedError, ssl.SSLError, FileNotFoundError)
            )
            if number == TRIES or refused:
                raise
            time.sleep(number)
    raise AssertionError("unreachable")


def _trust() -> ssl.SSLContext:
    """Return whom to trust: the system's own, pip's `cert`, and the list that Blender's Python brings."""
    context = ssl.create_default_context()
    named = pip_settings().get("cert")
    if named and os.path.isfile(named):
        context.load_verify_locations(named)
    if not os.environ.get("SSL_CERT_FILE"):
        with contextlib.suppress(ImportError, OSError):
            import certifi  # part of Blender's Python, which has no list of its own on some systems

            context.load_verify_locations(certifi.where())
    return context


def _with_login(address: str, place: str) -> str:
    """Give an address the login of the index that named it, on the same host."""
    ours, theirs = urllib.parse.urlsplit(address), urllib.parse.urlsplit(place)
    if theirs.username is None or ours.username is not None or ours.hostname != theirs.hostname:
        return address
    return ours._replace(netloc=f"{theirs.netloc.rpartition('@')[0]}@{ours.netloc}").geturl()
