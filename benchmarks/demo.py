# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on one video, as a user's Blender does it: the built add-on, its own server, a .blend and a picture.

    python benchmarks/demo.py VIDEO OUT.blend OUT.png

Installs the newest zip of this machine's platform from build/ into Blender's module, in settings of its own, and runs
``video2rig convert`` there.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "bl_ext.user_default.video2rig"


def main() -> int:
    """Convert the video; return the command's exit code."""
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    video, blend, picture = sys.argv[1:]
    Path(blend).resolve().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="video2rig-demo-") as scratch:
        os.environ["BLENDER_USER_RESOURCES"] = scratch  # read once, when bpy is imported
        command = _install()
        backend = str(Path(sys.executable).with_name("video2rig"))
        try:
            code = command.run(["convert", video, "-o", blend, "--picture", picture, "--backend", backend])
        finally:
            _uninstall()
    if code == 0:
        print(f"look at {picture}, and open {blend} in Blender")
    return code


def _install() -> ModuleType:
    """Install the add-on's zip as an extension; return its command module."""
    import bpy

    sys.path.insert(0, str(ROOT))
    import addon_utils  # comes with bpy, once that is loaded
    import build_addon

    path = build_addon.build(build_addon.current_platform(), ROOT / "build")
    addon_utils.enable("bl_pkg")
    bpy.ops.extensions.package_install_files(filepath=str(path), repo="user_default", enable_on_install=True)
    return importlib.import_module(f"{PACKAGE}.command")


def _uninstall() -> None:
    """Unregister: what stays registered when the module is unloaded crashes or hangs some Blender versions."""
    import addon_utils

    addon_utils.disable(PACKAGE)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # bpy's libraries may wait for each other for ever while they are unloaded
