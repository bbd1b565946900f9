# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts that drive a real Blender window have in common: clicks, keys, waiting, pictures.

A script is a generator of steps. Each yields seconds to wait, or a condition to wait for; `run` takes them one by one
on a timer, so that Blender's own loop goes on, and ends Blender with code 0 if all held.
"""

from __future__ import annotations

import importlib
import os
import struct
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import numpy as np

PACKAGE = "bl_ext.user_default.video2rig"
PATIENCE = 600.0  # seconds for a solve
_COLOURS = 200
_TICK = 0.25

Steps = Iterator[Callable[[], bool] | float]
Box = tuple[int, int, int, int]  # left, top, right, bottom; pixels of the display from its upper left corner


def install(zip_path: str) -> None:
    """Install the add-on's zip."""
    bpy.ops.extensions.package_install_files(filepath=zip_path, repo="user_default", enable_on_install=True)


def module(name: str) -> Any:
    """Return a module of the installed add-on."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def say(text: str, *what: object) -> None:
    """Print what held."""
    print("CHECK", text, *what, flush=True)


def unfold(panel: type) -> list[str]:
    """Open a panel that is folded at first; return a list that gets what goes wrong while it is drawn."""
    drawn, wrong = panel.draw, []  # type: ignore[attr-defined]

    def draw(self: Any, context: bpy.types.Context) -> None:
        try:
            drawn(self, context)
        except Exception:
            wrong.append(traceback.format_exc())

    bpy.utils.unregister_class(panel)
    panel.bl_options, panel.draw = set(), draw  # type: ignore[attr-defined]
    bpy.utils.register_class(panel)
    return wrong


def window() -> bpy.types.Window:
    return bpy.context.window_manager.windows[0]


def area_of(kind: str) -> bpy.types.Area:
    return next(area for area in window().screen.areas if area.type == kind)


def view() -> bpy.types.Area:
    return area_of("VIEW_3D")


def region_of(area: bpy.types.Area, kind: str) -> bpy.types.Region:
    return next(region for region in area.regions if region.type == kind)


def in_area(area: bpy.types.Area, call: Callable[[], Any]) -> Any:
    """Call something as if the pointer were over an area."""
    with bpy.context.temp_override(window=window(), area=area, region=region_of(area, "WINDOW")):
        return call()


def in_view(call: Callable[[], Any]) -> Any:
    return in_area(view(), call)


def press(key: str, x: float | None = None, y: float | None = None, **how: bool) -> None:
    """Press and release a key or a button, over the middle of the 3D view where no place is given."""
    area = view()
    place = {
        "x": area.x + area.width // 2 if x is None else round(x),
        "y": area.y + area.height // 2 if y is None else round(y),
    }
    window().event_simulate(type="MOUSEMOVE", value="NOTHING", **place)
    for value in ("PRESS", "RELEASE"):
        window().event_simulate(type=key, value=value, **place, **how)


def sidebar() -> bpy.types.Region:
    return region_of(view(), "UI")


def show_panel() -> Iterator[float]:
    """Click down the sidebar's tabs until ours is open; its category cannot be set from Python."""
    view().spaces.active.show_region_ui = True
    yield 0.5
    region = sidebar()
    for below in range(20, region.height, 25):
        if sidebar().active_panel_category == "Video2Rig":
            break
        place = {"x": region.x + region.width - 10, "y": region.y + region.height - below}
        window().event_simulate(type="MOUSEMOVE", value="NOTHING", **place)
        yield 0.25
        for value in ("PRESS", "RELEASE"):
            window().event_simulate(type="LEFTMOUSE", value=value, **place)
        yield 0.25
    assert sidebar().active_panel_category == "Video2Rig", "the panel is not in the sidebar"


