# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user is in the middle of: while something is dragged or cut, nothing may come into the scene or go."""

from __future__ import annotations

import bpy


def found(manager: bpy.types.WindowManager) -> str:
    """Return the name of an operator of Blender's own that waits for the user, in any window; "" where there is none.

    Blender refuses to leave a mode while something is transformed, and its operators hold on to what they work on.
    Operators of add-ons do not count: some run for as long as Blender does.
    """
    for window in manager.windows:
        for operator in window.modal_operators:
            if bpy.types.Operator.bl_rna_get_subclass_py(operator.bl_idname) is None:
                return operator.name
    return ""
