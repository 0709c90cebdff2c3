"""The judge of a watch: profile, sentences, its own past, feedback, and the gallery, with models made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from oddwatch.core import Box, Curve, Facts, Frame, InputError, Motion, Person, Pose, Tokens
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.wishes import Reader, Wish
from oddwatch.detectors.video.notes import Notes
from oddwatch.gallery.store import Gallery
from oddwatch.pipeline.models import Models, spaces
from oddwatch.pipeline.video_setup import Ready, VideoOptions
from oddwatch.serve.judge import JudgeOptions, LiveJudge
from oddwatch.serve.remember import LiveGallery

RED, BLUE = (220, 30, 30), (30, 30, 220)
START = datetime(2026, 5, 4, 8, 0, tzinfo=UTC)
VIDEO = VideoOptions(arguments={"cues": ("movement", "place", "flow")})


class Squares:
    """Finds red and blue squares and calls them people; their pose is a stick in the middle."""

    id = "squares"

    def find(self, frame: Frame) -> list[Person]:
        found = []
        for colour in (RED, BLUE):
            mask = (np.abs(frame.pixels.astype(int) - colour).sum(axis=2) < 90).astype(np.uint8)
            x, y, w, h = cv2.boundingRect(mask)
            if w > 4:
                points = np.zeros((17, 3), np.float32)
                points[:, 0], points[:, 1], points[:, 2] = x + w / 2, np.linspace(y, y + h, 17), 0.9
                found.append(Person(Box(x, y, x + w, y + h), 0.9, Pose(points)))
        return found


class Eyes:
    """A backbone whose tokens are the mean colour."""

    id, dim = "eyes", 3
    layer_names = ("last",)

    def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
        pixels = [f.pixels if isinstance(f, Frame) else f for f in frames]
        mean = np.stack([p.reshape(-1, 3).mean(axis=0) for p in pixels]).astype(np.float32) / 255
        flat = np.repeat(mean[:, None], 16, axis=1)
        return Tokens(
            mean, dict.fromkeys(layers, flat), (4, 4), np.ones((len(mean), 2)), np.zeros((len(mean), 2))
        )


class Tells:
    """Says of a person which colour the upper clothes have."""

    def describe(
        self,
        frame: Frame,
        person: Person,
        *,
        others: Sequence[Person] = (),
        motion: Motion | None = None,
        tokens: object = None,
    ) -> Facts:
        p, known = np.full(len(ATOMS), 0.02, np.float32), np.ones(len(ATOMS), bool)
        red = frame.crop(person.box).reshape(-1, 3).mean(axis=0)[0] > 120
        p[INDEX["upper.color.red" if red else "upper.color.blue"]] = 0.98
        return Facts(SCHEMA_ID, p, known)


@pytest.fixture
def models() -> Models:
    made = Models(threads=1)
    made.__dict__ |= {"finder": Squares(), "patches": Eyes(), "describer": Tells()}
    return made


def frame(time: float, squares: Sequence[tuple[float, float, tuple[int, int, int]]]) -> Frame:
    """A grey street, 160 × 90, with textured blocks of 16 × 36 pixels at x, y."""
    pixels = np.full((90, 160, 3), 90, np.uint8)
    pixels[::7, ::5] = 120
    for x, y, colour in squares:
        pixels[int(y) : int(y) + 36, int(x) : int(x) + 16] = colour
        pixels[int(y) + 3 : int(y) + 36 : 6, int(x) : int(x) + 16] = np.clip(np.array(colour) + 20, 0, 255)
    return Frame(pixels, "gate", time, None, START + timedelta(seconds=time))


def walk(
    seconds: float, speed: float = 12.0, colour: tuple[int, int, int] = BLUE, start: float = 0.0
) -> list[Frame]:
    """Somebody walking to and fro at ``speed`` pixels a second, ten frames a second."""
    times = start + np.arange(0, seconds, 0.1)
    return [frame(float(t), [(abs((speed * t) % 260 - 130), 40, colour)]) for t in times.tolist()]


def signs(judge: LiveJudge, frames: Sequence[Frame], camera: str = "gate") -> list[list[object]]:
    return [list(judge.update(camera, f, i % 5 == 0)) for i, f in enumerate(frames)]


def film(path: Path, frames: Sequence[Frame]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        stream.options = {"crf": "5", "preset": "ultrafast", "threads": "1"}
        for f in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(f.pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_sentence_is_met_by_whom_it_means_and_nobody_else(models: Models) -> None:
    judge = LiveJudge(JudgeOptions(alerts=["a person in a red jacket"], video=VIDEO, learn=0), models=models)
    assert not any(signs(judge, walk(3, colour=BLUE)))
    told = [s for each in signs(judge, walk(3, colour=RED, start=4.0)) for s in each]
    assert told and {s.cue for s in told} == {"a person in a red jacket"}  # type: ignore[attr-defined]
    assert "red" in told[0].reason and told[0].box is not None  # type: ignore[attr-defined]


def test_who_is_to_be_ignored_raises_no_sign(models: Models) -> None:
    alone = JudgeOptions(alerts=["a person in a red jacket"], video=VIDEO, learn=0)
    assert any(signs(LiveJudge(alone, models=models), walk(3, colour=RED)))
    both = JudgeOptions(alerts=alone.alerts, ignore=["a person in a red jacket"], video=VIDEO, learn=0)
    assert not any(signs(LiveJudge(both, models=models), walk(3, colour=RED)))


def test_a_runner_is_told_against_quiet_footage_and_no_walker(models: Models, tmp_path: Path) -> None:
    quiet = film(tmp_path / "quiet.mp4", walk(60))
    judge = LiveJudge(JudgeOptions(video=VIDEO), {"": [quiet]}, models=models, folder=tmp_path / "out")
    assert sum(map(bool, signs(judge, walk(12)))) <= 3
    runs = [s for each in signs(judge, walk(6, speed=70.0, start=13.0)) for s in each]
    assert runs and runs[0].reason.startswith("some")  # type: ignore[attr-defined]
    assert list((tmp_path / "out" / "notes" / "gate").glob("*.npz"))


def test_the_past_of_a_camera_is_learnt_and_what_was_wrong_too(models: Models, tmp_path: Path) -> None:
    judge = LiveJudge(JudgeOptions(video=VIDEO, learn=45.0), models=models, folder=tmp_path)
    signs(judge, walk(50))
    own = judge.camera("gate")
    if own._fitting is not None:
        own._fitting.join(30)
    signs(judge, walk(2, start=50.0))
    assert own.ready is not None and np.isfinite(own.threshold)
    before = own.threshold
    told = [s for each in signs(judge, walk(6, speed=70.0, start=52.0)) for s in each]
    assert told
    row = {"id": "x", "camera": "gate", "start": 52.0, "end": 58.0}
    (tmp_path / "wrong.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert judge._feedback is not None
    judge._feedback._checked = 0.0
    signs(judge, walk(1, start=60.0))
    assert own.threshold > before


class Calm:
    """A detector that finds nothing and remembers what it is given to learn."""

    def __init__(self) -> None:
        self.given: list[Notes] = []

    def curve(self, notes: Notes) -> Curve:
        return Curve(notes.name, notes.times, np.zeros(len(notes)))

    def add(self, normal: Sequence[Notes]) -> None:
        self.given += normal


def test_what_was_quiet_is_learnt_beside_the_watch_and_then_let_go(models: Models) -> None:
    judge = LiveJudge(JudgeOptions(video=VIDEO, learn=0, renew=4.0), models=models)
    own, calm = judge.camera("gate"), Calm()
    own.ready = Ready(calm, "calm")  # type: ignore[arg-type]
    own._learnt_at = 0.0
    with judge.learning:  # another camera learns: this one is watched all the same
        assert not any(signs(judge, walk(6)))
        assert not calm.given and own._renewing is not None
    own._renewing.join(10)
    (notes,) = calm.given
    assert notes.times[0] == 0.0 and notes.times[-1] == pytest.approx(3.0, abs=1.1)
    assert sum(len(n) for n in own._quiet) <= 30


def test_quiet_footage_raises_the_threshold_of_a_sentence(models: Models, tmp_path: Path) -> None:
    quiet = film(tmp_path / "quiet.mp4", walk(30, colour=RED))
    options = JudgeOptions(alerts=["a person in a red jacket"], video=VIDEO)
    judge = LiveJudge(options, {"gate": [quiet]}, models=models)
    assert judge.camera("gate").reader.wishes[0].least > Wish.of("a person in a red jacket").least
    assert judge.camera("yard").reader.wishes[0].least == Wish.of("a person in a red jacket").least


def test_a_camera_may_change_its_size(models: Models) -> None:
    judge = LiveJudge(JudgeOptions(alerts=["a person in red"], video=VIDEO, learn=0), models=models)
    signs(judge, walk(2))
    small = Frame(np.full((60, 80, 3), 90, np.uint8), "gate", 9.0, None, START)
    assert judge.update("gate", small, True) == []


def test_everybody_is_described_in_turn_when_there_are_many() -> None:
    reader = Reader(Tells(), [Wish.of("a person in a red jacket")])  # type: ignore[arg-type]
    shot = frame(0.0, [(10.0 * i, 40, RED) for i in range(8)])
    people = [Person(Box(10.0 * i, 40, 10.0 * i + 12, 64), 0.9, track=i + 1) for i in range(8)]
    first = {m.person.track for m in reader.look(shot, people, lambda track: Motion())}
    later = {m.person.track for m in reader.look(shot, people, lambda track: Motion())}
    assert len(first) == 2 and len(later) == 4


class Counting(Tells):
    """Remembers when somebody was described."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def describe(self, frame: Frame, person: Person, **rest: object) -> Facts:  # type: ignore[override]
        self.times.append(round(frame.time or 0.0, 3))
        return super().describe(frame, person)


