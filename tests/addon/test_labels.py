# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a user can press or choose has a name in title case, and a tooltip that ends without a full stop."""

from __future__ import annotations

import importlib
import inspect
from types import SimpleNamespace
from typing import Any

import pytest

bpy = pytest.importorskip("bpy", reason="needs the bpy module or a Blender binary")

_SMALL = {"a", "an", "and", "as", "at", "by", "for", "from", "in", "into", "of", "on", "or", "per", "the", "to", "with"}
# where the pointer never comes: read and written by Blender or by us alone
_UNSEEN = {"directory", "files", "filter_glob", "rna_type", "name", "bl_idname", "module", "bl_system_properties_get"}


def is_title(label: str) -> bool:
    """Tell whether a label is in title case: small words in the middle are small, all others begin large."""
    words = label.split()
    for number, word in enumerate(words):
        letters = word.strip("(),.'\"")
        if not letters or not letters[0].isalpha():
            continue
        inside = 0 < number < len(words) - 1 and letters.lower() in _SMALL
        if letters[0].isupper() == inside:
            return False
    return bool(words)


def complaints(name: str, label: str, tooltip: str) -> list[str]:
    found = []
    if not is_title(label):
        found.append(f"{name}: the label {label!r} is not in title case")
    if not tooltip.strip():
        found.append(f"{name}: no tooltip")
    elif tooltip.rstrip().endswith("."):
        found.append(f"{name}: the tooltip ends with a full stop")
    elif not tooltip[0].isupper() and not tooltip[0].isdigit():
        found.append(f"{name}: the tooltip begins with a small letter")
    return found


@pytest.mark.parametrize(
    ("label", "right"),
    [
        ("Video to Armature", True),
        ("By Number", True),
        ("Install For", True),
        ("Install for", False),
        ("Video To Armature", False),
        ("Find bones", False),
        ("", False),
        ("Smoothing (Hz)", True),
        ("RTMPose-m", True),
    ],
)
def test_what_title_case_is(label: str, right: bool) -> None:
    assert is_title(label) == right


def test_every_name_and_tooltip(addon: Any) -> None:
    main = addon.job.__package__
    classes = importlib.import_module(main)._CLASSES
    assert len(classes) > 15
    found: list[str] = []
    looked_at = 0
    for cls in classes:
        where = cls.__name__
        if issubclass(cls, bpy.types.Panel | bpy.types.FileHandler):
            found += [f"{where}: {cls.bl_label!r} is not in title case"] * (not is_title(cls.bl_label))
            continue
        if issubclass(cls, bpy.types.Operator):
            tooltip = getattr(cls, "bl_description", "") or inspect.getdoc(cls) or ""
            found += complaints(where, cls.bl_label, tooltip)
        rna = cls.bl_rna
        if issubclass(cls, bpy.types.Operator):
            group, _, name = cls.bl_idname.partition(".")
            rna = getattr(getattr(bpy.ops, group), name).get_rna_type()
        for prop in rna.properties:
            if prop.identifier in _UNSEEN or prop.is_hidden:
                continue
            looked_at += 1
            at = f"{where}.{prop.identifier}"
            found += complaints(at, prop.name, prop.description)
            if prop.type == "ENUM":
                for item in prop.enum_items:
                    found += complaints(f"{at}.{item.identifier}", item.name, item.description)
    assert looked_at > 40
    assert not found, "\n".join(found)


class Pen:
    """Stands for a layout: remembers what is drawn, and takes whatever it is told."""

    def __init__(self, drawn: list[tuple[str, str]]) -> None:
        self.drawn = drawn

    def __getattr__(self, kind: str) -> Any:
        if kind in ("label", "progress"):
            return lambda text="", **_: self.drawn.append((kind, text))
        if kind in ("row", "column", "split", "box"):
            return lambda *_, **__: Pen(self.drawn)

        def draw(*what: Any, text: str | None = None, **__: Any) -> Any:
            self.drawn.append((kind, text if text is not None else ".".join(map(str, what[1:] or what))))
            return SimpleNamespace()

        return draw


