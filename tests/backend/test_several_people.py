# SPDX-License-Identifier: GPL-3.0-or-later
"""Several people of one video: who is solved, and that all of them stand in one world."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from fake_people import CAMERA_HEIGHT, FakeBackend, Standing, stand, streaming
from video2rig import pipeline
from video2rig.ik import NobodySeen
from video2rig.keypoints import Keypoints
from video2rig.kinematics import keypoint_positions
from video2rig.person import PersonError
from video2rig.pipeline import Pipeline, solve_seen
from video2rig.seen import Seen
from video2rig.settings import Settings
from video2rig.take import Take

FACTS = {"name": "clip.mp4", "width": 1280, "height": 720, "fps": 30.0}
FRAMES = 30
NEAR, CHILD = Standing(1.75, 0.6, 3.5), Standing(1.4, -0.7, 4.2)
SOLES = ("left_heel", "right_heel", "left_big_toe", "right_big_toe")


def piped(
    people: dict[int, Keypoints], monkeypatch: pytest.MonkeyPatch, scale: float = 1.0, **changes: Any
) -> tuple[Pipeline, Any]:
    """A pipeline that was pushed a video of these people, and the stream that it used."""
    stream = streaming(people, scale)
    monkeypatch.setattr(pipeline, "PeopleStream", stream)
    settings = Settings(**({"person": "everyone", "regression": False, "contacts": "off"} | changes))
    work = Pipeline(settings, FACTS, FakeBackend())  # type: ignore[arg-type]
    image = np.zeros((FRAMES, 8, 8, 3), np.uint8)
    work.push(image, np.arange(FRAMES) / 30, scale)
    return work, stream


def only(keypoints: Keypoints, frames: slice) -> Keypoints:
    """The same person, seen in some of the frames."""
    shown = np.zeros(len(keypoints.times), dtype=bool)
    shown[frames] = True
    assert keypoints.world is not None
    return dataclasses.replace(
        keypoints,
        positions=np.where(shown[:, None, None], keypoints.positions, np.nan),
        confidence=np.where(shown[:, None], keypoints.confidence, 0.0),
        world=np.where(shown[:, None, None], keypoints.world, np.nan),
    )


def stature(take: Take) -> float:
    rest = take.motion.skeleton.rest_matrices()
    head = take.motion.skeleton.index("head")
    return float(rest[head, 2, 3] + take.motion.skeleton.length[head])


def misses(take: Take) -> float:
    """Median pixels by which the body, through the take's camera, misses what was seen of it."""
    pixels = take.camera.project(keypoint_positions(take.motion, take.keypoints.names))
    return float(np.nanmedian(np.linalg.norm(pixels - take.keypoints.positions, axis=-1)))


def same_camera(one: Take, other: Take) -> bool:
    return one.camera.to_json() == other.camera.to_json()


