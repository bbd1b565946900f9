# SPDX-License-Identifier: GPL-3.0-or-later
"""How long Blender's unit is: the solver works in metres, a scene in what its Unit Scale says."""

from __future__ import annotations

import bpy


def metres(scene: bpy.types.Scene) -> float:
    """Return the metres of one unit of a scene's."""
    unit = scene.unit_settings
    return 1.0 if unit.system == "NONE" else unit.scale_length
