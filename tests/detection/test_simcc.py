# SPDX-License-Identifier: GPL-3.0-or-later
"""RTMPose and RTMW on onnxruntime, on a network that sees coloured dots: pixels in, people out."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import dot_network
from dot_network import draw
from shared_data import SAMPLE, blazepose_files, read_video
from video2rig.detection import PeopleStream, onnx_session, simcc
from video2rig.detection.blazepose import BlazePose
from video2rig.detection.crops import Roi, sample_crops
from video2rig.detection.detector import MirroringDetector, People, TilingDetector
from video2rig.detection.onnx_session import OnnxError, OnnxSession
from video2rig.detection.simcc import Shape, SimCC, box_of, decode
from video2rig.keypoints import KEYPOINT_SETS, Keypoints
from video2rig.person import PersonChoice

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

HALPE, WHOLE = Shape("halpe_26", 192, 256), Shape("coco_wholebody_133", 288, 384, peak=10.0)

# a standing person, in parts of their height from the hip centre; x to their left, which is the picture's right
_BODY = {
    "nose": (0.0, -0.41),
    "left_eye": (0.03, -0.44),
    "left_ear": (0.07, -0.42),
    "left_shoulder": (0.12, -0.29),
    "left_elbow": (0.2, -0.15),
    "left_wrist": (0.24, 0.0),
    "left_hip": (0.07, 0.0),
    "left_knee": (0.08, 0.25),
    "left_ankle": (0.09, 0.47),
    "head_top": (0.0, -0.49),
    "neck": (0.0, -0.32),
    "pelvis": (0.0, 0.02),
    "left_big_toe": (0.14, 0.51),
    "left_small_toe": (0.19, 0.48),
    "left_heel": (0.05, 0.51),
}


def person(x: float, y: float, height: float, angle: float = 0.0) -> np.ndarray:
    """Keypoints [26,2] px of somebody whose hips are at (x, y), turned by radians (clockwise on the screen)."""
    points = []
    for name in KEYPOINT_SETS["halpe_26"]:
        across, down = _BODY[name.replace("right_", "left_")]
        points.append((-across if name.startswith("right_") else across, down))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return height * np.array(points) @ turn.T + (x, y)


def circle(x: float, y: float, height: float, angle: float = 0.0) -> list[float]:
    return [x, y, 0.53 * height * math.sin(angle), -0.53 * height * math.cos(angle)]


def nobody(images: Tensor, small: bool) -> list[np.ndarray]:
    return [np.zeros((0, 4)) for _ in images]


@pytest.fixture(scope="module")
def halpe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dot_network.write(tmp_path_factory.mktemp("onnx") / "halpe.onnx", HALPE)


@pytest.fixture(scope="module")
def detector(halpe: Path) -> SimCC:
    return SimCC.load(halpe, HALPE, "cpu", nobody)


def look(detector: SimCC, image: np.ndarray, *circles: list[float]) -> simcc.People:
    frame = torch.zeros(len(circles), dtype=torch.long)
    return detector.look(torch.from_numpy(image)[None], torch.tensor(circles), frame)


# ---- decoding -----------------------------------------------------------------------------------------------------


def bumps(places: np.ndarray, heights: np.ndarray, size: int, sigma: float) -> Tensor:
    """Rows [R,K,N] of Gaussians at bins [R,K]."""
    bins = np.arange(size * simcc.SPLIT)
    return torch.from_numpy(heights[..., None] * np.exp(-0.5 * ((bins - places[..., None] * 2) / sigma) ** 2)).float()


@given(st.integers(0, 10_000), st.sampled_from([4.9, 5.66, 6.0, 6.93]))
def test_gaussians_are_decoded_between_bins(seed: int, sigma: float) -> None:
    rng = np.random.default_rng(seed)
    places = rng.uniform([2, 2], [189, 253], (3, 7, 2))
    heights = rng.uniform(0.05, 1.2, (3, 7, 2))
    rows = [bumps(places[..., i], heights[..., i], size, sigma) for i, size in enumerate((192, 256))]
    found, height = decode(*rows)
    assert np.abs(found.numpy() - places).max() < 2e-3
    # the lesser of both; bins lie up to half a bin beside the top
    assert (height.numpy() <= heights.min(-1) + 1e-6).all() and (height.numpy() > 0.98 * heights.min(-1)).all()


@given(st.integers(0, 10_000))
def test_decoding_is_the_highest_bin_to_within_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [torch.from_numpy(rng.normal(size=(2, 5, n))).float() for n in (384, 512)]
    found, height = decode(*rows)
    for axis, row in enumerate(rows):
        for r in range(2):
            for k in range(5):
                assert abs(2 * found[r, k, axis] - row[r, k].argmax()) <= 1
    assert torch.equal(height, torch.minimum(rows[0].amax(-1), rows[1].amax(-1)))


def test_decoding_survives_rows_without_a_peak() -> None:
    for rows in (torch.zeros(1, 2, 384), -torch.ones(1, 2, 384), torch.full((1, 2, 384), 5.0)):
        found, _ = decode(rows, rows)
        assert found.isfinite().all() and (found >= 0).all() and (found < 192).all()
    ends = torch.zeros(1, 2, 384)
    ends[0, 0, 0] = ends[0, 1, 383] = 1.0
    assert decode(ends, ends)[0][0].tolist() == [[0.0, 0.0], [191.5, 191.5]]


# ---- crops --------------------------------------------------------------------------------------------------------


@given(
    st.floats(-500, 500), st.floats(5, 900), st.floats(-3.1, 3.1), st.sampled_from([(192, 256), (256, 256), (256, 192)])
)
def test_boxes_hold_the_circle_and_are_as_high_as_in_training(x: float, r: float, angle: float, size: tuple) -> None:
    width, height = size
    box = box_of(torch.tensor([[x, 7.0, r * math.sin(angle), -r * math.cos(angle)]]), width, height)
    assert box.centre.tolist() == [[pytest.approx(x, abs=1e-3), 7.0]]
    high, wide = (float(box.size) * n / max(size) for n in (height, width))
    assert wide >= 2 * r * 0.999 and high >= 2 * 1.25 * r * 0.999
    assert math.cos(float(box.angle) - angle) > 1 - 1e-5


# ---- looking ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 0.6, math.pi / 2, math.pi, -2.0])
def test_keypoints_come_back_in_pixels_however_somebody_lies(detector: SimCC, angle: float) -> None:
    truth = person(300.3, 260.7, 400.0, angle)
    seen = look(detector, draw(520, 610, [truth]), circle(303.0, 258.0, 380.0, angle + 0.1))
    assert seen.confidence.min() > 0.95 and seen.score[0] > 0.95
    # 2.1 pixels of the image are one of the crop
    error = seen.positions[0] - truth
    assert np.linalg.norm(error, axis=-1).max() < 1.2 and np.linalg.norm(error, axis=-1).mean() < 0.5
    assert np.abs(error.mean(0)).max() < 0.3, "half a pixel somewhere"
    middle = (truth[11] + truth[12]) / 2
    arm = seen.circle[0, 2:] / np.linalg.norm(seen.circle[0, 2:])
    assert np.abs(seen.circle[0, :2] - middle).max() < 1 and arm @ [math.sin(angle), -math.cos(angle)] > 0.999


def test_a_look_in_a_mirror_is_put_back(detector: SimCC) -> None:
    """The network takes colours for names: of the mirrored person it says left for what is the mirror's right."""
    truth = person(300.3, 260.7, 400.0, 0.3)
    image, where = torch.from_numpy(draw(520, 610, [truth]))[None], torch.tensor([circle(305.0, 255.0, 380.0, 0.2)])
    straight, back = (look(image, where, torch.tensor([0])) for look in (detector.look, detector.look_mirrored))
    names = KEYPOINT_SETS["halpe_26"]
    other = [names.index(_swapped(name)) for name in names]
    assert np.linalg.norm(back.positions[0, other] - truth, axis=-1).max() < 1.2
    assert np.abs((back.positions[:, other] - straight.positions).mean(1)).max() < 0.3
    assert np.allclose(back.confidence[:, other], straight.confidence, atol=0.02)


