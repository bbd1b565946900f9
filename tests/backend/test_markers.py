# SPDX-License-Identifier: GPL-3.0-or-later
import dataclasses

import numpy as np
import pytest

from video2rig.markers import Markers, MarkersError


def walk() -> Markers:
    rng = np.random.default_rng(0)
    positions, confidence = rng.normal(size=(5, 3, 3)), rng.random((5, 3))
    positions[2, 1], confidence[2, 1] = np.nan, 0.0
    return Markers(("left_knee", "right_knee", "T10"), positions, confidence, np.arange(5) / 60)


def test_markers_keep_what_they_were_given() -> None:
    markers = walk()
    assert len(markers) == 5 and markers.index("T10") == 2
    assert np.isnan(markers.positions[2, 1]).all() and np.isfinite(markers.positions[1]).all()
    with pytest.raises(ValueError, match="read-only"):
        markers.positions[0] = 0
    with pytest.raises(MarkersError, match="there are left_knee, right_knee, T10"):
        markers.index("nose")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": ()}, "at least one marker"),
        ({"names": ("a", "b", "a")}, "more than once: a"),
        ({"names": ("a", "b", "")}, "not a name"),
        ({"names": ("a", "b")}, r"positions has shape \(5, 3, 3\), expected \(5, 2, 3\)"),
        ({"confidence": np.ones((5, 2))}, "confidence has shape"),
        ({"confidence": np.full((5, 3), 1.5)}, "between 0 and 1"),
        ({"confidence": np.full((5, 3), np.nan)}, "between 0 and 1"),
        ({"confidence": np.ones((5, 3))}, "'right_knee' in frame 2"),
        ({"times": np.zeros(5)}, "rise from frame to frame"),
        ({"times": np.array([0, 1, 2, np.nan, 4])}, "finite times"),
        ({"times": np.zeros(0), "positions": np.zeros((0, 3, 3)), "confidence": np.zeros((0, 3))}, "one frame"),
    ],
)
def test_markers_that_contradict_themselves_are_refused(change: dict, message: str) -> None:
    with pytest.raises(MarkersError, match=message):
        dataclasses.replace(walk(), **change)