@pytest.mark.parametrize("contacts", ["off", "auto"])
def test_everyone_stands_on_one_floor_before_one_camera(contacts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who is nearer has the height that was told; the child's is found from the floor."""
    people = {1: stand(CHILD), 2: stand(NEAR)}
    work, _ = piped(people, monkeypatch, height=NEAR.stature, contacts=contacts)
    child, near = work.solve()
    assert (child.person, near.person) == (1, 2) and not work.notices
    assert same_camera(child, near)
    assert near.camera.position[2] == pytest.approx(CAMERA_HEIGHT, abs=0.12)
    for take in (child, near):
        assert misses(take) < 6
    soles = [keypoint_positions(take.motion, SOLES)[..., 2].min(axis=1) for take in (child, near)]
    assert abs(np.median(soles[0]) - np.median(soles[1])) < 0.06
    # solved by themselves both would be as tall as was told
    assert stature(near) == pytest.approx(NEAR.stature, rel=0.03)
    assert stature(child) == pytest.approx(CHILD.stature, rel=0.04)
    true = np.array([NEAR.left - CHILD.left, NEAR.away - CHILD.away])
    apart = (near.motion.root_position - child.motion.root_position)[:, :2].mean(axis=0)
    assert abs(apart[0]) == pytest.approx(abs(true[0]), rel=0.15)
    assert apart[1] == pytest.approx(true[1], abs=0.35)


def test_who_is_solved_again_stays_in_the_world_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """On their own proportions, from the keypoints alone; what another height would say of the child is not asked."""
    work, _ = piped({1: stand(CHILD), 2: stand(NEAR)}, monkeypatch, height=NEAR.stature)
    settings = Settings(person="everyone", regression=False, contacts="off", smoothing_hz=3.0)
    for take in (Take.from_bytes(one.to_bytes()) for one in work.solve()):
        seen = Seen.of(take)
        assert seen.world is not None
        new = solve_seen(seen, settings, FACTS, FakeBackend(), skeleton=take.motion.skeleton)  # type: ignore[arg-type]
        assert same_camera(new, take) and new.person == take.person
        assert stature(new) == pytest.approx(stature(take))
        assert np.linalg.norm(new.motion.root_position - take.motion.root_position, axis=1).max() < 0.06
        assert misses(new) < misses(take) + 1
    alone = dataclasses.replace(
        take, motion=dataclasses.replace(take.motion, provenance={"settings": Settings().to_json()})
    )
    assert Seen.of(alone).world is None


@pytest.mark.parametrize("above", [0.6, -1.8, 1.6])
def test_who_stands_on_something_else_is_no_giant(above: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a wall, deep in a pit, or higher than the camera: nobody's size fits the floor then, and it is left alone."""
    other = Standing(1.75, -0.7, 4.5, above)
    work, _ = piped({1: stand(NEAR), 2: stand(other)}, monkeypatch, height=1.75)
    near, raised = work.solve()
    assert same_camera(near, raised) and misses(raised) < 6
    assert stature(raised) == pytest.approx(stature(near), rel=0.03)
    soles = [float(np.median(keypoint_positions(take.motion, SOLES)[..., 2].min(axis=1))) for take in (near, raised)]
    assert soles[1] - soles[0] == pytest.approx(above, abs=0.25)


def test_a_person_is_the_same_beside_others_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work, _ = piped({1: stand(NEAR)}, monkeypatch)
    (alone,) = work.solve()
    work, _ = piped({1: stand(NEAR), 2: stand(CHILD)}, monkeypatch)
    beside, _ = work.solve()
    # the last bits of sums depend on where in memory the numbers lie
    np.testing.assert_allclose(beside.motion.rotations, alone.motion.rotations, atol=1e-5)
    np.testing.assert_allclose(beside.motion.root_position, alone.motion.root_position, atol=1e-5)
    assert beside.camera.focal == pytest.approx(alone.camera.focal, rel=1e-5)
    np.testing.assert_allclose(beside.camera.position, alone.camera.position, atol=1e-5)


@pytest.mark.parametrize("proportions", ["armature", "person"])
def test_an_armature_of_the_users_keeps_its_size(proportions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from video2rig.human import default_human

    mine = default_human(1.75)
    monkeypatch.setattr(pipeline, "PeopleStream", streaming({1: stand(NEAR), 2: stand(CHILD)}))
    settings = Settings(person="everyone", regression=False, contacts="off", proportions=proportions)
    work = Pipeline(settings, FACTS, FakeBackend(), mine)  # type: ignore[arg-type]
    work.push(np.zeros((FRAMES, 8, 8, 3), np.uint8), np.arange(FRAMES) / 30)
    for take in work.solve():
        assert take.motion.skeleton.to_json() == mine.to_json()
        if take.own is None:
            assert misses(take) < 12
            continue
        # an armature of another size stands where the person does
        away = take.motion.root_position[:, :2] - take.camera.position[:2]
        seen = take.own.root_position[:, :2] - take.own.camera.position[:2]
        size = take.camera.position[2] / take.own.camera.position[2]
        assert np.abs(away - size * seen).max() < 0.05


def test_who_is_seen_too_briefly_is_left_out_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    people = {1: stand(NEAR), 2: only(stand(CHILD), slice(4, 6)), 3: only(stand(CHILD), slice(10, 25))}
    work, _ = piped(people, monkeypatch)
    takes = work.solve()
    assert [take.person for take in takes] == [1, 3]
    assert work.notices == ["person 2 was seen for less than 0.25 s and is left out"]
    late = takes[1].motion
    assert len(late) == FRAMES, "all takes have the video's frames"
    assert not late.confidence[:10].any() and late.confidence[10:25].all() and not late.confidence[25:].any()


def test_who_alone_is_seen_briefly_is_solved_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    people = {1: stand(NEAR), 2: only(stand(CHILD), slice(4, 5))}
    work, _ = piped(people, monkeypatch, person="2")
    (take,) = work.solve()
    assert take.person == 2 and not work.notices
    assert take.motion.confidence[4].any() and not take.motion.confidence[5:].any()


def test_one_who_cannot_be_solved_does_not_spoil_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    people = {1: stand(NEAR), 2: stand(CHILD), 3: stand(Standing(1.7, 0.0, 6.0))}
    solve = pipeline.solve_keypoints

    def failing(*arguments: Any, person: int, **named: Any) -> Take:
        if person == 1:  # the one who would have told the world
            raise NobodySeen("no person was found")
        return solve(*arguments, person=person, **named)

    monkeypatch.setattr(pipeline, "solve_keypoints", failing)
    work, _ = piped(people, monkeypatch)
    takes = work.solve()
    assert [take.person for take in takes] == [2, 3] and same_camera(*takes)
    assert work.notices == ["person 1 was left out: no person was found"]


def test_a_defect_is_not_taken_for_a_person_who_cannot_be_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any, **named: Any) -> Take:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "solve_keypoints", failing)
    work, _ = piped({1: stand(NEAR), 2: stand(CHILD)}, monkeypatch)
    with pytest.raises(ZeroDivisionError):
        work.solve()


def test_progress_names_the_person_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[str] = []
    work, _ = piped({1: stand(CHILD), 2: stand(NEAR)}, monkeypatch)
    work.solve(lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages)) == [
        "measuring the body, person 2 (1 of 2)",
        "solving, person 2 (1 of 2)",
        "measuring the body, person 1 (2 of 2)",
        "solving, person 1 (2 of 2)",
    ]