def _swapped(name: str) -> str:
    return re.sub("^(left|right)", lambda side: {"left": "right", "right": "left"}[side[0]], name)


def test_many_are_looked_at_in_one_call(detector: SimCC) -> None:
    rng = np.random.default_rng(0)
    people = [person(150 + 40 * i, 160 + rng.uniform(-9, 9), 250, rng.uniform(-1, 1)) for i in range(7)]
    images = torch.from_numpy(np.stack([draw(330, 640, [one], 3.0) for one in people]))
    hips = np.stack([(one[11] + one[12]) / 2 for one in people])
    arms = np.stack([one[18] - one[19] for one in people])
    circles = np.concatenate([hips, 130 * arms / np.linalg.norm(arms, axis=1, keepdims=True)], 1)
    order = torch.tensor([3, 0, 6, 2, 1, 5, 4])
    together = detector.look(images, torch.tensor(circles)[order], order)
    assert detector.batch < 7
    assert np.linalg.norm(together.positions - np.stack(people)[order], axis=-1).max() < 1
    for row, i in enumerate(order.tolist()):
        alone = detector.look(images, torch.tensor(circles[i : i + 1]), torch.tensor([i]))
        assert np.allclose(alone.positions[0], together.positions[row], atol=1e-3)


def test_where_nobody_is_the_score_is_low_and_the_circle_stays(detector: SimCC) -> None:
    where = circle(200.0, 200.0, 300.0)
    seen = look(detector, draw(400, 400, []), where, [math.nan] * 4)
    assert seen.score.max() < 1.1 * simcc.NOWHERE and seen.confidence.max() < 1.1 * simcc.NOWHERE
    assert np.allclose(seen.circle[0], where)
    assert seen.confidence[1].max() == 0 and np.isnan(seen.positions[1]).all(), "there is no such circle"
    truth = person(200, 200, 300)
    truth[np.arange(26) % 2 == 0] = np.nan
    half = look(detector, draw(400, 400, [truth]), where)
    assert half.score[0] > simcc.MIN_PERSON, "half a person is one"
    there = np.isfinite(truth[:, 0])
    assert half.confidence[0, there].min() > 0.9 and half.confidence[0, ~there].max() < 1.1 * simcc.NOWHERE
    assert np.linalg.norm(half.positions[0, there] - truth[there], axis=-1).max() < 1.5
    assert np.linalg.norm(half.circle[0, 2:]) < 250, "places that are not sure do not make the body larger"


