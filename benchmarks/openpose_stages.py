# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenPose with 6 to 2 stages: what leaving stages out saves in time, and what it costs.

    python benchmarks/openpose_stages.py [--quick] [--device cuda] [--weights FILE] [--shared FOLDER]

Times are of the network of Cao et al. (VGG-19 front) on one square picture, all numbers of stages in turn, the best of
several rounds; they do not depend on the weights, which are random without --weights. Losses are the differences of
each stage's output from that of stage 6 on real frames, of --weights and of the network with a MobileNetV2 front.
Errors are of the keypoints of the network with a MobileNetV2 front, against joints that calibrated cameras measured.
On a GPU the network computes in bfloat16, and its kernels are launched as one graph. Operations are those of plain
convolutions; on a CPU the wide ones of the front do with fewer (`winograd.py`).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from environment import describe
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from video2rig.detection.openpose.checkpoint import load_network
from video2rig.detection.openpose.detector import OpenPose
from video2rig.detection.openpose.layout import PARTS, STAGES
from video2rig.detection.openpose.mobilenet import MobileNetOpenPose
from video2rig.detection.openpose.network import OpenPoseNetwork
from video2rig.detection.openpose.stages import StagedNetwork
from video2rig.device import resolve_device, set_cpu_threads
from video2rig.errors import Video2RigError
from video2rig.frames import Frame, open_video

SIZES = (184, 368, 552, 736)
POSTER = {6: (26.63, 71.84, 138.20, 241.70), 3: (14.81, 40.50, 79.10, 138.10)}
"""Milliseconds at each size, by stages (Jones)."""
MOBILENET = "openpose_mobilenet_v2_small.npz"
TRUTH = "truth_pose2sim_balancing.npz"
JOINTS = [side + name for side in "RL" for name in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")]
SOMEBODY_ELSE = 150.0
"""Pixels: a person whose joints are further off than this is another one in the room."""


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the two smaller sizes, 6, 3 and 2 stages, two frames")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the CPU; all of its cores unless told")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="of one thread, in place of the clock's time: where other programs run beside this one",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="of the network of Cao et al. with 6 stages")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared")
    parser.add_argument("--video", type=Path, help="frames for the losses; shared/data/video/sports2d/demo.mp4")
    parser.add_argument("--frames", type=int, default=10)
    options = parser.parse_args()
    sizes = options.sizes[:2] if options.quick else options.sizes
    stages = (6, 3, 2) if options.quick else tuple(reversed(STAGES))
    try:
        device, _ = resolve_device(options.device)
        set_cpu_threads(1 if options.processor_time else options.threads)
        print(describe(device) + (f", {torch.get_num_threads()} threads" if device.type == "cpu" else ", bfloat16"))
        if device.type == "cpu":
            print(f"load of the machine from other programs and before: {os.getloadavg()[0]:.1f}")
        networks = {count: _network(options.weights, count, device) for count in stages}
        what = f"weights of {options.weights.name}" if options.weights else "random weights"
        rounds = 2 if options.quick else options.rounds
        clock = time.process_time if options.processor_time else time.perf_counter
        _times(networks, sizes, rounds, device, what, clock)
        video = options.video or options.shared / "data" / "video" / "sports2d" / "demo.mp4"
        if not video.exists():
            print(f"no losses: there is no {video}; --video names a video, --shared the folder with data and weights")
            return 0
        frames = _frames(video, 2 if options.quick else options.frames).to(device)
        if options.weights:
            _losses(f"{options.weights.name}, {video.name}", load_network(options.weights, 6).to(device), frames)
        small = options.shared / "weights" / MOBILENET
        if small.is_file():
            _losses(f"{small.name}, {video.name}", MobileNetOpenPose.load(small).to(device), frames)
            _errors(small, options.shared / "data" / "video", stages, 50 if options.quick else 10, device)
        else:
            print(f"no losses of the network with a MobileNetV2 front: there is no {small}")
    except Video2RigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _network(weights: Path | None, stages: int, device: torch.device) -> OpenPoseNetwork:
    network = load_network(weights, stages) if weights else OpenPoseNetwork(stages)
    network = network.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network.eval().requires_grad_(False)


def _times(
    networks: dict[int, OpenPoseNetwork],
    sizes: list[int],
    rounds: int,
    device: torch.device,
    weights: str,
    clock: Callable[[], float],
) -> None:
    unit = "milliseconds" if clock is time.perf_counter else "milliseconds of processor time"
    print(f"\n{unit} a picture, {weights}; in brackets how many times faster than 6 stages; GFLOP a picture")
    print(f"{'':10}" + "".join(f"{f'{size} x {size}':>28}" for size in sizes))
    spent: dict[tuple[int, int], float] = {}
    for size in sizes:
        runs = {count: _runner(network, size, device) for count, network in networks.items()}
        for _ in range(rounds):
            for count, run in runs.items():
                spent[count, size] = min(spent.get((count, size), float("inf")), _seconds(run, device, clock))
    first = max(networks)
    work = {(count, size): _flops(count, size) for count in networks for size in sizes}
    for count in networks:
        cells = "".join(
            f"{1e3 * spent[count, size]:10.2f} ({spent[first, size] / spent[count, size]:.2f})"
            f"{work[count, size]:9.1f} G"
            for size in sizes
        )
        print(f"{count} stages  {cells}")
    gain = ", ".join(f"{count} stages {work[first, sizes[-1]] / work[count, sizes[-1]]:.2f}" for count in networks)
    print(f"operations alone: {gain}")
    for count, cells in POSTER.items():
        known = [(size, value) for size, value in zip(SIZES, cells, strict=True) if size in sizes]
        print(
            f"poster, {count} stages: "
            + ", ".join(f"{value} ms ({POSTER[6][SIZES.index(size)] / value:.2f})" for size, value in known)
        )


