# SPDX-License-Identifier: GPL-3.0-or-later
"""Circles around people of whom keypoints are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video2rig.detection.keypoint_circles import circles
from video2rig.keypoints import KEYPOINT_SETS

# a standing adult, parts of the height from the hip centre
BODY = {
    "nose": (0.0, -0.41),
    "head_top": (0.0, -0.49),
    "neck": (0.0, -0.29),
    "pelvis": (0.0, 0.0),
    "left_eye": (0.02, -0.43),
    "left_ear": (0.045, -0.42),
    "left_shoulder": (0.115, -0.29),
    "left_elbow": (0.14, -0.12),
    "left_wrist": (0.15, 0.03),
    "left_hip": (0.05, 0.0),
    "left_knee": (0.05, 0.24),
    "left_ankle": (0.05, 0.48),
}
SETS = ("coco_17", "coco_18", "halpe_26", "blazepose_33")


def stand(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [K,2] of the body and confidence [K] of those that it has."""
    body = BODY | {"right" + key[4:]: (-x, y) for key, (x, y) in BODY.items() if key.startswith("left")}
    names = KEYPOINT_SETS[name]
    points = np.array([body.get(part, (np.nan, np.nan)) for part in names])
    return points, np.isfinite(points[:, 0]).astype(float)


def circle_of(points: np.ndarray, confidence: np.ndarray, name: str = "coco_18") -> np.ndarray:
    return circles(points[None], confidence[None], name)[0]


@pytest.mark.parametrize("name", SETS)
def test_a_standing_person(name: str) -> None:
    circle = circle_of(*stand(name), name)
    np.testing.assert_allclose(circle[:3], [0, 0, 0], atol=1e-9)
    assert -0.65 < circle[3] < -0.5  # soles and crown are inside, and hardly more


@given(
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
    size=st.floats(5, 900),
    turn=st.floats(-3.1, 3.1),
    seed=st.integers(0, 999),
)
def test_it_moves_turns_and_grows_with_the_person(x: float, y: float, size: float, turn: float, seed: int) -> None:
    points, confidence = stand("coco_18")
    confidence *= np.random.default_rng(seed).random(len(confidence)) > 0.2
    confidence[[1, 8, 11]] = 1  # without a torso, up is the picture's
    c, s = size * np.cos(turn), size * np.sin(turn)
    matrix = np.array([[c, -s], [s, c]])
    before = circle_of(1e3 * points, confidence) / 1e3  # nobody is smaller than a pixel
    after = circle_of(points @ matrix.T + (x, y), confidence)
    np.testing.assert_allclose(after[:2], matrix @ before[:2] + (x, y), atol=1e-6 * size + 1e-6)
    np.testing.assert_allclose(after[2:], matrix @ before[2:], atol=1e-6 * size)


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_it_holds_what_is_seen_and_is_finite(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(0, 100, (18, 2))
    confidence = (random.random(18) < share).astype(float)
    points[(confidence == 0) & (random.random(18) < 0.5)] = np.nan
    circle = circle_of(points, confidence)
    if not confidence.any():
        assert np.isnan(circle).all()
        return
    assert np.isfinite(circle).all()
    radius = np.hypot(*circle[2:])
    assert radius > 0
    assert (np.linalg.norm(points[confidence > 0] - circle[:2], axis=1) <= radius).all()


@pytest.mark.parametrize(
    "hidden",
    [("hip",), ("hip", "knee", "ankle"), ("nose", "eye", "ear"), ("knee", "ankle"), ("shoulder", "neck"), ("ankle",)],
)
def test_what_is_hidden_hardly_changes_it(hidden: tuple[str, ...]) -> None:
    points, confidence = stand("coco_18")
    for i, part in enumerate(KEYPOINT_SETS["coco_18"]):
        if part.split("_")[-1] in hidden:
            confidence[i] = 0
    circle = circle_of(points, confidence)
    assert np.linalg.norm(circle[:2]) < 0.12
    assert abs(np.hypot(*circle[2:]) - 0.57) < 0.12
    assert circle[3] < -0.9 * np.hypot(*circle[2:])


@pytest.mark.parametrize("seen", [("nose", "left_eye"), ("left_knee", "left_ankle"), ("left_wrist",), ("neck", "nose")])
def test_little_is_enough(seen: tuple[str, ...]) -> None:
    points, confidence = stand("coco_18")
    names = KEYPOINT_SETS["coco_18"]
    confidence = np.array([float(part in seen) for part in names])
    circle = circle_of(300 * points, confidence)
    assert np.isfinite(circle).all() and circle[3] < 0
    if seen == ("neck", "nose"):
        assert np.linalg.norm(circle[:2]) < 60


def test_people_are_independent() -> None:
    points, confidence = stand("coco_18")
    both = circles(np.stack([100 * points, 200 * points]), np.stack([confidence, confidence]), "coco_18")
    np.testing.assert_allclose(both[0], circle_of(100 * points, confidence))
    np.testing.assert_allclose(both[1], 2 * both[0])
    assert circles(np.zeros((0, 18, 2)), np.zeros((0, 18)), "coco_18").shape == (0, 4)
