# SPDX-License-Identifier: GPL-3.0-or-later
"""Live: frame after frame of a camera, each answered with a pose a few frames later.

`follow.py` looks at one person once a frame, `world.py` finds the floor while the first frames come, `pipeline.py` puts
them and the live solver together, `recorded.py` solves what was recorded as a whole without a server.
"""
