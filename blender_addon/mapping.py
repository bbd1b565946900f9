# SPDX-License-Identifier: GPL-3.0-or-later
"""Which bone of an armature has which role: found, kept with the armature, saved to a file and loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import bpy
from bpy.props import BoolProperty, StringProperty
from bpy.types import PropertyGroup

from . import families
from .core.anatomy import split_role
from .core.errors import Video2RigError
from .core.rig_skeleton import REQUIRED, ROLES, MapError, check_map
from .core.rig_structure import StructureError, find_roles
from .families.vrm import HUMANOID_NAMES
from .rig_bones import RigError, rest_rig

TRAVEL = "travel"
_FORMAT = "video2rig bones"
_VERSION = 1


class Mapping(NamedTuple):
    """A map from roles to bones.

    Attributes:
        bones: Name of the bone of each role that has one. travel: Name of a bone above the pelvis that takes the path
            along the floor; "" where the pelvis takes it. told: How it was found, for the user.
        family: Key of the family of rigs; "" where it is none.
    """

    bones: dict[str, str]
    travel: str
    told: str
    family: str


class VIDEO2RIG_PG_bones(PropertyGroup):
    """The bone of each role, kept with the armature."""

    kept: BoolProperty(  # type: ignore[valid-type]
        description="Whether these bones are used; else they are found anew each time", options={"HIDDEN"}
    )
    told: StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    family: StringProperty(options={"HIDDEN"})  # type: ignore[valid-type]
    travel: StringProperty(  # type: ignore[valid-type]
        name="Travel",
        description="A bone above the pelvis that takes the path along the floor, as games want it. "
        "Empty: the pelvis takes it",
    )


for _role in ROLES:
    VIDEO2RIG_PG_bones.__annotations__[_role] = StringProperty(
        name=_role.replace("_", " ").title(),
        description=f"The bone that turns at the {_role.replace('_', ' ')}"
        + ("" if _role in REQUIRED else ". May be empty: the joint then does not turn"),
    )


def title(role: str) -> str:
    """Return a role without its side, as a user reads it."""
    part, _, where = split_role(role)[1].partition("_")
    return f"{where} {part}".strip().title()


def found(rig: bpy.types.Object) -> Mapping:
    """Find the bones: by what a VRM says of itself, by names, by structure; the first that tells all that is needed.

    Raises:
        RigError: None does; the message says what is missing.
    """
    bones = _of_vrm(rig)
    if all(role in bones for role in REQUIRED):
        return Mapping(bones, "", "found by the VRM's own table", "vrm")
    named = families.by_names(rig.data.bones.keys(), REQUIRED)
    if named is not None:
        return Mapping(named.bones, "", f"found by name: {named.family.title}", named.family.key)
    try:
        return Mapping(find_roles(rest_rig(rig)), "", "found by structure; look through the list", "")
    except StructureError as error:
        raise RigError(
            f"{rig.name}: the bones' names are of no known rig, and by its structure {error}; "
            "choose the bones yourself, under Bones in the panel"
        ) from None


def of(rig: bpy.types.Object) -> Mapping:
    """Return an armature's map: the one that is kept with it, or else what is found.

    Raises:
        RigError: It is no armature, or see :func:`found`.
    """
    if rig.type != "ARMATURE":
        raise RigError(f"{rig.name} is no armature")
    if rig.mode == "EDIT":
        rig.update_from_editmode()
    kept = rig.data.video2rig_bones
    if not kept.kept:
        return found(rig)
    bones = {role: getattr(kept, role) for role in ROLES if getattr(kept, role)}
    try:
        check_map(rest_rig(rig), bones)
    except MapError as error:
        raise RigError(f"{rig.name}: {error}; see Bones in the panel") from None
    return Mapping(bones, kept.travel, kept.told or "chosen by hand", kept.family)


def keep(rig: bpy.types.Object, mapping: Mapping) -> None:
    """Keep a map with the armature.

    Raises:
        RigError: The armature's data is linked from another file.
    """
    if rig.data.library is not None:
        raise RigError(
            f"the bones of {rig.name} are linked from another file and cannot keep a map; make a library override of "
            "the armature's data too, or load the map from a file"
        )
    kept = rig.data.video2rig_bones
    for role in ROLES:
        setattr(kept, role, mapping.bones.get(role, ""))
    kept.travel, kept.told, kept.family, kept.kept = mapping.travel, mapping.told, mapping.family, True


def _of_vrm(rig: bpy.types.Object) -> dict[str, str]:
    """Return what the VRM add-on knows of the armature; nothing where there is no such add-on, or it knows nothing."""
    extension = getattr(rig.data, "vrm_addon_extension", None)
    if extension is None:
        return {}
    return vrm_bones(extension, set(rig.data.bones.keys()))


def vrm_bones(extension: Any, names: set[str]) -> dict[str, str]:
    """Return the bones of roles that the VRM add-on's extension of an armature holds, of version 1 or 0."""
    told: dict[str, str] = {}
    one = getattr(getattr(getattr(extension, "vrm1", None), "humanoid", None), "human_bones", None)
    zero = getattr(getattr(getattr(extension, "vrm0", None), "humanoid", None), "human_bones", None) or ()
    for bone in zero:
        told[bone.bone] = bone.node.bone_name
    for name in HUMANOID_NAMES.values():
        # "leftUpperArm" is left_upper_arm there
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        held = getattr(one, snake, None)
        if held is not None and held.node.bone_name:
            told[name] = held.node.bone_name
    return {role: told[name] for role, name in HUMANOID_NAMES.items() if told.get(name) in names}


def save(mapping: Mapping, path: Path) -> None:
    """Write a map to a JSON file.

    Raises:
        RigError: It cannot be written.
    """
    data = {
        "format": _FORMAT,
        "version": _VERSION,
        "family": mapping.family,
        TRAVEL: mapping.travel,
        "bones": mapping.bones,
    }
    try:
        path.write_text(json.dumps(data, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise RigError(f"{path.name} cannot be written: {error.strerror or error} ({path.parent})") from None


def load(rig: bpy.types.Object, path: Path) -> Mapping:
    """Read a map that :func:`save` wrote, for an armature.

    Raises:
        RigError: The file is not one, or does not fit the armature.
    """
    try:
        data = json.loads(path.read_text("utf-8"))
        if data.get("format") != _FORMAT or data.get("version") != _VERSION:
            raise ValueError(f"it is no map of bones of version {_VERSION}")
        bones = {str(role): str(bone) for role, bone in data["bones"].items()}
        travel, family = str(data.get(TRAVEL, "")), str(data.get("family", ""))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise RigError(f"{path.name} cannot be read as a map of bones: {error}") from None
    try:
        check_map(rest_rig(rig), bones)
    except Video2RigError as error:
        raise RigError(f"{path.name} does not fit {rig.name}: {error}") from None
    return Mapping(bones, travel, f"loaded from {path.name}", family)


def register() -> None:
    """Attach the map to armatures."""
    bpy.types.Armature.video2rig_bones = bpy.props.PointerProperty(type=VIDEO2RIG_PG_bones)


def unregister() -> None:
    """Detach it."""
    del bpy.types.Armature.video2rig_bones
