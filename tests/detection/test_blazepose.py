# SPDX-License-Identifier: GPL-3.0-or-later
"""Detector and landmarks against the reference runtime and naive twins."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_data import blazepose_files, needs_shared, noise_frames, people_videos, read_video
from video2rig.detection import crops
from video2rig.detection.blazepose import MIRRORED, BlazePose
from video2rig.detection.boxes import anchor_centres, weighted_nms
from video2rig.detection.circles import radius, same_body
from video2rig.detection.crops import Roi
from video2rig.keypoints import KEYPOINT_SETS

finite = st.floats(-500, 500)


def image_to_crop(points: torch.Tensor, roi: Roi) -> torch.Tensor:
    """Points [R,K,2] in px of the image -> of the crop (0..1)."""
    return crops.turn((points - roi.centre[:, None]) / roi.size[:, None, None], -roi.angle) + 0.5


@pytest.fixture(scope="module")
def model() -> BlazePose:
    blazepose_files()
    return BlazePose.load("cpu")


def rois(count: int, seed: int) -> Roi:
    random = torch.Generator().manual_seed(seed)
    centre = 400 * torch.rand(count, 2, generator=random)
    return Roi(centre, 20 + 600 * torch.rand(count, generator=random), 7 * torch.rand(count, generator=random) - 3.5)


# ---- geometry -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000))
def test_crop_and_image_coordinates_are_inverse(seed: int) -> None:
    roi = rois(3, seed)
    points = 3 * torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(seed + 1)) - 1
    torch.testing.assert_close(image_to_crop(crops.crop_to_image(points, roi), roi), points, atol=1e-4, rtol=1e-4)


@given(x=finite, y=finite, length=st.floats(1, 900), angle=st.floats(-3.1, 3.1), margin=st.floats(1, 1.5))
def test_crop_of_a_circle_stands_the_body_upright(
    x: float, y: float, length: float, angle: float, margin: float
) -> None:
    hip = torch.tensor([[x, y]])
    arm = length * torch.tensor([[math.sin(angle), -math.cos(angle)]])
    roi = crops.roi_of_circles(torch.cat([hip, arm], 1), margin)
    inside = image_to_crop(torch.stack([hip, hip + arm], 1), roi)[0]
    torch.testing.assert_close(inside[0], torch.tensor([0.5, 0.5]), atol=1e-4, rtol=0)
    torch.testing.assert_close(inside[1], torch.tensor([0.5, 0.5 - 0.5 / margin]), atol=1e-3, rtol=0)
    assert -math.pi <= float(roi.angle) <= math.pi


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), height=st.integers(1, 90), width=st.integers(1, 90))
def test_sampling_equals_a_warp(seed: int, height: int, width: int) -> None:
    images = noise_frames(2, height, width, seed)
    random = np.random.default_rng(seed)
    centre, size = random.random(2) * (width, height), 5 + random.random() * 100
    angle, n = 6 * random.random() - 3, 24
    c, s = size / n * math.cos(angle), size / n * math.sin(angle)
    corner = centre - size / 2 * np.array([math.cos(angle) - math.sin(angle), math.sin(angle) + math.cos(angle)])
    columns, rows = np.arange(n)[None], np.arange(n)[:, None]
    x = (corner[0] + c * columns - s * rows).astype(np.float32)
    y = (corner[1] + s * columns + c * rows).astype(np.float32)
    expected = cv2.remap(images[1].astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    roi = Roi(torch.tensor(centre[None]).float(), torch.tensor([size]), torch.tensor([angle]))
    got = crops.sample_crops(torch.from_numpy(images), roi, torch.tensor([1]), n)[0].permute(1, 2, 0) * 255
    # remap rounds coordinates to 1/32 px
    assert np.abs(got.numpy() - expected).max() < 255 / 32 * 2
    for mirrored in (False, True):
        slow = crops.sample_crops(torch.from_numpy(images), roi, torch.tensor([1]), n, mirrored)
        fast = crops.warp_crop(images[1], roi, n, mirrored)
        assert fast.shape == slow.shape and (fast - slow).abs().max() < 2 / 32 + 1 / 255
    # pixel i of n samples i / n, and its mirror image 1 - i / n
    torch.testing.assert_close(slow[..., 1:], got.permute(2, 0, 1)[None].flip(-1)[..., :-1] / 255, atol=1e-3, rtol=0)


def test_anchors_cover_the_grid_twice_a_layer() -> None:
    anchors = anchor_centres(224, (8, 16, 32, 32, 32))
    assert anchors.shape == (2 * 28**2 + 2 * 14**2 + 6 * 7**2, 2)
    torch.testing.assert_close(anchors[:3], torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.5, 0.5]]) / 28)
    torch.testing.assert_close(anchors[-1], torch.tensor([6.5, 6.5]) / 7)


@pytest.mark.parametrize("shape", [(720, 1280), (1920, 1080), (100, 4000), (480, 480), (16, 16)])
def test_tiles_cover_the_frame_and_overlap(shape: tuple[int, int]) -> None:
    height, width = shape
    windows = crops.tile_windows(height, width, 224)
    if max(shape) < crops.TILE_ASPECT * min(shape) or min(shape) < 224:
        assert windows == []
        return
    assert windows[0][:2] == (0, 0) and windows[-1][2:] == (width, height)
    for left, top, right, bottom in windows:
        assert right - left == bottom - top == min(shape)
        assert left >= 0 and top >= 0 and right <= width and bottom <= height


@pytest.mark.parametrize(
    ("shape", "parts"),
    [((720, 1280), 2), ((1920, 1080), 2), ((500, 500), 2), ((448, 1200), 2), ((1080, 1920), 4), ((1280, 1152), 4)],
)
def test_fine_windows_show_every_place_whole_somewhere(shape: tuple[int, int], parts: int) -> None:
    height, width = shape
    windows, edge = crops.fine_windows(height, width, 224, parts), min(shape) // parts
    for x in np.linspace(0, width, 13):
        for y in np.linspace(0, height, 13):
            # someone a quarter of the edge to either side is in one window, but where the frame cuts them off
            box = np.clip([x - edge / 4, y - edge / 4, x + edge / 4, y + edge / 4], 0, [width, height, width, height])
            box[2:] = np.maximum(box[2:] - 1, box[:2])  # half an edge may be rounded down
            assert any(
                left <= box[0] and top <= box[1] and right >= box[2] and bottom >= box[3]
                for left, top, right, bottom in windows
            )
    assert crops.fine_windows(300, 300, 224) == [] == crops.fine_windows(500, 9000, 224)
    assert crops.fine_windows(720, 1280, 224, 4) == [] == crops.fine_windows(1080, 3840, 224, 4)


# ---- non-maximum suppression --------------------------------------------------------------------------------------


def naive_nms(
    scores: list[float], boxes: list[list[float]], points: list[list[float]], least: float
) -> list[tuple[float, list[float], list[float]]]:
    left = sorted(range(len(scores)), key=lambda i: -scores[i])
    results = []
    while left:
        best, cluster, rest = left[0], [left[0]], []
        for i in left[1:]:
            a, b = boxes[best], boxes[i]
            w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            both = max(w, 0) * max(h, 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
            (cluster if union > 0 and both / union > least else rest).append(i)
        total = sum(scores[i] for i in cluster)
        mean = [[sum(scores[i] * v[i][k] for i in cluster) / total for k in range(4)] for v in (boxes, points)]
        results.append((scores[best], mean[0], mean[1]))
        left = rest
    return results


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 14))
def test_nms_equals_its_naive_twin(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corner, extent = random.random((count, 2)), random.random((count, 2)) * 0.6
    boxes = np.concatenate([corner, corner + extent], 1)
    scores, points = random.uniform(0.5, 1, count), random.random((count, 4))
    got = weighted_nms(scores, boxes, points.reshape(count, 2, 2), 0.3)
    expected = naive_nms(scores.tolist(), boxes.tolist(), points.tolist(), 0.3)
    assert len(got[0]) == len(expected)
    for k, (score, box, point) in enumerate(expected):
        assert got[0][k] == score
        np.testing.assert_allclose(got[1][k], box, atol=1e-9)
        np.testing.assert_allclose(got[2][k].ravel(), point, atol=1e-9)


def test_boxes_without_area_end_the_search() -> None:
    empty = np.zeros((3, 4))
    assert len(weighted_nms(np.array([0.9, 0.8, 0.7]), empty, np.zeros((3, 4, 2)), 0.3)[0]) == 3


# ---- landmarks against the reference runtime ----------------------------------------------------------------------


def reference_landmarks(path: Path, crop: np.ndarray, roi: tuple[float, float, float, float]) -> dict[str, np.ndarray]:
    """One crop [256,256,3] (0..1) through ai-edge-litert, and MediaPipe's calculators written out as loops."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], crop[None])
    interpreter.invoke()
    out = {d["name"]: interpreter.get_tensor(d["index"])[0] for d in interpreter.get_output_details()}
    cx, cy, size, angle = roi
    rows, world = out["Identity"].reshape(39, 5).astype(float), out["Identity_4"].reshape(39, 3).astype(float)
    points, turned = np.zeros((39, 2)), np.zeros((39, 3))
    for k in range(39):
        x, y = rows[k, :2] / 256
        column, row = int(x * 64), int(y * 64)
        if 0 <= column < 64 and 0 <= row < 64 and x >= 0 and y >= 0:
            total = sum_x = sum_y = highest = 0.0
            for r in range(max(0, row - 3), min(64, row + 4)):
                for c in range(max(0, column - 3), min(64, column + 4)):
                    p = 1 / (1 + math.exp(-float(out["Identity_3"][r, c, k])))
                    total, sum_x, sum_y = total + p, sum_x + p * c, sum_y + p * r
                    highest = max(highest, p)
            if highest >= 0.5:
                x, y = sum_x / total / 64, sum_y / total / 64
        c, s = math.cos(angle), math.sin(angle)
        points[k] = cx + size * (c * (x - 0.5) - s * (y - 0.5)), cy + size * (s * (x - 0.5) + c * (y - 0.5))
        turned[k] = c * world[k, 0] - s * world[k, 1], s * world[k, 0] + c * world[k, 1], world[k, 2]
    visible, present = (1 / (1 + np.exp(-rows[:, i])) for i in (3, 4))
    return {"points": points, "world": turned, "confidence": visible * present, "person": out["Identity_1"]}


