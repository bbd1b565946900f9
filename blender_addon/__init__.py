# SPDX-License-Identifier: GPL-3.0-or-later
"""Video2Rig for Blender: a video of people becomes motion on armatures with joint limits.

This package never imports the networks or the solver. It reads the video, sends its frames over ZeroMQ to the
backend, and builds the armature, the action and the camera from what comes back.
"""

from __future__ import annotations

import bpy

from . import (
    backend_operators,
    bones_panel,
    command,
    doubt_colours,
    doubt_marks,
    edit_take,
    import_video,
    job,
    live_operators,
    live_options,
    live_panel,
    live_run,
    mapping,
    options,
    outcome,
    panel,
    pick_person,
    preferences,
    solve_again,
    take_panel,
    worker,
)

# registered in this order, unregistered in the opposite one
_CLASSES = (
    options.VIDEO2RIG_PG_options,
    live_options.VIDEO2RIG_PG_live,
    mapping.VIDEO2RIG_PG_bones,
    preferences.VIDEO2RIG_preferences,
    *backend_operators.CLASSES,
    import_video.VIDEO2RIG_OT_import_video,
    import_video.VIDEO2RIG_OT_cancel,
    import_video.VIDEO2RIG_FH_video,
    pick_person.VIDEO2RIG_OT_pick_person,
    solve_again.VIDEO2RIG_OT_solve_again,
    *live_operators.CLASSES,
    solve_again.VIDEO2RIG_OT_solve_take,
    edit_take.VIDEO2RIG_OT_mark_contacts,
    edit_take.VIDEO2RIG_OT_show_markers,
    edit_take.VIDEO2RIG_OT_add_corrections,
    edit_take.VIDEO2RIG_OT_reduce_keys,
    doubt_marks.VIDEO2RIG_OT_mark_doubt,
    doubt_marks.VIDEO2RIG_OT_clear_doubt,
    doubt_colours.VIDEO2RIG_OT_colour_doubt,
    outcome.VIDEO2RIG_OT_dismiss,
    panel.VIDEO2RIG_PT_main,
    take_panel.VIDEO2RIG_PT_take,
    bones_panel.VIDEO2RIG_OT_find_bones,
    bones_panel.VIDEO2RIG_OT_forget_bones,
    bones_panel.VIDEO2RIG_OT_save_bones,
    bones_panel.VIDEO2RIG_OT_load_bones,
    bones_panel.VIDEO2RIG_PT_bones,
    panel.VIDEO2RIG_PT_settings,
    live_panel.VIDEO2RIG_PT_live,
)
_commands: list[object] = []


def register() -> None:
    """Add everything to Blender."""
    for cls in _CLASSES:
        bpy.utils.register_class(cls)
    options.register()
    live_options.register()
    mapping.register()
    doubt_colours.register()
    bpy.types.TOPBAR_MT_file_import.append(import_video.menu)
    _commands.append(bpy.utils.register_cli_command("video2rig", command.run))


def unregister() -> None:
    """Take everything back: what stays registered crashes or hangs some Blenders at exit."""
    worker.shutdown()
    live_run.shutdown()
    job.shutdown()
    while _commands:
        bpy.utils.unregister_cli_command(_commands.pop())
    bpy.types.TOPBAR_MT_file_import.remove(import_video.menu)
    doubt_colours.unregister()
    mapping.unregister()
    live_options.unregister()
    options.unregister()
    for cls in reversed(_CLASSES):
        bpy.utils.unregister_class(cls)
