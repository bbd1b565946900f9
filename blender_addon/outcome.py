# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of the last solve, in the panel until it is dismissed: Blender shows a report for seconds, and cuts it."""

from __future__ import annotations

import textwrap
from typing import Literal, NamedTuple

import bpy
from bpy.types import Operator

Kind = Literal["WARNING", "ERROR"]
_LETTER = 6.7  # pixels of an average letter in a panel, at a resolution scale of 1
_BESIDE, _BUTTON = 70, 25  # pixels that margins, tabs and an icon take, and a button beside the lines


class Told(NamedTuple):
    """A line for the user."""

    kind: Kind
    text: str


told: list[Told] = []
"""Of the last solve, in order, each once."""


def forget() -> None:
    """Begin anew."""
    told.clear()


def tell(operator: Operator, kind: Kind, text: str) -> None:
    """Report something, and keep it for the panel."""
    operator.report({kind}, text)
    keep(kind, text)


def keep(kind: Kind, text: str) -> None:
    """Keep something for the panel."""
    line = Told(kind, text)
    if line not in told:
        told.append(line)


def letters(context: bpy.types.Context, beside: int = 0) -> int:
    """Return how many letters fit beside each other into the sidebar that is drawn.

    Args:
        context: Of the sidebar. beside: Pixels that something to the right of them takes.
    """
    width = context.region.width if context.region is not None else 290
    scale = context.preferences.system.ui_scale
    return max(16, int((width / scale - _BESIDE - beside) / _LETTER))


def draw_line(
    layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "BLANK1", beside: int = 0
) -> None:
    """Draw a text of any length in as many lines as the sidebar's width asks for; Blender would cut it.

    Args:
        layout: A column. context, beside: See :func:`letters`. text: What to draw. icon: Before the first line.
    """
    for number, part in enumerate(textwrap.wrap(text, letters(context, beside))):
        layout.label(text=part, icon="BLANK1" if number else icon)


def draw(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Show what was told, and a button that dismisses it."""
    if not told:
        return
    row = layout.box().row()
    lines = row.column(align=True)
    for kind, text in told:
        column = lines.column(align=True)
        column.alert = kind == "ERROR"
        draw_line(column, context, text, "ERROR" if kind == "ERROR" else "INFO", _BUTTON)
    row.operator(VIDEO2RIG_OT_dismiss.bl_idname, text="", icon="X", emboss=False)


class VIDEO2RIG_OT_dismiss(Operator):
    """Take away what the last solve had to tell"""

    bl_idname = "video2rig.dismiss"
    bl_label = "Dismiss"
    bl_options = {"INTERNAL"}  # noqa: RUF012 Blender wants a set

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Forget it."""
        forget()
        return {"FINISHED"}