def compare_with_reference(model: BlazePose, images: np.ndarray) -> None:
    frames = torch.from_numpy(images)
    people = model.detect(frames)
    assert all(len(p.score) for p in people), "nobody found"
    circle = torch.tensor(np.stack([p.circle[0] for p in people])).float()
    roi = crops.roi_of_circles(circle, 1.25).moved(turn=0.2)
    index = torch.arange(len(images))
    got = model.landmarks(frames, roi, index)
    for i, image in enumerate(images):
        part = Roi(*(t[i : i + 1] for t in roi))
        crop = crops.warp_crop(image, part, 256)[0].permute(1, 2, 0).contiguous().numpy()
        place = (*roi.centre[i].tolist(), float(roi.size[i]), float(roi.angle[i]))
        expected = reference_landmarks(blazepose_files()["pose_landmark_full.tflite"], crop, place)
        assert float(got.person[i]) > 0.5
        assert np.abs(got.points[i, :, :2].numpy() - expected["points"]).max() < 0.01, "px"
        assert np.abs(got.world[i].numpy() - expected["world"]).max() < 1e-4, "m"
        assert np.abs(got.confidence[i].numpy() - expected["confidence"]).max() < 1e-4
        assert abs(float(got.person[i]) - float(expected["person"][0])) < 1e-4


