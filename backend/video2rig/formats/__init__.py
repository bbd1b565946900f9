# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that other programs read, one module a format."""
