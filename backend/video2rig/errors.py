# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that users see; each message names what was wrong and what would be right."""


class Video2RigError(Exception):
    """Base of every error whose text is meant for the user, without a traceback."""


class Cancelled(Video2RigError):
    """The user asked to stop; nothing was changed."""
