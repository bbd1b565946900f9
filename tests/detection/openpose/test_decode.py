# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding against plain loops, and of people drawn as ideal maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ideal_people import SPREAD, draw, person
from naive_decoding import greedy, limb_score
from naive_decoding import peaks as naive_peaks
from scipy.optimize import linear_sum_assignment

from video2rig.detection.openpose.assembly import assemble
from video2rig.detection.openpose.decode import Bodies, decode
from video2rig.detection.openpose.layout import LIMBS, PARTS
from video2rig.detection.openpose.links import choose, integrate, link
from video2rig.detection.openpose.peaks import Peaks, find_peaks
from video2rig.detection.openpose.resample import enlarge, resample
from video2rig.detection.openpose.stages import StageOutput

seeds = st.integers(0, 100_000)


def assert_found(bodies: Bodies, people: list[np.ndarray], within: float = 0.25) -> None:
    """Every person is found once, with all of their parts and no other's, within so many cells."""
    assert len(bodies.score) == len(people)
    free = list(range(len(people)))
    for places, heat in zip(bodies.places, bodies.heat, strict=True):
        distances = [np.nanmax(np.abs(places - people[i]), initial=0) for i in free]
        best = free.pop(int(np.argmin(distances)))
        assert min(distances) < within
        np.testing.assert_array_equal(np.isfinite(places[:, 0]), np.isfinite(people[best][:, 0]))
        np.testing.assert_array_equal(heat > 0, np.isfinite(people[best][:, 0]))


# ---- peaks --------------------------------------------------------------------------------------------------------


@given(seed=seeds, rows=st.integers(1, 9), columns=st.integers(1, 9), coarse=st.booleans())
def test_peaks_equal_plain_loops(seed: int, rows: int, columns: int, coarse: bool) -> None:
    heat = torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(seed))
    if coarse:
        heat = (4 * heat).round() / 4  # many neighbours are equal
    found = find_peaks(heat, 0.1)
    for frame in range(2):
        for part in range(3):
            expected = naive_peaks(heat[frame, part].numpy(), 0.1)
            got = torch.cat([found.places[frame, part], found.heat[frame, part, :, None]], 1).numpy()
            there = got[:, 2] > 0
            assert not there[len(expected) :].any() and there[: len(expected)].all()
            for one, other in zip(sorted(map(tuple, got[there])), sorted(expected), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-4)


@given(x=st.floats(2, 12), y=st.floats(2, 9))
def test_a_gaussian_has_one_peak_at_its_middle(x: float, y: float) -> None:
    v, u = torch.meshgrid(torch.arange(12.0), torch.arange(15.0), indexing="ij")
    heat = 0.8 * torch.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * SPREAD**2))
    found = find_peaks(heat[None, None])
    assert found.heat.shape == (1, 1, 1)
    np.testing.assert_allclose(found.places[0, 0, 0], [x, y], atol=1e-3)
    np.testing.assert_allclose(found.heat[0, 0, 0], 0.8, rtol=1e-3)


def test_empty_maps_have_no_peaks() -> None:
    for shape in ((0, 18, 4, 4), (2, 18, 4, 4), (1, 18, 1, 1)):
        found = find_peaks(torch.zeros(shape))
        assert found.heat.shape == (*shape[:2], 0) and found.places.shape == (*shape[:2], 0, 2)


# ---- links --------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(seed=seeds, count=st.integers(1, 4))
def test_line_integrals_equal_plain_loops(seed: int, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    height, width = 9, 14
    fields = 0.4 + 0.6 * torch.rand(2, 38, height, width, generator=random)
    places = torch.rand(2, 18, count, 2, generator=random) * torch.tensor([width - 1.0, height - 1.0])
    heat = (torch.rand(2, 18, count, generator=random) > 0.2).float()
    got = integrate(fields, Peaks(places, heat))
    some = 0
    for frame, limb, i, j in np.ndindex(*got.shape):
        begin, end = LIMBS[limb].begin, LIMBS[limb].end
        expected = 0.0
        if heat[frame, begin, i] > 0 and heat[frame, end, j] > 0:
            ends = places[frame, begin, i].double().numpy(), places[frame, end, j].double().numpy()
            expected = limb_score(fields[frame].double().numpy(), limb, *ends)
        some += expected > 0
        assert abs(float(got[frame, limb, i, j]) - expected) < 1e-4
    assert some or heat.sum() < 20


@given(seed=seeds, rows=st.integers(0, 7), columns=st.integers(0, 7), least=st.floats(0, 0.9))
def test_mutual_best_pairs_are_the_greedy_choice(seed: int, rows: int, columns: int, least: float) -> None:
    score = torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(seed))
    score = torch.where(score > least, score, 0)
    links = choose(score)
    for frame, limb in np.ndindex(2, 3):
        expected = greedy(score[frame, limb].numpy())
        got = links.partner[frame, limb].tolist()
        assert {row: column for row, column in enumerate(got) if column >= 0} == expected
        for row, column in expected.items():
            assert links.score[frame, limb, row] == score[frame, limb, row, column]


