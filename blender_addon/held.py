# SPDX-License-Identifier: GPL-3.0-or-later
"""What a solve holds on to while the user goes on working: a scene and an armature.

Both are known by Blender's number of them in this session: names change, and pointers do not survive an undo.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import bpy

from .rig_bones import RigError


class HeldRig(NamedTuple):
    """An armature: Blender's number of it, and the name that it had."""

    uid: int
    name: str

    @classmethod
    def of(cls, rig: bpy.types.Object) -> HeldRig:
        """Hold on to an armature."""
        return cls(rig.session_uid, rig.name)

    def found(self, scene: bpy.types.Scene) -> bpy.types.Object:
        """Return the armature, whatever it is called by now.

        Raises:
            RigError: It is not in the scene any more.
        """
        bpy.context.view_layer.update()
        rig = next((obj for obj in bpy.data.objects if obj.session_uid == self.uid), None)
        # a library override has the name of what it overrides
        if rig is None or all(obj != rig for obj in scene.objects):
            raise RigError(f"{self.name} was removed while the video was solved")
        return rig


class HeldScene(NamedTuple):
    """A scene and one of its view layers."""

    uid: int
    name: str
    layer: str

    @classmethod
    def of(cls, context: bpy.types.Context) -> HeldScene:
        """Hold on to the context's scene."""
        return cls(context.scene.session_uid, context.scene.name, context.view_layer.name)

    @contextmanager
    def current(self, context: bpy.types.Context) -> Iterator[None]:
        """Run a block in the scene, whichever the window shows by now.

        Raises:
            RigError: It is not there any more.
        """
        scene = next((scene for scene in bpy.data.scenes if scene.session_uid == self.uid), None)
        if scene is None:
            raise RigError(f"the scene {self.name} was removed while the video was solved")
        layer = scene.view_layers.get(self.layer) or scene.view_layers[0]
        here = scene == context.scene
        with nullcontext() if here else context.temp_override(scene=scene, view_layer=layer):
            yield
