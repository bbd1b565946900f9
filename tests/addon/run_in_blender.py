# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the add-on's tests in a real Blender, whose Python needs pytest, hypothesis and numpy.

BLENDER_USER_RESOURCES=$(mktemp -d) blender -b --python-exit-code 1 -P tests/addon/run_in_blender.py -- tests/addon
"""

from __future__ import annotations

import os
import sys

import pytest

FOLDER = os.path.dirname(os.path.abspath(__file__))

if "BLENDER_USER_RESOURCES" not in os.environ:
    sys.exit("set BLENDER_USER_RESOURCES to an empty folder, or the tests would install into your own settings")
# the other rooms' tests need torch, which no Blender has
OPTIONS = ("-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", FOLDER, "--confcutdir", FOLDER, "-ra")
status = int(pytest.main([*OPTIONS, *sys.argv[sys.argv.index("--") + 1 :]]))
sys.stdout.flush()
if status:
    sys.exit(status)
