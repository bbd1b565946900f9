# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may choose of live use: where the pictures come from."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, IntProperty, StringProperty
from bpy.types import PropertyGroup

from .core.errors import Video2RigError
from .core.live_grabbers import host_of, is_address

_HERE = ("localhost", "127.0.0.1", "::1")


class VIDEO2RIG_PG_live(PropertyGroup):
    """The source of live pictures."""

    kind: EnumProperty(  # type: ignore[valid-type]
        name="Source",
        description="Where the pictures come from",
        items=[
            ("CAMERA", "Camera", "A camera of this computer"),
            ("SCREEN", "Screen", "What a screen of this computer shows: a video call, a player in the browser"),
            ("STREAM", "Stream or Video", "A stream of the network, or a video file played at its own pace"),
        ],
        default="CAMERA",
    )
    camera: IntProperty(  # type: ignore[valid-type]
        name="Camera",
        description="Number of the camera; 0 is the first one, mostly the built-in one",
        min=0,
        max=99,
        default=0,
    )
    screen: IntProperty(  # type: ignore[valid-type]
        name="Screen", description="Number of the screen; 1 is the first one", min=1, max=16, default=1
    )
    address: StringProperty(  # type: ignore[valid-type]
        name="Address",
        description="Address of a stream (rtsp://, http://), as phones and network cameras offer it, or a video file",
        subtype="FILE_PATH",
    )

    def source(self) -> str:
        """Return the text that names the source.

        Raises:
            Video2RigError: No address was given, or it is not on this computer while Blender is set to stay offline.
        """
        if self.kind == "CAMERA":
            return str(self.camera)
        if self.kind == "SCREEN":
            return f"screen:{self.screen}"
        text = self.address.strip()
        if not text:
            raise Video2RigError("no stream or video was given; put its address or its path under Source")
        if not is_address(text):
            return bpy.path.abspath(text)
        if host_of(text) not in _HERE and not bpy.app.online_access:
            raise Video2RigError(
                "the stream is on another computer, and Blender is set to stay offline; allow online access under "
                "Preferences > System > Network"
            )
        return text


def of(context: bpy.types.Context) -> VIDEO2RIG_PG_live:
    """Return the scene's choices."""
    return context.scene.video2rig_live


def register() -> None:
    """Attach the choices to scenes."""
    bpy.types.Scene.video2rig_live = bpy.props.PointerProperty(type=VIDEO2RIG_PG_live)


def unregister() -> None:
    """Detach them."""
    del bpy.types.Scene.video2rig_live