def display() -> np.ndarray:
    """Return [height, width, 3] bytes of what the display shows; Blender's own screenshot is black without a GPU."""
    path = Path(tempfile.mkdtemp()) / "display.png"
    subprocess.run(["scrot", str(path)], check=True)
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    pixels = np.empty(len(image.pixels), dtype=np.float32)
    image.pixels.foreach_get(pixels)
    bpy.data.images.remove(image)
    path.unlink()
    path.parent.rmdir()
    return (pixels.reshape(height, width, 4)[::-1, :, :3] * 255 + 0.5).astype(np.uint8)


def shown(region: bpy.types.Region) -> np.ndarray:
    """Return [height, width, 3] colours between 0 and 1 of what the display shows in a region, lowest row first."""
    # the window fills the display from its lower left corner
    upwards = display()[::-1]
    return upwards[region.y : region.y + region.height, region.x : region.x + region.width] / np.float32(255)


def box_of(region: bpy.types.Region, height: int | None = None) -> Box:
    """Return where a region is on the display, its uppermost `height` rows alone where that is told."""
    top = window().height - region.y - region.height
    return region.x, top, region.x + region.width, top + (region.height if height is None else height)


def picture(
    path: str | Path, box: Box | None = None, width: int | None = None, image: np.ndarray | None = None
) -> None:
    """Save what the display shows as a small PNG of few colours, which takes seconds.

    Args:
        path: Where to. box: The part to save. width: Pixels to shrink it to.
        image: What :func:`display` showed before; None takes what it shows now.
    """
    import cv2  # one of the add-on's wheels

    image = display() if image is None else image
    assert image.std() > 5, "the screenshot is empty"
    if box is not None:
        image = image[box[1] : box[3], box[0] : box[2]]
    if width is not None and width < image.shape[1]:
        size = width, round(image.shape[0] * width / image.shape[1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    pixels = image.reshape(-1, 3).astype(np.float32)
    kinds = np.unique(pixels, axis=0)
    if len(kinds) > _COLOURS:
        # flat surfaces and rare accents both keep a colour: half of the sample is of pixels, half of kinds of them
        rng = np.random.default_rng(0)
        sample = np.concatenate(
            [pixels[rng.integers(len(pixels), size=6000)], kinds[rng.integers(len(kinds), size=6000)]]
        )
        cv2.setRNGSeed(0)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 0.5)
        _, _, palette = cv2.kmeans(sample, _COLOURS, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    else:
        palette = kinds
    palette = np.round(palette).astype(np.uint8)
    norm = (palette.astype(np.float32) ** 2).sum(axis=1)
    nearest = np.concatenate(
        [(norm - 2 * part @ palette.T.astype(np.float32)).argmin(axis=1) for part in np.array_split(pixels, 64)]
    )
    Path(path).write_bytes(_png(nearest.reshape(image.shape[:2]).astype(np.uint8), palette))
    say("picture:", path, f"{Path(path).stat().st_size / 1000:.0f} kB")


def _png(indices: np.ndarray, palette: np.ndarray) -> bytes:
    """Return a PNG of [height, width] indices into [N, 3] colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1)  # each row begins with its filter: none
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"PLTE", palette.tobytes()) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def run(steps: Steps, patience: float = PATIENCE) -> None:
    """Take the steps one by one, then end Blender: with code 0 if all held, 1 if not."""
    waiting: list[Any] = [6.0, 0.0]  # what is waited for, and for how long already

    def tick() -> float:
        wanted, waited = waiting
        try:
            if wanted() if callable(wanted) else waited >= wanted:
                waiting[:] = [next(steps), 0.0]
            else:
                assert waited < patience, "waited too long"
                waiting[1] = waited + _TICK
        except StopIteration:
            say("all held")
            _finish(0)
        except BaseException:
            traceback.print_exc()
            _finish(1)
        return _TICK

    bpy.app.timers.register(tick, first_interval=1.0, persistent=True)


def _finish(code: int) -> None:
    for name in ("worker", "live_run", "job"):
        module(name).shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
