#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the Blender extension: one installable zip a platform, the same bytes from the same input.

    python build_addon.py                        # for this machine
    python build_addon.py --platform all
    python build_addon.py --backend-bundle OUT.zip   # what the installation of the backend downloads, for use offline

A zip holds ``blender_addon/``, the modules of ``backend/video2rig`` that both programs share (as ``core/``), the
wheels that Blender's Python lacks, and the backend's own wheel, which is installed outside Blender. Wheels are
fetched once with pip, into ``build/wheels``, and checked by digest.
Where a Blender is at hand (``$BLENDER``, or ``blender`` on the PATH) it validates the zips.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
ADDON = ROOT / "blender_addon"
BACKEND = ROOT / "backend" / "video2rig"
BUILD = ROOT / "build"

CORE_ROOTS = (
    "bundling",
    "client",
    "doubt",
    "installer",
    "key_reduction",
    "launcher",
    "limbs",
    "live_client",
    "live_grabbers",
    "live_source",
    "recording",
    "take",
    "settings",
    "bounds",
    "contact_marks",
    "anatomy",
    "keypoints",
    "skeleton",
    "presence",
    "take_files",
    "rest_rig",
    "retarget",
    "rig_skeleton",
    "rig_structure",
    "rotation_channels",
)
"""What the add-on imports of the backend. These modules, and all that they import, run inside Blender: numpy, pyzmq,
OpenCV and mss are everything that they may ask for."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can tell


class BuildError(Exception):
    """A build that cannot be trusted, and why."""


class Wheel(NamedTuple):
    """A wheel to ship, and what pip must be asked for to get it."""

    filename: str
    sha256: str
    pip_platform: str

    @property
    def tags(self) -> list[str]:
        """Project, version, Python, ABI and platform tags."""
        return self.filename.removesuffix(".whl").split("-")


_PYZMQ_MACOS = (
    Wheel(
        "pyzmq-27.3.0-cp311-cp311-macosx_10_15_universal2.whl",
        "86fb4408797aabb54a31e147176ae0f2474d99f1715a36a4564089eca9ef9ce8",
        "macosx_10_15_universal2",
    ),
    Wheel(
        "pyzmq-27.3.0-cp312-abi3-macosx_10_15_universal2.whl",
        "15155fd8f308d3bd47f67a8f6cc809f9db90abbf63c514c384a17622e2cf080f",
        "macosx_10_15_universal2",
    ),
)

# reads screens for live use: MIT, without dependencies, pure Python
_MSS = Wheel("mss-10.2.0-py3-none-any.whl", "e79f428899280e7e64e38365b5bfed683851ebea807eeaeadaf06eb8e0d67197", "any")

# OpenCV's 4.11 wheels were built against numpy 2, so they run with the numpy 1 of Blender 4.2 to 5.0 and with
# numpy 2 alike; pyzmq's cp312-abi3 wheels serve the Pythons of Blender 5.1 and of Linux distributions.
WHEELS: dict[str, tuple[Wheel, ...]] = {
    "linux-x64": (
        Wheel(
            "opencv_python_headless-4.11.0.86-cp37-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "0e0a27c19dd1f40ddff94976cfe43066fbbe9dfbb2ec1907d66c19caef42a57b",
            "manylinux2014_x86_64",
        ),
        Wheel(
            "pyzmq-27.3.0-cp311-cp311-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl",
            "477b8ad30d66fc905c5388351e83b9ac25824b00e82c0d052b72ea6392636dfd",
            "manylinux_2_28_x86_64",
        ),
        Wheel(
            "pyzmq-27.3.0-cp312-abi3-manylinux_2_26_x86_64.manylinux_2_28_x86_64.whl",
            "858fe25231e0fd8612da142efde019faa5ef63fa150a821a27870e791b38c798",
            "manylinux_2_28_x86_64",
        ),
        _MSS,
    ),
    "macos-arm64": (
        Wheel(
            "opencv_python_headless-4.11.0.86-cp37-abi3-macosx_13_0_arm64.whl",
            "48128188ade4a7e517237c8e1e11a9cdf5c282761473383e77beb875bb1e61ca",
            "macosx_13_0_arm64",
        ),
        *_PYZMQ_MACOS,
        _MSS,
    ),
    "macos-x64": (
        Wheel(
            "opencv_python_headless-4.11.0.86-cp37-abi3-macosx_13_0_x86_64.whl",
            "a66c1b286a9de872c343ee7c3553b084244299714ebb50fbdcd76f07ebbe6c81",
            "macosx_13_0_x86_64",
        ),
        *_PYZMQ_MACOS,
        _MSS,
    ),
    "windows-x64": (
        Wheel(
            "opencv_python_headless-4.11.0.86-cp37-abi3-win_amd64.whl",
            "6c304df9caa7a6a5710b91709dd4786bf20a74d57672b3c31f7033cc638174ca",
            "win_amd64",
        ),
        Wheel(
            "pyzmq-27.3.0-cp311-cp311-win_amd64.whl",
            "df98c790f86b6aa2378b4bb94dec7b85b0adb195b880b41e429a4990aed2a8c9",
            "win_amd64",
        ),
        Wheel(
            "pyzmq-27.3.0-cp312-abi3-win_amd64.whl",
            "3ea8e8fa5c097e68fef91d70b150fda96f307758103868018fc4deeb9c214122",
            "win_amd64",
        ),
        _MSS,
    ),
}


PYTHONS = ("cp311", "cp312", "cp313", "cp314")
"""The Pythons of Blender 4.2 and later, those of Linux distributions included."""


def pythons_wheel() -> tuple[str, bytes]:
    """Return name and bytes of a wheel that holds nothing and names :data:`PYTHONS`.

    Blender gathers the Pythons that an extension runs on from its wheels' names. It reads pyzmq's as 3.11 alone and
    refuses every later one, because it drops the stable ABI's "3" as soon as some wheel names a minor version.
    """
    name = f"video2rig_pythons-{version()}"
    tag = f"{'.'.join(PYTHONS)}-none-any"
    info = f"{name}.dist-info"
    tags = "".join(f"Tag: {python}-none-any\n" for python in PYTHONS)
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: video2rig-pythons\nVersion: {version()}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: build_addon\nRoot-Is-Purelib: true\n{tags}".encode(),
        f"{info}/RECORD": f"{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n".encode(),
    }
    return f"{name}-{tag}.whl", zip_bytes(files)


def backend_wheel() -> tuple[str, bytes]:
    """Return name and bytes of the backend's own wheel, as pyproject.toml describes it: what the add-on installs.

    Raises:
        BuildError: pyproject.toml asks for something that is not built here.
    """
    with (ROOT / "pyproject.toml").open("rb") as file:
        facts = tomllib.load(file)
    project, tool = facts["project"], facts["tool"]["setuptools"]
    unknown = set(tool) - {"dynamic", "packages", "package-data", "data-files"}
    if unknown or project["dynamic"] != ["version"] or set(tool["package-data"]) != {BACKEND.name}:
        raise BuildError(f"pyproject.toml has settings that the backend's wheel does not know: {sorted(unknown)}")
    name = f"video2rig-{version()}"
    patterns = ["**/*.py", *tool["package-data"][BACKEND.name]]
    paths = {path for pattern in patterns for path in BACKEND.glob(pattern)}
    files = {path.relative_to(BACKEND.parent).as_posix(): path.read_bytes() for path in paths}
    for folder, globs in tool["data-files"].items():
        for path in [path for pattern in globs for path in ROOT.glob(pattern)]:
            files[f"{name}.data/data/{folder}/{path.name}"] = path.read_bytes()
    metadata = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version()}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {requirement}" for requirement in project["dependencies"]),
    ]
    scripts = "".join(f"{script} = {target}\n" for script, target in sorted(project["scripts"].items()))
    info = f"{name}.dist-info"
    files[f"{info}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: build_addon\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    files[f"{info}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD").encode()
    return f"{name}-py3-none-any.whl", zip_bytes(files)


def _record(files: dict[str, bytes], own_name: str) -> str:
    """Return a wheel's RECORD: name, digest and size of each file."""
    lines = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={digest},{len(files[name])}\n")
    return "".join([*lines, f"{own_name},,\n"])