def posed(lying: bool) -> Person:
    """Somebody with all keypoints on one line, upright or on the ground."""
    along, across = np.linspace(0, 60, 17), np.tile([0.0, 8.0], 9)[:17]
    order = np.argsort([0, 0, 0, 0, 0, 4, 4, 6, 6, 8, 8, 9, 9, 12, 12, 16, 16], kind="stable")
    points = np.full((17, 3), 0.9, np.float32)
    points[order, 0], points[order, 1] = (along, across + 50) if lying else (across + 20, along)
    (x0, y0), (x1, y1) = points[:, :2].min(0) - 3, points[:, :2].max(0) + 3
    return Person(Box(float(x0), float(y0), float(x1), float(y1)), 0.9, Pose(points), 1)


@pytest.mark.parametrize(
    ("sentence", "times"),
    [
        ("someone lying on the ground", []),
        ("a person in a red jacket lying on the ground", [0.0, 5.0]),
        ("a person in a red jacket", [0.0, 5.0]),
        ("a person with a phone", [0.0, 2.5, 5.0, 7.5]),
    ],
)
def test_somebody_is_described_where_a_sentence_asks_for_it_and_it_is_due(
    sentence: str, times: list[float]
) -> None:
    """What somebody does is read at each look; what is worn lasts longer than what is carried."""
    describer = Counting()
    reader = Reader(describer, [Wish.of(sentence)])  # type: ignore[arg-type]
    for i in range(18):
        reader.look(frame(i / 2, []), [posed(i >= 6)], lambda track: Motion())
    assert describer.times == times


