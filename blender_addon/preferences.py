# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backend does the work: one of this computer, installed and started when needed, or one that the user names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import bpy
from bpy.props import EnumProperty, StringProperty
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

    install_device: EnumProperty(  # type: ignore[valid-type]
        name="Install For",
        description="Which build of PyTorch is installed",
        items=[
            ("auto", "Automatic", "For the GPU where there is an NVIDIA driver, else for the CPU"),
            ("cpu", "CPU", "Smaller; every computer has one"),
            ("cuda", "NVIDIA GPU", "Checked after the installation: an error if the GPU cannot be used"),
        ],
        default="auto",
    )
    bundle: StringProperty(  # type: ignore[valid-type]
        name="Offline Bundle",
        description="Install from this zip or folder, without the network. "
        "`blender -b --command video2rig bundle OUT.zip` writes one on a computer that has it",
        subtype="FILE_PATH",
    )
    package_index: StringProperty(  # type: ignore[valid-type]
        name="Package Index",
        description="Address of a mirror (PEP 503). Empty takes the one that uv or pip is set up with, else PyPI",
    )
    python: StringProperty(  # type: ignore[valid-type]
        name="Python",
        description="Python 3.11 or later to make the backend's environment from. Empty takes this computer's own, "
        "else one that uv fetches, else Blender's",
        subtype="FILE_PATH",
    )
    command: StringProperty(  # type: ignore[valid-type]
        name="Backend Command",
        description="A video2rig program of your own. "
        "Empty takes $VIDEO2RIG_COMMAND, then the installed backend, then the program on the PATH",
        subtype="FILE_PATH",
    )
    connection_file: StringProperty(  # type: ignore[valid-type]
        name="Connection File",
        description="Of a server on another computer, as `video2rig serve` wrote it there: its address and the keys. "
        "Empty uses this computer",
        subtype="FILE_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Lay out the backend of this computer, and the connection to a remote one."""
        from . import backend_panel  # it needs this module

        backend_panel.draw_preferences(self.layout, context)
        backend_panel.draw_remote(self.layout, context)

    def named_command(self) -> str | None:
        """Return the program that the user names, or None."""
        return bpy.path.abspath(self.command) if self.command else None

    def wanted(self) -> Wanted:
        """Return which server to use.

        Raises:
            PreferencesError: A remote server is wanted while Blender is set to stay offline.
            Video2RigError: The connection file cannot be read.
        """
        if self.connection_file:
            return Wanted.remote_from(bpy.path.abspath(self.connection_file))
        return Wanted(self.named_command(), None)


def of(context: bpy.types.Context) -> VIDEO2RIG_preferences:
    """Return the add-on's preferences."""
    return context.preferences.addons[__package__].preferences
