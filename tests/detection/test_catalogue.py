# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of detectors, from the command line too: what is here runs, what is not is refused with the list."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import dot_network
from video2rig import settings, weight_sources, weights
from video2rig.cli import main
from video2rig.detection import catalogue, onnx_session
from video2rig.detection.catalogue import CATALOGUE, DetectorError
from video2rig.detection.openpose.network import OpenPoseNetwork
from video2rig.detection.simcc import SimCC
from video2rig.errors import Video2RigError
from video2rig.keypoints import KEYPOINT_SETS

RTMPOSE = CATALOGUE["rtmpose_m_halpe26"]


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any weights, whose package index and addresses answer nothing; its cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VIDEO2RIG_WEIGHTS", raising=False)
    cache = weights.cache_folder()
    monkeypatch.setattr(weights, "_local_places", lambda entry: [("the cache", cache / entry.name)])
    for source in (weight_sources.WheelSource, weight_sources.UrlSource):
        monkeypatch.setattr(source, "obtain", lambda self, name, files, folder: unreachable())
    return cache


def unreachable() -> None:
    raise weight_sources.SourceError("no network")


def put_blazepose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let BlazePose, which finds the people, be here without its weights."""
    monkeypatch.setattr(catalogue.BlazePose, "load", classmethod(lambda cls, device: None))
    fetch = weights.fetch
    monkeypatch.setattr(weights, "fetch", lambda name: {} if name == "blazepose" else fetch(name))


@pytest.fixture
def rtmpose(tmp_path: Path) -> Path:
    """A network of the shape of RTMPose-m."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    assert RTMPOSE.shape is not None
    return dot_network.write(tmp_path / "mine.onnx", RTMPOSE.shape)


def put_openpose(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Stand in for OpenPose's networks; what they were asked to load."""
    calls: list[tuple] = []

    class OpenPose:
        @classmethod
        def load(cls, path: Path, stages: int, device: torch.device | str) -> str:
            if path.read_bytes() != b"openpose":
                raise Video2RigError(f"{path}: is of another model")
            calls.append((path, stages, device))
            return f"openpose {stages}"

        @classmethod
        def load_mobilenet(cls, path: Path, device: torch.device | str) -> str:
            calls.append((path, device))
            return "mobilenet"

    package, module = types.ModuleType("openpose"), types.ModuleType("detector")
    module.OpenPose = OpenPose  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "video2rig.detection.openpose", package)
    monkeypatch.setitem(sys.modules, "video2rig.detection.openpose.detector", module)
    return calls


# ---- the list -----------------------------------------------------------------------------------------------------


def test_settings_offer_what_there_is() -> None:
    assert tuple(CATALOGUE) == settings.DETECTORS
    assert settings.Settings().detector == "blazepose"


def test_every_entry_is_whole() -> None:
    for name, entry in CATALOGUE.items():
        assert name == entry.name and entry.accuracy and entry.licence
        assert entry.keypoint_set in KEYPOINT_SETS and set(entry.weights) <= set(weights.ENTRIES)
        if entry.shape is not None:
            assert entry.shape.keypoint_set == entry.keypoint_set
            described = weights.ENTRIES[name].description
            assert (
                f"{entry.shape.width} x {entry.shape.height}" in described and f"{entry.shape.count} key" in described
            )
            assert f"{entry.shape.height}x{entry.shape.width}" in weights.ENTRIES[name].origin