@needs_shared
def test_landmarks_equal_the_reference_on_real_frames(model: BlazePose) -> None:
    for path in people_videos():
        compare_with_reference(model, np.stack([read_video(path, 1, start)[0] for start in (5, 45, 85)]))


def test_landmarks_equal_the_reference_on_the_sample(model: BlazePose) -> None:
    sample = [path for path in people_videos() if path.name == "sample.mp4"]
    if not sample:
        pytest.skip("the sample video is not here")
    compare_with_reference(model, read_video(sample[0], 3, start=10))


def test_noise_landmarks_equal_the_reference(model: BlazePose) -> None:
    image = noise_frames(1, 200, 320)
    roi = Roi(torch.tensor([[160.0, 90.0]]), torch.tensor([300.0]), torch.tensor([-0.4]))
    crop = crops.warp_crop(image[0], roi, 256)[0].permute(1, 2, 0)
    got = model.landmarks(torch.from_numpy(image), roi, torch.tensor([0]))
    expected = reference_landmarks(
        blazepose_files()["pose_landmark_full.tflite"], crop.contiguous().numpy(), (160.0, 90.0, 300.0, -0.4)
    )
    assert np.abs(got.points[0, :, :2].numpy() - expected["points"]).max() < 0.01
    assert np.abs(got.world[0].numpy() - expected["world"]).max() < 1e-4