def current_platform() -> str:
    """Return Blender's name for this machine.

    Raises:
        BuildError: There is no zip for such a machine.
    """
    system = {"Linux": "linux", "Darwin": "macos", "Windows": "windows"}.get(platform.system(), "")
    machine = {"x86_64": "x64", "amd64": "x64", "arm64": "arm64", "aarch64": "arm64"}.get(
        platform.machine().lower(), ""
    )
    name = f"{system}-{machine}"
    if name not in WHEELS:
        raise BuildError(f"no wheels for {platform.system()} on {platform.machine()}; there are {', '.join(WHEELS)}")
    return name


def version() -> str:
    """Return the version of the distribution, the one place where it is written."""
    found = re.search(r'^__version__ = "([^"]+)"$', (BACKEND / "__init__.py").read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise BuildError(f'{BACKEND / "__init__.py"} has no line __version__ = "..."')
    return found[1]


def sha256(path: Path) -> str:
    """Return the hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """Return the wheel in ``folder``, downloaded if it is not there.

    Raises:
        BuildError: It cannot be downloaded, or its digest is not the pinned one.
    """
    path = folder / wheel.filename
    if not path.is_file():
        project, release, python, abi, _ = wheel.tags
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", str(folder)]
        if wheel.pip_platform != "any":
            command += ["--implementation", "cp", "--abi", abi, "--platform", wheel.pip_platform]
            # an abi3 wheel is asked for with the lowest Python that it serves
            command += ["--python-version", re.sub(r"cp(\d)(\d+)", r"\1.\2", python)]
        command.append(f"{project}=={release}")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not path.is_file():
            reason = (done.stderr.strip().splitlines() or ["pip fetched another file"])[-1]
            raise BuildError(f"{wheel.filename} cannot be downloaded: {reason}")
    if sha256(path) != wheel.sha256:
        raise BuildError(f"{path} has the digest {sha256(path)}, pinned is {wheel.sha256}; delete it and build again")
    return path


def core_modules() -> list[str]:
    """Return the backend's modules that run inside Blender, by following imports from :data:`CORE_ROOTS`.

    Raises:
        BuildError: A module is absent, or imports the backend otherwise than as ``from .module import name``.
    """
    found: set[str] = set()
    waiting = list(CORE_ROOTS)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        path = BACKEND / f"{module}.py"
        if not path.is_file():
            raise BuildError(f"the core module {path.relative_to(ROOT)} is absent")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.level == 0:
                continue
            names = [node.module] if node.module else [alias.name for alias in node.names if alias.name[0] != "_"]
            if node.level != 1 or any("." in name for name in names):
                raise BuildError(f"{path.name}:{node.lineno} imports across folders; core modules lie side by side")
            waiting += names
    return sorted(found)


def manifest(target: str) -> str:
    """Return the manifest of one platform's zip: the template with version, platform and wheels."""
    text = (ADDON / "blender_manifest.toml").read_text("utf-8")
    text, count = re.subn(r"(?m)(?:^#.*\n)*^version = .*$", f'version = "{version()}"', text, count=1)
    if count != 1:
        raise BuildError("blender_manifest.toml has no version to replace")
    names = [pythons_wheel()[0], *(wheel.filename for wheel in WHEELS[target])]
    wheels = "".join(f'  "./wheels/{name}",\n' for name in names)
    head, table, tail = text.partition("\n[permissions]")
    return f'{head}platforms = ["{target}"]\nwheels = [\n{wheels}]\n{table}{tail}'


def sources() -> list[Path]:
    """Return the add-on's own modules."""
    return sorted(ADDON.rglob("*.py"))


def contents(target: str, wheels: Path) -> dict[str, bytes]:
    """Return every file of one platform's zip by its name there.

    Raises:
        BuildError: A core module or a wheel is absent.
    """
    files = {path.relative_to(ADDON).as_posix(): path.read_bytes() for path in sources()}
    files["blender_manifest.toml"] = manifest(target).encode()
    files["LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files["core/__init__.py"] = (
        "# SPDX-License-Identifier: GPL-3.0-or-later\n"
        '"""What the add-on and the backend share, copied from backend/video2rig."""\n\n'
        f'__version__ = "{version()}"\n'
    ).encode()
    for module in core_modules():
        files[f"core/{module}.py"] = (BACKEND / f"{module}.py").read_bytes()
    for path in (BACKEND / "rom").glob("*.json"):
        files[f"core/rom/{path.name}"] = path.read_bytes()
    name, data = pythons_wheel()
    files[f"wheels/{name}"] = data
    # not among the manifest's wheels, which Blender puts into its own Python
    name, data = backend_wheel()
    files[f"environment/{name}"] = data
    for wheel in WHEELS[target]:
        files[f"wheels/{wheel.filename}"] = fetch_wheel(wheel, wheels).read_bytes()
    return files


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """Return a zip of files whose bytes depend on nothing but them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            # wheels are compressed already, and stored bytes do not depend on the zlib at hand
            entry.compress_type = zipfile.ZIP_STORED
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def build(target: str, folder: Path = BUILD) -> Path:
    """Build the zip of one platform and return its path.

    Raises:
        BuildError: See :func:`contents`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"video2rig-{version()}-{target}.zip"
    partial = path.with_suffix(".part")
    partial.write_bytes(zip_bytes(contents(target, BUILD / "wheels")))
    os.replace(partial, path)
    return path


def validate(path: Path, blender: str) -> None:
    """Let Blender judge a zip.

    Raises:
        BuildError: Blender refuses it.
    """
    done = subprocess.run([blender, "--command", "extension", "validate", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{path.name} is not a valid extension:\n{done.stdout}{done.stderr}")


def backend_bundle(target: Path, device: str, python: str) -> int:
    """Write an offline bundle for machines like this one; return the exit code."""
    sys.path.insert(0, str(BACKEND.parent))  # pure standard library; nothing needs to be installed for it
    from video2rig.bundling import make_bundle
    from video2rig.errors import Video2RigError
    from video2rig.install_request import Request

    name, data = backend_wheel()
    (BUILD / "wheels").mkdir(parents=True, exist_ok=True)
    (BUILD / "wheels" / name).write_bytes(data)
    try:
        size = make_bundle(target, Request(BUILD / "wheels" / name, device=device, python=python), print)
    except Video2RigError as error:
        print(f"build_addon: {error}", file=sys.stderr)
        return 1
    print(f"{target}  {size / 1e6:.1f} MB")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Build what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(description="Build the Blender extension.")
    parser.add_argument(
        "--platform", choices=("current", "all", *WHEELS), default="current", help="which zips to build"
    )
    parser.add_argument("--backend-bundle", type=Path, metavar="OUT.zip", help="write an offline bundle instead")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="the build of torch in the bundle")
    parser.add_argument("--python", default="", metavar="PROGRAM", help="the Python that the bundle is for")
    arguments = parser.parse_args(argv)
    if arguments.backend_bundle is not None:
        return backend_bundle(arguments.backend_bundle, arguments.device, arguments.python)
    try:
        targets = {"current": lambda: [current_platform()], "all": lambda: list(WHEELS)}.get(
            arguments.platform, lambda: [arguments.platform]
        )()
        blender = os.environ.get("BLENDER") or shutil.which("blender")
        for target in targets:
            path = build(target)
            if blender:
                validate(path, blender)
            print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1e6:.1f} MB  sha256 {sha256(path)}")
        if not blender:
            print("not validated: no Blender at hand ($BLENDER, or blender on the PATH)")
    except BuildError as error:
        print(f"build_addon: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
