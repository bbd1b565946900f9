# SPDX-License-Identifier: GPL-3.0-or-later
"""A small OpenPose network, taught by a larger one."""
