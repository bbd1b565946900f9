# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line's commands, a module a subject: each adds its own to the parser.

A command imports what it needs when it runs, so that ``video2rig --help`` loads no network.
"""