def test_the_list_is_printed(nothing_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert [line["name"] for line in lines] == list(CATALOGUE)
    assert {"name", "keypoint_set", "licence", "size", "accuracy", "here", "place", "damaged"} == set(lines[0])
    assert not any(line["here"] for line in lines) and not nothing_here.exists()
    assert main(["models", "list"]) == 0
    text = capsys.readouterr().out
    for entry in CATALOGUE.values():
        (line,) = [line for line in text.splitlines() if line.startswith(entry.name + " ")]
        assert entry.keypoint_set in line and entry.licence in line and "absent" in line
        assert entry.accuracy in text
    assert "video2rig fetch blazepose" in text and "models add openpose FILE" in text


def test_what_is_here_is_said(nothing_here: Path, rtmpose: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {line.name: line for line in weights.status()}
    weights.add(RTMPOSE.name, rtmpose)
    only_own = {line.name: line for line in weights.status()}
    assert not RTMPOSE.status(found).here and not RTMPOSE.status(only_own).here
    assert "blazepose is fetched when needed (`video2rig fetch blazepose`)" in RTMPOSE.status(only_own).place
    assert "fetch rtmpose_m_halpe26" not in RTMPOSE.status(found).place, "that is brought, never fetched"
    all_here = only_own | {"blazepose": only_own[RTMPOSE.name]}
    assert RTMPOSE.status(all_here).here and RTMPOSE.status(all_here).size == rtmpose.stat().st_size
    monkeypatch.setattr(onnx_session, "PACKAGES", ("no-such-package",))
    line = RTMPOSE.status(all_here)
    assert not line.here and "onnxruntime is not installed: `pip install video2rig[onnx]`" in line.place


# ---- loading ------------------------------------------------------------------------------------------------------


def test_an_unknown_detector_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    for call in (lambda: catalogue.load("alphapose", "cpu"), lambda: catalogue.digests("alphapose")):
        with pytest.raises(DetectorError, match="no detector is called 'alphapose'") as told:
            call()
        assert all(re.search(rf"\b{name} \((here|absent)\)", str(told.value)) for name in CATALOGUE)
        assert "models list" in str(told.value) and "\n" not in str(told.value)
    assert main(["fetch", "alphapose"]) == 1
    assert "no detector is called 'alphapose'" in capsys.readouterr().err


@pytest.mark.parametrize("name", CATALOGUE)
def test_an_absent_detector_is_refused_with_the_list(nothing_here: Path, name: str) -> None:
    with pytest.raises(DetectorError, match=f"the detector '{name}' is not here: no weights") as told:
        catalogue.load(name, "cpu")
    assert "\n" not in str(told.value) and "openpose_2 (absent)" in str(told.value)
    if name not in ("blazepose", "openpose_mobilenet"):
        assert f"models add {CATALOGUE[name].weights[0]} FILE" in str(told.value)


def test_an_added_file_is_loaded(
    nothing_here: Path, rtmpose: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_blazepose(monkeypatch)
    assert main(["models", "add", RTMPOSE.name, str(rtmpose)]) == 0
    told = capsys.readouterr().out
    assert told.index("Apache-2.0, (c) OpenMMLab") < told.index("added: "), "the licence comes first"
    detector = catalogue.load(RTMPOSE.name, "cpu")
    assert isinstance(detector, SimCC) and detector.keypoint_set == "halpe_26"
    digest = hashlib.sha256(rtmpose.read_bytes()).hexdigest()
    assert catalogue.digests(RTMPOSE.name) == {
        RTMPOSE.name: {f"{RTMPOSE.name}.onnx": digest},
        "blazepose": weights.digests("blazepose"),
    }
    (nothing_here / RTMPOSE.name / f"{RTMPOSE.name}.onnx").write_bytes(rtmpose.read_bytes()[:-1])
    with pytest.raises(DetectorError, match=f"wrong SHA-256 .* not {digest} as it was added"):
        catalogue.load(RTMPOSE.name, "cpu")


def test_the_archive_as_it_is_downloaded_is_taken(nothing_here: Path, rtmpose: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rtmpose.zip", "w") as archive:
        archive.write(rtmpose, "20230831/rtmpose_onnx/end2end.onnx")
        archive.writestr("20230831/rtmpose_onnx/detail.json", "{}")
    assert catalogue.add(RTMPOSE.name, tmp_path / "rtmpose.zip").read_bytes() == rtmpose.read_bytes()


@pytest.mark.parametrize("name", ["rtmpose_x_halpe26", "rtmw_l_wholebody"])
def test_a_file_of_another_model_is_not_taken(
    nothing_here: Path, rtmpose: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", name, str(rtmpose)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(rtmpose) in line and "is another model: its input is ['batch', 3, 256, 192]" in line
    rtmpose.write_bytes(rtmpose.read_bytes()[:1000])
    assert main(["models", "add", RTMPOSE.name, str(rtmpose)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(rtmpose) in line and "damaged, truncated or no ONNX model" in line
    assert not list(nothing_here.iterdir())


def test_nothing_is_added_to_what_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "any").write_bytes(b"any")
    assert main(["models", "add", "blazepose", str(tmp_path / "any")]) == 1
    assert "found or fetched when needed" in capsys.readouterr().err
    assert main(["models", "add", "alphapose", str(tmp_path / "any")]) == 1
    assert "no detector is called 'alphapose'" in capsys.readouterr().err


def test_stages_of_openpose_share_a_file(
    nothing_here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = put_openpose(monkeypatch)
    (tmp_path / "body.pth").write_bytes(b"another model")
    assert main(["models", "add", "openpose", str(tmp_path / "body.pth")]) == 1
    assert f"{tmp_path / 'body.pth'}: is of another model" in capsys.readouterr().err and not calls
    (tmp_path / "body.pth").write_bytes(b"openpose")
    assert main(["models", "add", "openpose_3", str(tmp_path / "body.pth")]) == 0
    assert "non-commercial" in capsys.readouterr().out
    path = nothing_here / "openpose" / "body_pose_model.pth"
    assert calls.pop()[1:] == (6, "cpu") and path.is_file(), "one file for all stages must have them all"
    for stages in (6, 5, 4, 3, 2):
        assert catalogue.load(f"openpose_{stages}", "cpu") == f"openpose {stages}"  # type: ignore[comparison-overlap]
        assert calls.pop() == (path, stages, "cpu")
        (digest,) = catalogue.digests(f"openpose_{stages}")["openpose"].values()
        assert digest == hashlib.sha256(b"openpose").hexdigest()


def test_a_file_of_fewer_stages_is_not_taken_for_all_of_them(
    nothing_here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(OpenPoseNetwork(3).state_dict(), tmp_path / "three.pth")
    assert main(["models", "add", "openpose_3", str(tmp_path / "three.pth")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "three.pth: holds 3 stages; 6 were asked for" in line and "One file serves openpose_6, openpose_5" in line
    assert not (nothing_here / "openpose").exists()


def test_a_safetensors_file_is_taken_too(
    nothing_here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(OpenPoseNetwork(6).state_dict(), tmp_path / "body.safetensors")
    assert main(["models", "add", "openpose", str(tmp_path / "body.safetensors")]) == 0
    assert catalogue.load("openpose_2", "cpu").keypoint_set == "coco_18"
    save_file({"0.bias": torch.zeros(2)}, tmp_path / "other.safetensors")
    before = weights.digests("openpose")
    assert main(["models", "add", "openpose", str(tmp_path / "other.safetensors")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "other.safetensors: is of another model: it has 0.bias; the OpenPose network has" in line
    assert line.endswith("Right is " + weights.ENTRIES["openpose"].origin) and "One file serves" not in line
    assert weights.digests("openpose") == before, "what was there stays"


@pytest.mark.parametrize("name", ["openpose", "openpose_3", RTMPOSE.name])
def test_a_file_that_is_not_there_is_named(
    nothing_here: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, words in ((tmp_path / "gone.pth", "is not there"), (tmp_path, "is a folder, not a file")):
        assert main(["models", "add", name, str(path)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"video2rig: {path} {words}; name the file, or the .zip that holds it: ")
        assert weights.ENTRIES[CATALOGUE.get(name, CATALOGUE["openpose_6"]).weights[0]].origin in line
    assert not nothing_here.exists() or not list(nothing_here.iterdir())


def test_what_is_brought_is_not_fetched_and_says_how(nothing_here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("openpose", "openpose_2"):
        assert main(["fetch", name]) == 1
        line = capsys.readouterr().err.strip()
        assert "`video2rig models add openpose FILE`" in line and len(line) < 400 and "\n" not in line


def test_a_damaged_file_is_a_state_of_the_list(
    nothing_here: Path, rtmpose: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    catalogue.add(RTMPOSE.name, rtmpose).write_bytes(b"short")
    assert main(["models", "list"]) == 0
    told = capsys.readouterr()
    (line,) = [line for line in told.out.splitlines() if line.startswith(RTMPOSE.name + " ")]
    assert " damaged " in line and " here " not in line
    assert f"    damaged: {nothing_here / RTMPOSE.name}: {RTMPOSE.name}.onnx has the wrong SHA-256" in told.out
    assert not told.err and not caplog.records


def test_openposes_mobile_network_gets_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = put_openpose(monkeypatch)
    path = tmp_path / "openpose_mobilenet_v2_small.pb"
    monkeypatch.setattr(weights, "fetch", lambda name: {path.name: path} if name == "openpose_mobilenet" else {})
    assert catalogue.load("openpose_mobilenet", "cpu") == "mobilenet"  # type: ignore[comparison-overlap]
    assert calls == [(path, "cpu")]


def test_onnxruntime_missing_is_said(nothing_here: Path, rtmpose: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_blazepose(monkeypatch)
    catalogue.add(RTMPOSE.name, rtmpose)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for call in (lambda: catalogue.load(RTMPOSE.name, "cpu"), lambda: catalogue.add(RTMPOSE.name, rtmpose)):
        with pytest.raises(Video2RigError, match=r"onnxruntime is not installed.* -m pip install onnxruntime"):
            call()


def test_absent_weights_and_onnxruntime_are_told_at_once(nothing_here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_session, "PACKAGES", ("no-such-package",))
    for name, entry in CATALOGUE.items():
        with pytest.raises(DetectorError, match="is not here: no weights") as told:
            catalogue.load(name, "cpu")
        needs = "It needs onnxruntime too: `pip install video2rig[onnx]`" in str(told.value)
        assert needs == (entry.shape is not None)


# ---- other commands -----------------------------------------------------------------------------------------------


def test_fetch_says_licence_and_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights, "fetch", lambda name: {f"{name}.bin": tmp_path / name})
    assert main(["fetch", RTMPOSE.name]) == 0
    told = capsys.readouterr().out
    assert "Apache-2.0" in told and f"{RTMPOSE.name}.bin: {tmp_path / RTMPOSE.name}" in told
    assert f"blazepose.bin: {tmp_path / 'blazepose'}" in told


def test_the_doctor_tells_of_detectors_and_onnxruntime(
    nothing_here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert [line["name"] for line in facts["detectors"]] == list(CATALOGUE)
    if facts["onnxruntime"]["version"]:
        assert "CPUExecutionProvider" in facts["onnxruntime"]["providers"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    main(["doctor"])
    told = capsys.readouterr().out
    assert re.search(r"^detectors   absent: blazepose, openpose_6, .*rtmw_x_wholebody$", told, re.MULTILINE)
    assert re.search(r"^onnxruntime absent, RTMPose and RTMW need it: .*pip install onnxruntime", told, re.MULTILINE)
    assert "rtmpose" not in "".join(line for line in told.splitlines() if line.startswith("weights"))
