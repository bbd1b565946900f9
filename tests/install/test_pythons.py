# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Python an environment is made from, with the real uv and with one that answers as it is told."""

import os
import sys
import threading
from pathlib import Path

import pytest

from video2rig.install_request import InstallError
from video2rig.package_index import Indexes, configured
from video2rig.pythons import find_python
from video2rig.uv_tools import UV, Tools


def test_pythons_in_order(request_of, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The system's, else Blender's own, and never one that is too old."""
    request = request_of(python="")
    tools = Tools(tmp_path / "t", configured(), lambda text: None, threading.Event(), offline=True)
    (tmp_path / "t").mkdir()
    tools.prepare(None)
    monkeypatch.setitem(tools.environment, "PATH", os.path.dirname(os.path.realpath(sys.executable)))
    assert find_python(tools, request).origin == "of this computer"
    monkeypatch.setitem(tools.environment, "PATH", str(tmp_path))
    with pytest.raises(InstallError, match=r"Python >=3\.11,<3\.15 is needed, and this computer has none"):
        find_python(tools, request)
    own = find_python(tools, request_of(python="", blender_python=sys.executable))
    assert own.program == sys.executable and "Blender's own" in own.origin
    with pytest.raises(InstallError, match=r"Python 3\.99 \(the bundle is for that one\) is needed"):
        find_python(tools, request_of(python="", blender_python=sys.executable), "==3.99.*")


@pytest.mark.skipif(os.name != "posix", reason="makes a shell script")
def test_a_python_that_uv_fetches(request_of, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the system has none, uv is asked for one before Blender's own is taken."""
    uv = tmp_path / "uv"
    uv.write_text(
        f"""#!/bin/sh
cd "{tmp_path}"
echo "$*" >> asked
case "$*" in
  --version) echo uv 0.99.0 ;;
  "python install"*) touch fetched ;;
  "python find"*--managed-python*) test -f fetched && echo "{sys.executable}" ;;
  *) exit 1 ;;
esac
"""
    )
    uv.chmod(0o755)
    monkeypatch.setenv(UV, str(uv))
    tools = Tools(tmp_path, Indexes(), lambda text: None, threading.Event())
    assert "$VIDEO2RIG_UV" in tools.prepare(None)
    found = find_python(tools, request_of(python="", blender_python="/nowhere/blender/python"))
    assert (found.program, found.origin) == (sys.executable, "fetched by uv")
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [words.split()[1] for words in asked[1:]] == ["find", "find", "install", "find"]
    assert "--no-managed-python" in asked[1] and str(tmp_path / "python") == tools.environment["UV_PYTHON_INSTALL_DIR"]
