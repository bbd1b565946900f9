# SPDX-License-Identifier: GPL-3.0-or-later
"""Which server does the work: one of this computer, started when needed, or one that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import bpy
from bpy.props import StringProperty
from bpy.types import AddonPreferences

from .core.connection import Connection
from .core.errors import Video2RigError


class PreferencesError(Video2RigError):
    """A preference that cannot be followed."""


class Wanted(NamedTuple):
    """The server to use: the remote one if there is one, else a local one started by ``command``."""

    command: str | None
    remote: Connection | None

    @classmethod
    def remote_from(cls, connection_file: str | Path) -> Wanted:
        """Return the server of a connection file.

        Raises:
            PreferencesError: It is on another computer while Blender is set to stay offline.
            Video2RigError: The file cannot be read.
        """
        remote = Connection.load(connection_file)
        if not remote.is_loopback and not bpy.app.online_access:
            raise PreferencesError(
                f"the server {remote.control_endpoint} is on another computer, and Blender is set to stay offline; "
                "allow online access under Preferences > System > Network, or use a server on this computer"
            )
        return cls(None, remote)


class VIDEO2RIG_preferences(AddonPreferences):
    """Shown under Edit > Preferences > Add-ons > Video2Rig."""

    bl_idname = __package__

    command: StringProperty(  # type: ignore[valid-type]
        name="Backend Command",
        description="The video2rig program of the backend's own environment. "
        "Empty takes $VIDEO2RIG_COMMAND, then the program on the PATH",
        subtype="FILE_PATH",
    )
    connection_file: StringProperty(  # type: ignore[valid-type]
        name="Connection File",
        description="Of a server on another computer, as `video2rig serve` wrote it there. Empty uses this computer",
        subtype="FILE_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Lay out the two paths, and say when a remote server cannot be used."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "command")
        layout.prop(self, "connection_file")
        if self.connection_file and not bpy.app.online_access:
            layout.label(text="Online access is off: only a server on this computer can be used", icon="INFO")

    def wanted(self) -> Wanted:
        """Return which server to use.

        Raises:
            PreferencesError: A remote server is wanted while Blender is set to stay offline.
            Video2RigError: The connection file cannot be read.
        """
        if self.connection_file:
            return Wanted.remote_from(bpy.path.abspath(self.connection_file))
        return Wanted(bpy.path.abspath(self.command) if self.command else None, None)


def of(context: bpy.types.Context) -> VIDEO2RIG_preferences:
    """Return the add-on's preferences."""
    return context.preferences.addons[__package__].preferences