def test_equal_scores_still_give_pairs() -> None:
    links = choose(torch.ones(1, 1, 4, 4))
    assert sorted(links.partner[0, 0].tolist()) == [0, 1, 2, 3]


# ---- people -------------------------------------------------------------------------------------------------------


def test_a_worse_link_does_not_join_two_people() -> None:
    partner, score = np.full((len(LIMBS), 2), -1), np.zeros((len(LIMBS), 2))
    for limb in (0, 1, 2):  # neck to both shoulders, right shoulder to right elbow: two people
        partner[limb], score[limb] = (0, 1), (0.9, 0.8)
    partner[3], score[3] = (1, -1), (0.5, 0)  # the one elbow has but the other's wrist
    partner[17], score[17] = (1, 0), (1.0, 1.0)  # shoulder to ear: last, whatever their score
    partner[12], score[12] = (0, 1), (0.9, 0.9)
    partner[13], score[13] = (0, 1), (0.9, 0.9)
    partner[14], score[14] = (0, 1), (0.9, 0.9)  # the ears are joined through nose and eye already
    people = sorted((person.parts for person in assemble(partner, score)), key=lambda parts: parts[1])
    right_ear, wrist = PARTS.index("right_ear"), PARTS.index("right_wrist")
    assert [parts[right_ear] for parts in people] == [0, 1]
    assert people[0][wrist] == 1 and wrist not in people[1]


@given(seed=seeds, x=st.floats(12, 48), y=st.floats(16, 24), height=st.floats(20, 30), turn=st.floats(-0.6, 0.6))
def test_one_person_is_found_where_drawn(seed: int, x: float, y: float, height: float, turn: float) -> None:
    parts = person(x, y, height, turn, mirrored=bool(seed % 2))
    assert_found(decode(draw([parts], 40, 60))[0], [parts])


@settings(max_examples=25)
@given(seed=seeds, missing=st.sets(st.sampled_from(range(18)), max_size=5))
def test_missing_parts_are_nan_and_the_rest_is_found(seed: int, missing: set[int]) -> None:
    random = np.random.default_rng(seed)
    parts = person(30, 20, 28, random.uniform(-0.4, 0.4))
    parts[list(missing)] = np.nan
    groups = connected(np.flatnonzero(np.isfinite(parts[:, 0])).tolist())
    expected = []
    for group in groups:
        if len(group) >= 4:
            body = np.full((18, 2), np.nan)
            body[group] = parts[group]
            expected.append(body)
    assert_found(decode(draw([parts], 40, 60))[0], expected)


def connected(parts: list[int]) -> list[list[int]]:
    """Groups of parts that limbs join."""
    groups = [{part} for part in parts]
    for limb in LIMBS:
        ends = [group for group in groups if limb.begin in group or limb.end in group]
        if len(ends) == 2 and {limb.begin, limb.end} <= ends[0] | ends[1]:
            groups = [group for group in groups if group not in ends] + [ends[0] | ends[1]]
    return [sorted(group) for group in groups]


@settings(max_examples=10)
@given(seed=seeds)
def test_thirty_people_are_told_apart(seed: int) -> None:
    random = np.random.default_rng(seed)
    people = [
        person(
            12 + 20 * column + random.uniform(-1, 1),
            18 + 34 * row + random.uniform(-1, 1),
            random.uniform(24, 30),
            random.uniform(-0.1, 0.1),
            bool(random.integers(2)),
        )
        for row in range(3)
        for column in range(10)
    ]
    assert_found(decode(draw(people, 106, 204))[0], people)


@settings(max_examples=25)
@given(seed=seeds, apart=st.floats(5, 9))
def test_people_whose_limbs_cross_are_told_apart(seed: int, apart: float) -> None:
    """One leans to the left, the other to the right, so that their legs or arms cross."""
    random = np.random.default_rng(seed)
    lean = random.uniform(0.5, 0.7)
    one = person(30 - apart, 26, 30, lean)
    other = person(30 + apart, 26 + random.uniform(-1, 1), 30, -lean, mirrored=True)
    gap = np.linalg.norm(one[:, None] - other[None], axis=-1)[np.arange(18), np.arange(18)]
    if gap.min() < 3:  # parts of one kind in one place are one peak
        return
    assert_found(decode(draw([one, other], 56, 62))[0], [one, other], within=0.5)


def test_crossing_limbs_did_cross() -> None:
    one, other = person(22, 26, 30, 0.6), person(38, 26, 30, -0.6, mirrored=True)
    crossings = sum(
        crosses(one[a.begin], one[a.end], other[b.begin], other[b.end]) for a in LIMBS[:17] for b in LIMBS[:17]
    )
    assert crossings > 0


