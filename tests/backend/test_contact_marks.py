# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video2rig.contact_marks import PARTS, Mark, MarkError, Rest, is_contact, marks_of, rests_of

WORDS = ("left", "right", "heel", "toes", "foot", "down", "up", "heal", "jump", "stand")


@st.composite
def rests(draw: st.DrawFn) -> list[Rest]:
    """Rests of all parts; those of one part do not overlap, but may touch in a frame or be of one frame."""
    found = []
    for role in PARTS.values():
        edges = sorted(draw(st.lists(st.integers(-20, 60), max_size=8)))
        pairs = zip(edges[::2], edges[1::2], strict=False)
        found += [Rest(role, down, up) for down, up in pairs]
    return sorted(found, key=lambda rest: (rest.down, rest.role))


@given(rests(), st.randoms(use_true_random=False))
def test_rests_survive_as_marks_in_any_order(told: list[Rest], chance) -> None:
    marks = [*marks_of(told), Mark("apex", 3), Mark("stand up", 4)]
    chance.shuffle(marks)
    got = rests_of(marks)
    assert sorted(got) == sorted(told)


@given(st.lists(st.tuples(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), st.integers(0, 9)), max_size=6))
def test_marks_are_read_whole_or_named(drawn: list[tuple[list[str], int]]) -> None:
    marks = [Mark(" ".join(words), frame) for words, frame in drawn]
    meant = [mark for mark in marks if is_contact(mark.name)]
    try:
        found = rests_of(marks)
    except MarkError as error:
        assert any(f'"{mark.name}" at frame {mark.frame}' in str(error) for mark in meant)
    else:
        count = sum(2 if "foot" in mark.name else 1 for mark in meant)
        assert 2 * len(found) == count


def test_a_foot_is_heel_and_toes() -> None:
    marks = [Mark("Left Foot down", 3), Mark("left heel up", 7), Mark(" left  toe up", 9)]
    assert rests_of(marks) == [Rest("left_ankle", 3, 7), Rest("left_toes", 3, 9)]


@pytest.mark.parametrize(
    ("marks", "says"),
    [
        ([("left heel up", 4)], '"left heel up" at frame 4 has no "left heel down" before it'),
        ([("left heel down", 4)], '"left heel down" at frame 4 has no "left heel up" after it'),
        ([("left heel down", 4), ("left heel down", 8)], '"left heel down" at frame 8 comes while left heel is down'),
        ([("left heal down", 4)], '"left heal down" at frame 4 is no contact'),
        ([("heel down", 4)], '"heel down" at frame 4 is no contact'),
        ([("left heel", 4)], '"left heel" at frame 4 is no contact'),
        ([("right toes up", 2), ("right toes down", 1), ("right toes up", 5)], '"right toes up" at frame 5 has no'),
    ],
)
def test_marks_that_make_no_sense_are_named(marks: list[tuple[str, int]], says: str) -> None:
    with pytest.raises(MarkError) as error:
        rests_of([Mark(*mark) for mark in marks])
    assert says in str(error.value)


def test_other_marks_are_the_animators_own() -> None:
    assert rests_of([Mark(name, 1) for name in ("left", "jump up", "sit down", "apex", "toes", "")]) == []