def _runner(network: OpenPoseNetwork, size: int, device: torch.device) -> Callable[[], object]:
    """A call that runs the network once; on a GPU it replays a graph of all kernels."""
    dtype = next(network.parameters()).dtype
    image = torch.rand(1, 3, size, size, device=device, dtype=dtype) - 0.5
    image = image.contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> object:
        return network(image)

    run()
    if device.type != "cuda":
        return run
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def _seconds(run: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    times = 1 if device.type == "cpu" else 20
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = clock()
    for _ in range(times):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (clock() - began) / times


def _flops(stages: int, size: int) -> float:
    """Operations of one picture, 10^9, by plain convolutions; a multiplication with its addition counts two."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        OpenPoseNetwork(stages)(torch.empty(1, 3, size, size))
    return counter.get_total_flops() / 1e9


def _frames(path: Path, count: int) -> Tensor:
    """So many frames [N,3,368,W] 0..255, evenly over a video, W a multiple of 16."""
    source = open_video(path)
    step = max(1, source.info.frame_count // count)
    size = (max(16, round(368 * source.info.width / source.info.height / 16) * 16), 368)
    images = [
        cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        for frame in source.frames()
        if frame.index % step == step // 2
    ]
    return torch.from_numpy(np.stack(images[:count])).permute(0, 3, 1, 2).float()


@torch.inference_mode()
def _losses(label: str, network: StagedNetwork, frames: Tensor) -> None:
    network.eval()
    squares: list[list[list[float]]] = []
    for frame in frames.split(1):
        outputs = network(network.normalise(frame))
        last = outputs[-1]
        squares.append(
            [
                [float((one - other).square().sum()) for one, other in zip(output, last, strict=True)]
                + [float((one - other).square().mean()) for one, other in zip(output, last, strict=True)]
                for output in outputs
            ]
        )
    table = np.mean(squares, axis=0)
    print(
        f"\ndifference of each stage's output from the last one's, {label}, {len(frames)} frames of "
        f"{frames.shape[3]} x 368"
    )
    print(f"{'':10}{'L2 loss a frame (sum of squares)':>36}{'RMS':>24}")
    print(f"{'':10}{'heat maps':>18}{'fields':>18}{'heat maps':>14}{'fields':>10}")
    for stage, (fields, heat, mean_fields, mean_heat) in enumerate(table, 1):
        print(f"stage {stage}   {heat:18.3f}{fields:18.3f}{mean_heat**0.5:14.4f}{mean_fields**0.5:10.4f}")


def _errors(weights: Path, videos: Path, stages: Sequence[int], every: int, device: torch.device) -> None:
    """Distances of keypoints from the projections of measured joints, in every so many frames."""
    if not (videos / TRUTH).is_file():
        print(f"no errors of keypoints: there is no {videos / TRUTH}")
        return
    truth = np.load(videos / TRUTH, allow_pickle=False)
    cameras = [str(camera) for camera in truth["cameras"]]
    joints = [list(truth["names"]).index(name) for name in JOINTS]
    frames = {camera: [frame for frame in _frames_of(videos, camera) if not frame.index % every] for camera in cameras}
    print(f"\nmedian error of keypoints, pixels of 1088 x 1920 (share of the joints that were found), {weights.name}")
    print(f"{'':10}" + "".join(f"{camera:>14}" for camera in cameras) + f"{'all':>14}")
    for count in stages:
        detector = OpenPose.load_mobilenet(weights, count, device)
        errors = []
        for camera, shown in frames.items():
            wanted = truth[f"cam_{camera}_joints2d"][::every][:, joints]
            errors.append([_error(detector, frame.image, there) for frame, there in zip(shown, wanted, strict=True)])
        cells = [np.concatenate(camera) for camera in (*errors, [one for camera in errors for one in camera])]
        print(
            f"{count} stages  " + "".join(f"{_median(cell):7.1f} ({np.isfinite(cell).mean():.2f})" for cell in cells),
            flush=True,
        )


def _frames_of(videos: Path, camera: str) -> Iterator[Frame]:
    return open_video(videos / "pose2sim" / "single" / f"{camera}.mp4").frames()


def _error(detector: OpenPose, image: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distances [12] px of the joints of whoever is nearest to the measured ones; NaN where they were not found."""
    (people,) = detector.find(torch.from_numpy(image)[None].to(detector.device))
    parts = [PARTS.index(("right_" if name[0] == "R" else "left_") + name[1:].lower()) for name in JOINTS]
    found = np.linalg.norm(people.positions[:, parts] - wanted, axis=-1)
    found = found[np.isfinite(found).any(1)]
    best = min(found, key=_median, default=np.full(len(JOINTS), np.nan))
    return best if _median(best) < SOMEBODY_ELSE else np.full(len(JOINTS), np.nan)


def _median(values: np.ndarray) -> float:
    """Of those that are known; NaN where none is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


if __name__ == "__main__":
    sys.exit(main())