def crosses(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> bool:
    def side(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def test_frames_of_a_batch_are_decoded_each_by_itself() -> None:
    frames = [[person(20, 20, 28)], [], [person(15, 20, 26), person(45, 20, 28)]]
    drawn = [draw(people, 40, 60) for people in frames]
    batch = StageOutput(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
    for bodies, people, single in zip(decode(batch), frames, drawn, strict=True):
        assert_found(bodies, people)
        np.testing.assert_allclose(bodies.places, decode(single)[0].places)


def test_noise_is_nobody() -> None:
    random = torch.Generator().manual_seed(1)
    heat, fields = torch.rand(3, 19, 30, 30, generator=random), torch.randn(3, 38, 30, 30, generator=random)
    for bodies in decode(StageOutput(0.1 * fields, 0.2 * heat)):
        assert len(bodies.score) == 0


def test_faint_people_have_a_low_score() -> None:
    drawn = draw([person(20, 20, 28)], 40, 44)
    clear = decode(drawn)[0]
    faint = decode(StageOutput(0.5 * drawn.fields, 0.5 * drawn.heat))[0]
    assert clear.score[0] > 0.9 and abs(faint.score[0] - 0.5) < 0.1
    np.testing.assert_allclose(faint.heat[0], 0.5 * clear.heat[0], rtol=0.05)


def test_greedy_is_as_right_as_the_best_assignment() -> None:
    """On noisy fields of a crowd, choosing greedily mistakes no more limbs than the assignment with the best sum."""
    random = np.random.default_rng(0)
    wrong = {"greedy": 0, "sum": 0}
    for _ in range(10):
        people = [person(10 + 8 * i, 20 + random.uniform(-3, 3), random.uniform(24, 30)) for i in range(6)]
        drawn = draw(people, 40, 62)
        noise = torch.from_numpy(random.normal(0, 0.3, tuple(drawn.fields.shape)).astype(np.float32))
        truth = torch.from_numpy(np.stack(people, 1).astype(np.float32))[None]  # [1,18,P,2]
        score = integrate(drawn.fields + noise, Peaks(truth, torch.ones(1, 18, len(people))))
        partner = choose(score).partner[0].numpy()
        for limb in range(len(LIMBS)):
            rows, columns = linear_sum_assignment(-score[0, limb].numpy())
            best = np.where(score[0, limb].numpy()[rows, columns] > 0, columns, -1)
            wrong["greedy"] += int((partner[limb] != np.arange(len(people))).sum())
            wrong["sum"] += int((best != np.arange(len(people))).sum())
    assert wrong["greedy"] <= 1.1 * wrong["sum"] + 2
    assert wrong["greedy"] < 0.2 * 10 * 6 * len(LIMBS)


def test_link_joins_the_drawn_limbs() -> None:
    drawn = draw([person(20, 20, 28)], 40, 44)
    links = link(drawn.fields, find_peaks(enlarge(drawn.heat[:, :18], 1)))
    assert (links.partner[0, :, 0] == 0).all() and (links.score[0, :, 0] > 0.6).all()


# ---- resampling ---------------------------------------------------------------------------------------------------


@given(seed=seeds, rows=st.integers(3, 9), columns=st.integers(3, 9), factor=st.integers(1, 4))
def test_resampling_equals_torch_s_bicubic(seed: int, rows: int, columns: int, factor: int) -> None:
    maps = torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(seed))
    size = (factor * rows, factor * columns)
    expected = torch.nn.functional.interpolate(maps, size, mode="bicubic", align_corners=False)
    torch.testing.assert_close(enlarge(maps, factor), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pace", [(2.0, 2.0), (1.5, 1.25), (0.5, 0.7)])
def test_a_pace_keeps_things_in_their_place(pace: tuple[float, float]) -> None:
    """A smooth bump at (x, y) of one grid is at ((x + 0.5) / pace - 0.5) of the other."""
    v, u = np.mgrid[:30, :40]
    bump = np.exp(-((u - 14.3) ** 2 + (v - 11.6) ** 2) / (2 * 3.0**2)).astype(np.float32)
    moved = resample(torch.from_numpy(bump)[None, None], (50, 60), pace)
    x, y = find_peaks(moved).places[0, 0, 0].tolist()
    assert math.isclose(x, (14.3 + 0.5) / pace[1] - 0.5, abs_tol=0.1)
    assert math.isclose(y, (11.6 + 0.5) / pace[0] - 0.5, abs_tol=0.1)


def test_every_pair_of_channels_is_of_one_limb() -> None:
    assert sorted(limb.channel for limb in LIMBS) == list(range(0, 38, 2))
    assert (PARTS[0], PARTS[1], PARTS[10], PARTS[17]) == ("nose", "neck", "right_ankle", "left_ear")