@pytest.mark.parametrize("size", [(1, 40), (40, 1), (1, 1)])
def test_pictures_one_pixel_wide_hold_nobody(detector: SimCC, size: tuple[int, int]) -> None:
    seen = look(detector, np.full((*size, 3), 200, np.uint8), circle(0.0, 0.0, 0.0), circle(20.0, 20.0, 1e6))
    assert seen.score.max() < simcc.MIN_PERSON and np.isfinite(seen.circle).all()


def test_the_whole_body_has_all_of_its_points(tmp_path: Path) -> None:
    path = dot_network.write(tmp_path / "whole.onnx", WHOLE)
    rng = np.random.default_rng(1)
    grid = np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2)[:133] * 44 + 60
    truth = rng.permutation(grid) + rng.uniform(-4, 4, (133, 2))
    detector = SimCC.load(path, WHOLE, "cpu", nobody)
    seen = look(detector, draw(640, 640, [truth], 6.0), [320.0, 320.0, 0.0, -340.0])
    assert detector.keypoint_set == "coco_wholebody_133" and seen.positions.shape == (1, 133, 2)
    assert seen.confidence.min() > 0.95 and seen.confidence.max() <= 1.0
    assert np.linalg.norm(seen.positions[0] - truth, axis=-1).max() < 1


def test_a_model_of_fixed_batch_is_fed_in_its_portions(tmp_path: Path, detector: SimCC) -> None:
    path = dot_network.write(tmp_path / "three.onnx", HALPE, batch=3)
    fixed = SimCC.load(path, HALPE, "cpu", nobody)
    image = draw(300, 300, [person(150, 150, 200)], 3.0)
    circles = [circle(150.0 + i, 150.0, 200.0) for i in range(5)]
    assert np.allclose(look(fixed, image, *circles).positions, look(detector, image, *circles).positions, atol=1e-4)


# ---- finding ------------------------------------------------------------------------------------------------------


def test_people_are_found_and_looked_at_twice(halpe: Path) -> None:
    # so far apart that no crop has two people in it, whose dots have the same colours
    crowd = [[person(150, 200, 250), person(680, 210, 300, 0.4)], [], [person(300, 200, 320, math.pi / 2)]]
    images = torch.from_numpy(np.stack([draw(400, 900, people, 3.5) for people in crowd]))

    def roughly(seen: Tensor, small: bool) -> list[np.ndarray]:
        """Circles that are a good deal off, twice for the second person, and one where nobody is."""
        assert seen is images
        first = [circle(160, 190, 320), circle(670, 200, 260, 0.2), circle(690, 222, 330, 0.6), circle(430, 60, 80)]
        return [np.array(first), np.zeros((0, 4)), np.array([circle(310, 190, 380, math.pi / 2 - 0.3)])]

    found = SimCC.load(halpe, HALPE, "cpu", roughly).find(images)
    assert [len(people.score) for people in found] == [2, 0, 1]
    for people, truths in zip(found, crowd, strict=True):
        assert (np.diff(people.score) <= 0).all()
        for truth in truths:
            apart = np.linalg.norm(people.positions - truth, axis=-1).mean(-1)
            assert apart.min() < 0.5
    detector = SimCC.load(halpe, HALPE, "cpu", roughly)
    assert isinstance(detector, TilingDetector) and isinstance(detector, MirroringDetector)