def test_a_doing_is_seen_at_the_next_looks_without_a_description() -> None:
    describer = Counting()
    reader = Reader(describer, [Wish.of("someone lying on the ground")])  # type: ignore[arg-type]
    looks = [reader.assessed(frame(i / 2, []), [posed(i >= 6)], lambda track: Motion()) for i in range(18)]
    likely = [met.assessment.probability for (met,) in looks]
    assert max(likely[:6]) < 0.1 and min(likely[8:]) > 0.8 and not describer.times


def test_company_and_movement_are_those_of_now() -> None:
    """At each look anew, although nobody is described in between."""
    reader = Reader(
        Tells(), [Wish.of("two people in red jackets"), Wish.of("a person in a red jacket moving fast")]
    )  # type: ignore[arg-type]
    one, other = (Person(Box(x, 40, x + 12, 64), 0.9, track=n) for n, x in ((1, 20), (2, 34)))
    shot = frame(0.0, [(20, 40, RED), (34, 40, RED)])

    def likely(people: list[Person], motion: Motion) -> list[float]:
        met = reader.assessed(shot, people, lambda track: motion)
        return [m.assessment.score for m in met if m.person is one]

    calm = likely([one], Motion(duration=5.0))
    assert likely([one, other], Motion(duration=5.0))[0] > calm[0] + 0.02
    assert likely([one], Motion(speed=2.0, top_speed=3.0, duration=5.0))[1] > calm[1] + 0.02


def test_a_sentence_that_says_nothing_to_be_seen_is_refused(models: Models) -> None:
    with pytest.raises(InputError, match="not understood"):
        LiveJudge(JudgeOptions(alerts=["xyzzy"], video=VIDEO), models=models)
    with pytest.raises(InputError, match="false_alarms"):
        JudgeOptions(false_alarms=0)


def test_watched_people_are_in_the_gallery_when_they_have_left(models: Models, tmp_path: Path) -> None:
    class Full(Tells):
        def describe_track(self, views: object, motion: object, tokens: object) -> Facts:
            shot, person, _ = views[0]  # type: ignore[index]
            return self.describe(shot, person)

    class Wide(Eyes):
        dim = 384

        def encode(self, frames: Sequence[Frame | np.ndarray], layers: Sequence[str] = ("last",)) -> Tokens:
            n = len(frames)
            flat = np.ones((n, 256, 384), np.float32)
            return Tokens(
                flat[:, 0], dict.fromkeys(layers, flat), (16, 16), np.ones((n, 2)), np.zeros((n, 2))
            )

    models.__dict__ |= {"describer": Full(), "patches": Wide()}
    with Gallery.open(tmp_path / "gallery", encoders=spaces()) as gallery:
        live = LiveGallery(gallery, models)
        options = JudgeOptions(alerts=["a person in a red jacket"], video=VIDEO, learn=0)
        judge = LiveJudge(options, models=models, on_tracks=live.tracks)
        signs(judge, walk(6))
        signs(judge, [frame(float(t), []) for t in np.arange(6, 12, 0.1).tolist()])
        live.finish()
        found = list(gallery.entries())
        assert [e.camera for e in found] == ["gate"] and found[0].kind == "person"
        assert found[0].wall_time is not None and abs(found[0].wall_time - START) < timedelta(seconds=7)
        assert gallery.sources()[0].stored == "done"
