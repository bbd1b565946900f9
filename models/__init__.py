# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that this project trains: a folder each."""