def test_no_frames_and_nobody_are_empty(detector: SimCC) -> None:
    assert detector.find(torch.zeros(0, 90, 90, 3, dtype=torch.uint8)) == []
    (people,) = detector.find(torch.zeros(1, 90, 90, 3, dtype=torch.uint8))
    assert people.positions.shape == (0, 26, 2) and people.circle.shape == (0, 4) and people.score.shape == (0,)


def test_a_real_person_is_found_by_blazeposes_detector(halpe: Path) -> None:
    """Dots on the sample's person, where BlazePose's landmarks are: its own detector leads the network to them."""
    blazepose_files()
    finder = simcc.blazepose_finder(BlazePose.load("cpu"))
    frames = torch.from_numpy(read_video(SAMPLE, 2, start=40))
    circles = finder(frames, False)
    assert [len(of_frame) for of_frame in circles] == [1, 1]
    assert all(len(of_frame) >= 1 for of_frame in finder(frames, True))
    hip, arm = circles[0][0, :2], circles[0][0, 2:]
    radius, angle = np.linalg.norm(arm), math.atan2(arm[0], -arm[1])
    truth = person(*hip, radius / 0.56, angle)
    frame = frames[0].numpy().copy()
    cover = draw(*frame.shape[:2], [truth], 3.0)
    dotted = np.where(
        (np.abs(cover.astype(int) - 128).max(-1) > 3)[..., None], cover, (frame // 8 + 112).astype(np.uint8)
    )
    # what leads there are the real frame's circles; what is read are the dots
    (people,) = SimCC.load(halpe, HALPE, "cpu", lambda images, small: circles[:1]).find(torch.from_numpy(dotted)[None])
    assert len(people.score) == 1 and np.linalg.norm(people.positions[0] - truth, axis=-1).mean() < 0.5


# ---- bad files and machines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "options", "words"),
    [
        (Shape("halpe_26", 288, 384), {}, r"its input is \['batch', 3, 384, 288\]; .*\[B,3,256,192\]"),
        (Shape("coco_17", 192, 256), {}, r"outputs are \['B', 17, 384\].*\[B,26,384\] and \[B,26,512\]"),
        (HALPE, {"bins": 3}, r"outputs are \['B', 26, 576\]"),
        (HALPE, {"names": 1}, r"outputs are \['B', 26, 384\]; it should have .* and"),
        (HALPE, {"kind": "FLOAT16"}, r"input: tensor\(float16\); there should be one tensor\(float\)"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, other: Shape, options: dict, words: str) -> None:
    path = dot_network.write(tmp_path / "other.onnx", other, **options)
    with pytest.raises(OnnxError, match=f"other.onnx is another model: .*{words}") as told:
        SimCC.load(path, HALPE, "cpu", nobody)
    assert "\n" not in str(told.value)


def test_a_network_that_puts_out_no_numbers_is_refused(halpe: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(halpe)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(OnnxError, match=r"broken\.onnx is damaged: .*not finite"):
        SimCC.load(tmp_path / "broken.onnx", HALPE, "cpu", nobody)


def test_damaged_files_are_refused(tmp_path: Path, halpe: Path) -> None:
    content = halpe.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"not a model", content[:40] + bytes(40) + content[80:]):
        (tmp_path / "damaged.onnx").write_bytes(damaged)
        with pytest.raises(
            OnnxError, match=r"damaged\.onnx is (damaged, truncated or no ONNX model|another model)"
        ) as told:
            SimCC.load(tmp_path / "damaged.onnx", HALPE, "cpu", nobody)
        assert "\n" not in str(told.value)
    with pytest.raises(OnnxError, match=r"no file .*absent\.onnx"):
        OnnxSession(tmp_path / "absent.onnx")


def test_onnxruntime_missing_says_how_to_get_it(halpe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OnnxError, match=r"onnxruntime is not installed.* -m pip install onnxruntime"):
        OnnxSession(halpe)


def test_onnxruntime_reports_nothing_to_its_maker(halpe: Path, tmp_path: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")}
    homes = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA")}
    code = "import sys; from video2rig.detection.onnx_session import OnnxSession; OnnxSession(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(halpe)], env=kept | homes, check=True)
    assert not list(tmp_path.iterdir())


def test_a_gpu_that_onnxruntime_cannot_use_is_an_error_and_never_the_cpu(
    halpe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = onnx_session.runtime()
    if "CUDAExecutionProvider" not in module.get_available_providers():
        with pytest.raises(
            OnnxError, match=r"cannot compute on 'cuda.*CPUExecutionProvider.*onnxruntime-gpu.*device cpu"
        ):
            OnnxSession(halpe, "cuda:0")
    # a package for GPUs on a machine without CUDA's libraries falls back by itself, with a line in a log
    monkeypatch.setattr(OnnxSession, "_providers", lambda self, module: ["CPUExecutionProvider"])
    with pytest.raises(OnnxError, match="could not use the GPU"):
        OnnxSession(halpe, "cuda:0")


def test_threads_are_those_that_the_process_may_use(halpe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert OnnxSession(halpe)._session.get_session_options().intra_op_num_threads == 3
    for told in ("", "4,2", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert OnnxSession(halpe)._session.get_session_options().intra_op_num_threads == onnx_session.cpu_threads()


# ---- in a stream --------------------------------------------------------------------------------------------------


def test_both_ways_to_crop_give_the_same_keypoints(detector: SimCC, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU all crops are sampled at once, on a CPU one by one."""
    image = draw(420, 430, [person(210, 205, 300, 0.7)], 3.0)
    warped = look(detector, image, circle(215.0, 200.0, 310.0, 0.6))

    def sampled(image: np.ndarray, box: Roi, edge: int) -> Tensor:
        return sample_crops(torch.from_numpy(image)[None], box, torch.zeros(1, dtype=torch.long), edge)

    monkeypatch.setattr(simcc, "warp_crop", sampled)
    assert np.abs(look(detector, image, circle(215.0, 200.0, 310.0, 0.6)).positions - warped.positions).max() < 0.3


class _Watched:
    """A detector that notes which frames of a video it is shown, so that a finder can answer from what is known.

    It looks in no mirror: there a person's left and right are exchanged, and coloured dots are not.
    """

    def __init__(self, detector: SimCC, video: np.ndarray, times: list[int]) -> None:
        self._detector, self._video, self._times = detector, video, times
        self.keypoint_set, self.device, self.batch = detector.keypoint_set, detector.device, detector.batch
        self.look = detector.look

    def find(self, images: Tensor) -> list[People]:
        self._times[:] = [int((self._video == one.numpy()).all((1, 2, 3)).argmax()) for one in images]
        return self._detector.find(images)


@pytest.mark.parametrize("views", [1, 2])
def test_two_people_are_followed_through_a_video(tmp_path: Path, views: int) -> None:
    frames, small_input = 12, Shape("halpe_26", 96, 128)
    truth = np.stack(
        [[person(140 + 4 * t, 170, 220, 0.02 * t), person(760 - 3 * t, 180 + t, 240, -0.01 * t)] for t in range(frames)]
    )
    hips = truth[:, :, 11:13].mean(2)

    def roughly(images: Tensor, small: bool) -> list[np.ndarray]:
        return [np.concatenate([hips[t] + (6, -4), np.tile([5.0, -130.0], (2, 1))], 1) for t in times]

    images = np.stack([draw(360, 900, list(people), 3.0) for people in truth])
    path = dot_network.write(tmp_path / "small.onnx", small_input)
    times: list[int] = []
    detector = _Watched(SimCC.load(path, small_input, "cpu", roughly), images, times)
    stream = PeopleStream(detector, 30.0, PersonChoice("everyone"), views=views)
    stream.push(images)
    stream.finish()
    followed = stream.people()
    assert [person.number for person in followed] == [1, 2]
    for one in followed:
        errors = np.linalg.norm(one.positions[:, None] - truth, axis=-1).mean((0, 2))
        assert one.world is None and errors.min() < 1.0
        assert one.confidence.min() > 0.9
        keypoints = Keypoints("halpe_26", one.positions, one.confidence, np.arange(frames) / 30)
        assert keypoints.seen().all()