def test_more_people_than_a_message_takes_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MAX_PEOPLE", 2)
    people = {1: stand(Standing(1.7, 0.0, 8.0)), 2: stand(NEAR), 3: stand(CHILD)}
    work, _ = piped(people, monkeypatch)
    assert [take.person for take in work.solve()] == [2, 3]
    assert work.notices == ["3 people were seen; the 2 who were seen best are solved"]


def test_a_point_is_told_in_pixels_of_the_images_that_are_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, stream = piped({1: stand(NEAR)}, monkeypatch, scale=2.0, person="639.5,100@0.5")
    (choice,) = stream.made
    assert choice.point == (319.5, 49.75) and choice.time == 0.5


def test_keypoints_are_in_pixels_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = stand(NEAR)
    work, _ = piped({4: seen}, monkeypatch, scale=3.0)
    ((number, keypoints),) = work.people()
    assert number == 4
    np.testing.assert_allclose(keypoints.positions, seen.positions)


@pytest.mark.parametrize("point", ["1280,10@0", "-1,10@0", "10,720@0"])
def test_a_point_outside_of_the_picture_is_refused_at_once(point: str) -> None:
    with pytest.raises(PersonError, match="outside of the picture, which has 1280x720 pixels"):
        Pipeline(Settings(person=point, regression=False), FACTS, FakeBackend())  # type: ignore[arg-type]


def test_nobody_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    work, _ = piped({}, monkeypatch)
    with pytest.raises(NobodySeen, match="no person was found in any frame"):
        work.solve()
    with pytest.raises(NobodySeen, match="no frame"):
        Pipeline(Settings(regression=False), FACTS, FakeBackend()).solve()  # type: ignore[arg-type]
    work, _ = piped({1: stand(NEAR)}, monkeypatch, person="7")
    with pytest.raises(PersonError, match="no person 7"):
        work.solve()
