# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipe of detector_errors.npz: rendered people, the detector run over them, its errors kept."""
