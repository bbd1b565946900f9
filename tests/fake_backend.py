# SPDX-License-Identifier: GPL-3.0-or-later
"""A backend of a few lines as a wheel, and package indexes on this computer that behave or misbehave."""

from __future__ import annotations

import base64
import hashlib
import http.server
import importlib.util
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import json, os, pathlib, sys

class weights:
    @staticmethod
    def fetch(name):
        path = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "."), "net.tflite")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")
        return {path.name: path}

def main():
    words = sys.argv[1:]
    if words[0] == "fetch":
        if os.environ.get("FAKE_NO_WEIGHTS"):
            sys.exit("video2rig: no weights today")
        print(f"net.tflite: {weights.fetch(words[1])['net.tflite']}")
        print("licence: Apache-2.0; a network")
        return 0
    assert words[0] == "doctor", words
    device = words[words.index("--device") + 1] if "--device" in words else "auto"
    problems = ["the device 'cuda' was asked for, but there is none"] if device == "cuda" else PROBLEMS
    facts = {"version": VERSION, "device": f"computing on the CPU, for {device}", "problems": problems}
    print("a library: {warns}")
    print(json.dumps(facts) if "--json" in words else "all is well", flush=True)
    print("another one: {warns}", file=sys.stderr)
    return bool(problems)
"""


def make_wheel(
    folder: Path, name: str, version: str, requires: list[str] | None = None, code: str = "", padding: int = 0
) -> Path:
    """Write a wheel of one module, with a program of the wheel's name where the module has a `main`.

    Args:
        folder: Where to. name, version: Of the wheel and its module. requires: What it depends on.
        code: Of the module. padding: Bytes to add, so that a download can break in the middle.
    """
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": code.encode(),
        f"{name}/padding.bin": bytes(hashlib.sha256(str(n).encode()).digest()[0] for n in range(padding)),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            + "".join(f"Requires-Dist: {item}\n" for item in requires or [])
        ).encode(),
    }
    if "def main" in code:
        files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{name} = {name}:main\n".encode()
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}\n"
        for path, data in files.items()
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


def backend_wheel(folder: Path, version: str = "9.9.9", problems: list[str] | None = None) -> Path:
    """Write the fake backend's wheel; it needs `tinydep`."""
    code = f"VERSION, PROBLEMS = {version!r}, {problems or []!r}\n{PROGRAM}"
    return make_wheel(folder, "video2rig", version, ["tinydep>=1"], code)


def bundled_pip() -> Path | None:
    """Return the wheel of pip that this Python brings; some distributions take it out."""
    found = importlib.util.find_spec("ensurepip")
    return next(Path(found.origin).parent.glob("_bundled/pip-*.whl"), None) if found and found.origin else None


def fill_wheels(folder: Path, uv_wheel: Path) -> Path:
    """Make the folder of wheels that an installation needs: uv, pip and `tinydep`."""
    make_wheel(folder, "tinydep", "1.2", padding=200_000)
    (folder / uv_wheel.name).symlink_to(uv_wheel)
    if bundled := bundled_pip():
        (folder / bundled.name).write_bytes(bundled.read_bytes())
    else:
        make_wheel(folder, "pip", "99.0")
    return folder


@contextmanager
def serve_index(wheels: Path, fault: Callable[[str, http.server.BaseHTTPRequestHandler], bool]) -> Iterator[str]:
    """Serve a simple index of a folder's wheels on loopback; give its address.

    Args:
        wheels: The folder.
        fault: Called with each file's name and the request's handler; returns whether it answered, in its own way.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "simple":
                named = [path.name for path in wheels.glob("*.whl") if path.name.split("-")[0] == name]
                if not named:
                    self.send_error(404)
                    return
                body = "".join(f'<a href="/files/{file}">{file}</a>' for file in named).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            if fault(name, self):
                return
            body = (wheels / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.send_error(405)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()