@needs_shared
def test_detector_follows_a_moved_person(model: BlazePose) -> None:
    image = read_video(people_videos()[0], 1, start=20)
    shifted = np.roll(image, 150, axis=1)  # down by 150 px
    one, other = model.detect(torch.from_numpy(np.concatenate([image, shifted])))
    assert len(one.score) == len(other.score) == 1
    np.testing.assert_allclose((other.circle - one.circle)[:, :2], [[0, 150]], atol=0.1 * float(radius(one.circle[0])))


@needs_shared
def test_two_people_are_two(model: BlazePose) -> None:
    image = read_video(people_videos()[0], 1, start=20)
    both = np.concatenate([image, image[:, :, ::-1]], axis=2)
    people = model.detect(torch.from_numpy(np.ascontiguousarray(both)))[0]
    assert len(people.score) == 2
    assert sorted(people.circle[:, 0] > image.shape[2]) == [False, True]


@pytest.mark.parametrize("shape", [(16, 16), (1, 1), (17, 1001), (1001, 17), (241, 333)])
def test_any_frame_size(model: BlazePose, shape: tuple[int, int]) -> None:
    people = model.detect(torch.from_numpy(noise_frames(2, *shape)), tiles=True)
    assert len(people) == 2
    for person in people:
        assert np.isfinite(person.circle).all() and person.score.shape == person.circle.shape[:1]


def test_networks_in_batches_equal_the_frozen_ones(model: BlazePose) -> None:
    """What a GPU does with a batch is what a CPU does one by one."""
    images = torch.from_numpy(noise_frames(4, 300, 400))
    for network, frozen, size in zip((model.detector, model.landmarker), model._networks, (224, 256), strict=True):
        batch = crops.letterbox(images, size)
        with torch.inference_mode():
            whole = network(batch)
            for i in range(4):
                for a, b in zip(whole, frozen(batch[i : i + 1]), strict=True):
                    torch.testing.assert_close(a[i : i + 1], b, atol=2e-3, rtol=1e-3)


def test_threads_change_nothing(model: BlazePose) -> None:
    images = torch.from_numpy(noise_frames(4, 90, 120))
    runs = [model.landmarks(images, rois(4, 3), torch.arange(4)) for _ in range(4)]
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=0, rtol=0)
    assert torch.get_num_threads() == 1, "the pool's threads keep their setting to themselves"


def test_mirrored_landmarks_are_the_other_side() -> None:
    names = KEYPOINT_SETS["blazepose_33"]
    assert [names[MIRRORED[names.index(name)]] for name in ("nose", "left_hip", "right_eye_inner", "left_big_toe")] == [
        "nose",
        "right_hip",
        "left_eye_inner",
        "right_big_toe",
    ]
    assert [MIRRORED[i] for i in MIRRORED] == list(range(39))


@needs_shared
def test_looks_at_a_person(model: BlazePose) -> None:
    image = torch.from_numpy(read_video(people_videos()[0], 1, start=20))
    (found,) = model.find(image)
    assert len(found.score) == 1 and found.score[0] > 0.8
    circles, frame = torch.from_numpy(found.circle), torch.tensor([0])
    plain, mirrored = model.look(image, circles, frame), model.look_mirrored(image, circles, frame)
    assert same_body(plain.circle, found.circle).all()
    away = np.linalg.norm(plain.positions - mirrored.positions, axis=-1) / radius(plain.circle)[:, None]
    assert np.median(away) < 0.03 and plain.world is not None and mirrored.world is not None
    assert np.median(np.abs(plain.world - mirrored.world)) < 0.05
    flipped = model.look(
        image.flip(2), circles * torch.tensor([-1, 1, -1, 1]) + torch.tensor([image.shape[2] - 1, 0, 0, 0]), frame
    )
    twin = flipped.positions[:, MIRRORED[:33]] * [-1, 1] + [image.shape[2] - 1, 0]
    assert np.median(np.linalg.norm(twin - mirrored.positions, axis=-1) / radius(plain.circle)[:, None]) < 0.01
