# SPDX-License-Identifier: GPL-3.0-or-later
"""A phone's video stands upright behind the armature, whichever Blender reads it."""

from __future__ import annotations

import math
from typing import Any

import pytest


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_phones_video_is_turned_where_blender_does_not(addon: Any, empty: Any, turn: int) -> None:
    import bpy

    lying = turn % 180 and bpy.app.version < (4, 4)
    data = bpy.data.cameras.new("camera")
    background = data.background_images.new()
    background.image = bpy.data.images.new("picture", 64, 48)
    addon.video_camera._stand_upright(background, turn)
    turned = turn if bpy.app.version < (4, 4) else 0
    assert background.rotation == pytest.approx(math.radians(turned))
    assert background.scale == pytest.approx(64 / 48 if lying else 1.0)
