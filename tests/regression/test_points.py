# SPDX-License-Identifier: GPL-3.0-or-later
import hashlib

import pytest

from video2rig.keypoints import KEYPOINT_SETS, has_site
from video2rig.regression.network import FORMAT
from video2rig.regression.points import MIRRORED, POINTS, known_of


def test_mirrored_points_change_sides_and_come_back() -> None:
    for index, name in enumerate(POINTS):
        twin = POINTS[MIRRORED[index]]
        assert MIRRORED[MIRRORED[index]] == index
        assert {name, twin} == (
            {name}
            if "_" not in name or name == "head_top"
            else {f"left{name[name.index('_') :]}", f"right{name[name.index('_') :]}"}
        )


@pytest.mark.parametrize("set_name", KEYPOINT_SETS)
def test_keypoints_of_every_set_are_found_by_their_names(set_name: str) -> None:
    names = KEYPOINT_SETS[set_name]
    own, points = known_of(names)
    assert [names[index] for index in own] == [POINTS[index] for index in points]
    unknown = set(filter(has_site, names)) - {names[index] for index in own}
    assert all(name.endswith(("eye_inner", "eye_outer", "mouth")) for name in unknown)


def test_a_set_of_unknown_names_has_no_points() -> None:
    own, points = known_of(("left_antenna",))
    assert len(own) == len(points) == 0


def test_the_points_are_those_that_weights_of_this_format_were_trained_on() -> None:
    """Weights do not name their points: a change here must raise the format of `network.py`."""
    digest = hashlib.sha256(",".join(POINTS).encode()).hexdigest()
    assert (FORMAT, len(POINTS), digest[:16]) == (1, 33, "dd7a52144cf9a40f")
