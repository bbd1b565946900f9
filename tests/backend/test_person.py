# SPDX-License-Identifier: GPL-3.0-or-later
"""A choice of a person is read as it is written, and anything else is refused with what would be right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video2rig.person import PersonChoice, PersonError
from video2rig.settings import Settings, SettingsError


@given(st.integers(1, 999_999_999))
def test_numbers_are_read(number: int) -> None:
    assert PersonChoice.parse(str(number)) == PersonChoice("number", number=number)


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.floats(0, 1e6))
def test_points_are_read_as_the_add_on_writes_them(x: float, y: float, time: float) -> None:
    choice = PersonChoice.parse(f"{x:.1f},{y:.1f}@{time:.4f}")
    assert choice.kind == "point"
    assert choice.point == pytest.approx((x, y), abs=0.051) and choice.time == pytest.approx(time, abs=6e-5)


def test_words_are_read() -> None:
    assert PersonChoice.parse("largest").kind == "largest" and PersonChoice.parse("everyone").kind == "everyone"


@given(st.text(max_size=30) | st.from_regex(r"[0-9.,@-]{0,30}", fullmatch=True))
def test_any_text_is_a_choice_or_refused(text: str) -> None:
    try:
        choice = PersonChoice.parse(text)
    except PersonError as error:
        assert "it can be 'largest', 'everyone'" in str(error)
        with pytest.raises(SettingsError, match="person"):
            Settings(person=text)
    else:
        assert Settings(person=text).choice() == choice


@pytest.mark.parametrize(
    "wrong",
    ["", "0", "-1", "1.5", "\u0663", "12345678901", "Largest", "1,2", "1,2@", "1,2@-1", "..,1@1", None, 3, ["a"]],
)
def test_what_is_none_is_refused(wrong: object) -> None:
    with pytest.raises(PersonError, match="a number from 1 on, or a point in pixels"):
        PersonChoice.parse(wrong)  # type: ignore[arg-type]
