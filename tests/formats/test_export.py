# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes by suffix, and that no damage to a file brings down its reader."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import random_take
from video2rig.angles import AnglesError
from video2rig.formats.angles_csv import read_csv
from video2rig.formats.bvh_reader import read_bvh
from video2rig.formats.export import FORMATS, check_format, export
from video2rig.formats.mot import read_mot
from video2rig.formats.text import FormatError
from video2rig.formats.trc import read_trc
from video2rig.take import Take

READERS = {".mot": read_mot, ".csv": read_csv, ".trc": read_trc, ".bvh": read_bvh}


def with_roles(take: Take, keep: tuple[str, ...]) -> Take:
    """The same take on a rig of which only these roles are known."""
    skeleton = take.motion.skeleton
    skeleton = dataclasses.replace(skeleton, roles=tuple(role if role in keep else "" for role in skeleton.roles))
    return dataclasses.replace(take, motion=dataclasses.replace(take.motion, skeleton=skeleton))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    take = random_take(np.random.default_rng(0), 3)
    paths = {suffix: folder / f"take{suffix}" for suffix in FORMATS}
    for path in paths.values():
        export(take, path)
    return paths


@pytest.mark.parametrize("suffix", READERS)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(files: dict[str, Path], suffix: str, data: st.DataObject) -> None:
    text = bytearray(files[suffix].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 30))] = data.draw(
            st.sampled_from([b"", b" ", b"\t", b"\n", b"-", b"e9", b"1e400", b"nan", b"{", b"}", b"\xff", b"Z"])
        )
    damaged = files[suffix].with_name(f"damaged{suffix}")
    damaged.write_bytes(text[: data.draw(st.integers(0, len(text)))] if data.draw(st.booleans()) else text)
    try:
        READERS[suffix](damaged)
    except FormatError as error:
        assert f"damaged{suffix}, line " in str(error)


def test_a_rig_of_which_little_is_known(tmp_path: Path) -> None:
    take = random_take(np.random.default_rng(1))
    legs = with_roles(take, ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee"))
    for suffix in FORMATS:
        export(legs, tmp_path / f"legs{suffix}")
    assert set(read_trc(tmp_path / "legs.trc").names) == {"left_hip", "right_hip", "left_knee", "right_knee"}
    assert read_mot(tmp_path / "legs.mot").names[-1] == "knee_angle_l"
    nothing = with_roles(take, ())
    export(nothing, tmp_path / "nothing.bvh")
    for suffix, error in ((".mot", AnglesError), (".csv", AnglesError), (".trc", FormatError)):
        with pytest.raises(error):
            export(nothing, tmp_path / f"nothing{suffix}")
        assert not (tmp_path / f"nothing{suffix}").exists()


@pytest.mark.parametrize("name", ["take.fbx", "take", ".mot", "take.npz"])
def test_an_unknown_suffix_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(FormatError, match=r"there are \.mot, \.trc, \.csv, \.bvh"):
        check_format(name)