@pytest.mark.parametrize("width", [180, 290, 600])
def test_what_a_solve_told_stays_in_the_panel_in_lines_that_fit(addon: Any, width: int) -> None:
    told = addon.outcome
    told.forget()
    reported: list[Any] = []
    operator = SimpleNamespace(report=lambda kind, text: reported.append((kind, text)))
    long = "the video 'holiday in the mountains.mp4' " + "cannot be read at all, because " * 6 + "it is no video"
    for _ in range(2):
        told.tell(operator, "WARNING", "a connection was lost")
        told.tell(operator, "ERROR", long)
    assert reported.count(({"ERROR"}, long)) == 2
    drawn: list[tuple[str, str]] = []
    preferences = SimpleNamespace(system=SimpleNamespace(ui_scale=1.0))
    context = SimpleNamespace(region=SimpleNamespace(width=width), preferences=preferences)
    told.draw(Pen(drawn), context)
    lines = [text for kind, text in drawn if kind == "label"]
    assert " ".join(lines) == "a connection was lost " + long
    assert max(map(len, lines)) <= told.letters(context) < width / 6
    assert bpy.ops.video2rig.dismiss() == {"FINISHED"}
    drawn.clear()
    told.draw(Pen(drawn), context)
    assert not drawn


@pytest.mark.parametrize("width", [220, 292, 600])
def test_what_the_panels_tell_is_not_cut_off(
    addon: Any, at_once: None, empty: Any, video: Any, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    main = importlib.import_module(addon.job.__package__)
    stays = ["right shoulder internal rotation 12.5 s (100%)", "left elbow extension 0.1 s (4%)"]
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    monkeypatch.setattr(addon.keyframes, "at_bounds_lines", lambda action, most: stays)
    rig = bpy.data.objects["walk"]
    rig.data.video2rig_bones.kept, rig.data.video2rig_bones.told = True, "found by structure; look through the list"
    empty.scene.render.fps, empty.scene.render.fps_base = 24, 1.001
    context = SimpleNamespace(
        region=SimpleNamespace(width=width),
        preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1.0)),
        scene=empty.scene,
        view_layer=empty.view_layer,
        object=rig,
        active_pose_bone=None,
    )
    panels = [importlib.import_module(f"{main.__name__}.{name}") for name in ("panel", "bones_panel")]
    progress = addon.core.progress.Progress("detecting", 5, 165, 7.9, 18.0, "the video ends after 24 of 165 frames")
    draw: dict[str, Any] = {
        " ".join(stays): lambda pen: main.take_panel.draw(pen, context),
        "Keyed at the scene's 23.976 fps": lambda pen: panels[0].VIDEO2RIG_PT_settings.draw(
            SimpleNamespace(layout=pen), context
        ),
        "Found by structure; look through the list": lambda pen: panels[1].VIDEO2RIG_PT_bones.draw(
            SimpleNamespace(layout=pen), context
        ),
        progress.notice: lambda pen: panels[0]._draw_progress(pen, context, progress),
    }
    for told, panel in draw.items():
        drawn: list[tuple[str, str]] = []
        panel(Pen(drawn))
        lines = [text for kind, text in drawn if kind == "label" and text in told]
        assert told in " ".join(lines)
        assert max(map(len, lines)) <= addon.outcome.letters(context), lines


def test_a_failed_solve_is_in_the_panel_until_the_next(addon: Any, at_once: None, empty: Any, video: Any) -> None:
    with pytest.raises(RuntimeError, match="there is no file"):
        bpy.ops.video2rig.import_video(filepath="/nowhere/walk.mp4")
    assert [line.kind for line in addon.outcome.told] == ["ERROR"] and "walk.mp4" in addon.outcome.told[0].text
    assert bpy.ops.video2rig.import_video(filepath=str(video)) == {"FINISHED"}
    assert not addon.outcome.told
