"""The camera profile: who runs, what is large, where nobody goes, what turns up again; learning more; keeping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oddwatch.core import Curve, InputError, Place
from oddwatch.detectors.video.base import load
from oddwatch.detectors.video.cues import CUES, WORDS
from oddwatch.detectors.video.deeds import DEEDS, deeds
from oddwatch.detectors.video.notes import Notes, Objects
from oddwatch.detectors.video.paths import paths
from oddwatch.detectors.video.profile import CameraProfile
from oddwatch.detectors.video.watching import THINGS

FPS, SIZE = 10, (240, 320)


def walker(rng, track: int, frames: int, **odd) -> dict[int, list]:
    """Frame → row of somebody who crosses the picture at 0.8 to 1.2 own heights a second, taller the lower they are."""
    foot = odd.get("foot", rng.uniform(120, 220))
    tall = odd.get("tall", 0.3 * foot) * rng.uniform(0.95, 1.05)
    speed, wide = odd.get("speed", rng.uniform(0.8, 1.2)), odd.get("wide", 0.4)
    x, way, rows = rng.uniform(0, 320), rng.choice([-1, 1]), {}
    for i in range(*odd.get("during", (0, frames))):
        x = (x + way * speed * tall / FPS) % 320
        if not 20 < x < 300:
            track += 10  # whoever leaves the picture comes back as another
            x = 21.0 if way > 0 else 299.0
        y = foot + rng.normal(0, 0.3)
        rows.setdefault(i, []).append([x - wide * tall / 2, y - tall, x + wide * tall / 2, y, track])
    return rows


def street(seed: int, frames: int = 300, people: int = 3, looks: int = 5, **odd) -> Notes:
    """Half a minute of walkers as moving things, people where looked at; ``odd`` describes one more."""
    rng = np.random.default_rng(seed)
    every: list[tuple[int, list]] = []
    crowd = [walker(rng, 1000 * (k + 1), frames) for k in range(people)]
    if odd:
        crowd.append(walker(rng, 9000, frames, **odd))
    for rows in crowd:
        every += [(i, row) for i, found in rows.items() for row in found]
    every.sort(key=lambda one: one[0])
    frame = np.array([i for i, _ in every])
    box = np.array([row[:4] for _, row in every], np.float32)
    track = np.array([row[4] for _, row in every]).astype(np.int64)
    at_look = frame % looks == 0
    person, stranger = at_look & (track < 9000), at_look & (track >= 9000)
    deep = np.full((len(frame), 6), np.nan, np.float32)
    looked = np.arange(0, frames, looks)
    deep[at_look] = np.eye(6)[0] + rng.normal(0, 0.1, (at_look.sum(), 6))
    if "look" in odd:
        deep[stranger] = np.eye(6)[odd["look"]] + rng.normal(0, 0.1, (stranger.sum(), 6))
    n = len(frame)
    objects = Objects(
        frame, box, np.where(person, track, track + THINGS), person, np.ones(n, np.float32),
        np.full((n, 17, 3), np.nan, np.float32), np.full((n, 8), np.nan, np.float32), deep,
    )  # fmt: skip
    return Notes(
        f"street {seed}", SIZE, np.arange(frames) / FPS, objects=objects, looked=looked, encoder="toy"
    )


RUN = {"speed": 4.0, "during": (150, 190), "foot": 180.0}
CYCLIST = {"tall": 90.0, "wide": 1.3, "foot": 150.0, "during": (150, 190), "speed": 1.0}


@pytest.fixture(scope="module")
def profile() -> CameraProfile:
    return CameraProfile().fit([street(s) for s in range(6)])


def odd_time(times: np.ndarray, margin: float = 0.7) -> np.ndarray:
    return (times >= 15 - margin) & (times < 19 + margin)


def strongest(curve: Curve, cue: str, n: int = 5) -> list[Place]:
    """Of the places of a cue; one normal vector in a hundred is told as well."""
    own = sorted((p for p in curve.places if p.cue == cue), key=lambda p: -p.score)
    assert len(own) >= n
    return own[:n]


def test_normal_clips_stay_low_and_odd_ones_do_not(profile):
    calm = profile.score([street(s) for s in range(20, 24)]).values
    odd = profile.score(
        [street(30, **RUN), street(31, **CYCLIST), street(32, look=3, during=(150, 190))]
    ).values
    assert odd.min() > calm.max()


def test_a_runner_is_found_when_they_run_by_their_movement_and_on_their_track(profile):
    notes = street(30, **RUN)
    curve = profile.curve(notes)
    assert odd_time(curve.times)[curve.values.argmax()]
    at = int(curve.values.argmax())
    assert curve.cues["movement"][at] == max(
        values[at] for cue, values in curve.cues.items() if cue != "place"
    )
    told = strongest(curve, "movement")
    assert all(odd_time(curve.times, 0.3)[p.index] for p in told)
    for place in told:
        assert place.track is not None and place.track >= THINGS + 9000
        rows = (notes.objects.frame == place.index) & (notes.objects.track == place.track)
        assert place.box.as_list() == pytest.approx(notes.objects.box[rows][0].tolist())


def test_a_large_thing_is_found_by_its_size(profile):
    curve = profile.curve(street(31, **CYCLIST))
    assert odd_time(curve.times)[curve.cues["size"].argmax()]
    assert curve.cues["size"].max() > 2
    assert all(p.track >= THINGS + 9000 for p in strongest(curve, "size"))


def test_somebody_who_looks_like_nobody_is_found_on_the_frames_looked_at(profile):
    notes = street(32, look=3, during=(150, 190))
    curve = profile.curve(notes)
    assert odd_time(curve.times)[curve.cues["deep"].argmax()]
    own = strongest(curve, "deep")
    assert all(p.index % 5 == 0 and p.track >= THINGS + 9000 for p in own)
    # Between looks the value is held, so that smoothing does not thin it out.
    assert np.median(curve.cues["deep"][155:185]) > 0.8 * curve.cues["deep"].max()


def test_movement_at_an_unknown_place_has_the_cue_place(profile):
    curve = profile.curve(street(33, foot=40.0, tall=50.0, during=(150, 190), speed=1.0))
    assert odd_time(curve.times)[curve.cues["place"].argmax()] and curve.cues["place"].max() > 2
    assert curve.cues["movement"].max() < curve.cues["place"].max()


def test_flow_of_cells_is_a_cue_where_motion_was_noted():
    def moved(seed: int, odd: bool = False) -> Notes:
        rng = np.random.default_rng(seed)
        motion = np.zeros((200, 6, 8, 4))
        motion[1:, 3, :, 1] = 0.2 + rng.normal(0, 0.02, (199, 8))
        if odd:
            motion[100:120, 1, 2, 2] = -0.5
        motion[..., 0] = np.hypot(motion[..., 1], motion[..., 2])
        return Notes(f"moved {seed}", SIZE, np.arange(200) / FPS, motion.astype(np.float16))

    profile = CameraProfile(cues=("flow", "deep")).fit([moved(s) for s in range(4)])
    assert set(profile.memories) == {"flow"}, "nothing was looked at"
    curve = profile.curve(moved(9, odd=True))
    assert 10 <= curve.times[curve.values.argmax()] < 12
    strongest = max(curve.places, key=lambda p: p.score)
    assert strongest.track is None and strongest.box.as_list() == [80, 40, 120, 80]
    assert profile.curve(moved(10)).peak < curve.peak


def test_the_curve_is_the_sum_of_its_cues_in_decades(profile):
    curve = profile.curve(street(30, **RUN))
    unseen = {"flow", "jerk", "pose"}  # no cells; looks too far apart; no keypoints
    assert set(curve.cues) == (set(CUES) - unseen) | set(DEEDS)
    assert all(curve.cues[deed].max() == 0 for deed in DEEDS), "nobody's posture is known"
    assert curve.values == pytest.approx(np.sum(list(curve.cues.values()), axis=0))
    assert min(values.min() for values in curve.cues.values()) >= -1e-9


def test_places_are_few_and_the_most_surprising(profile):
    notes = street(30, **RUN)
    few = replace_argument(profile, places=1).curve(notes).places
    index = [p.index for p in few]
    assert len(index) == len(set(index))
    best: dict[int, float] = {}
    for place in profile.curve(notes).places:
        best[place.index] = max(place.score, best.get(place.index, 0.0))
    assert {p.index: p.score for p in few} == best
    assert replace_argument(profile, told=99.0).curve(notes).places == ()


def replace_argument(profile: CameraProfile, **changed) -> CameraProfile:
    made = CameraProfile(**(profile.arguments() | changed))
    made.restore(profile.state())
    made.fitted = True
    return made


def test_a_repeated_oddity_becomes_normal():
    profile = CameraProfile().fit([street(s) for s in range(6)])
    test = street(40, **RUN)
    before = profile.curve(test)
    size = len(profile.memories["movement"].bank)
    assert profile.add([street(s, **RUN) for s in range(50, 53)]) is profile
    after = profile.curve(test)
    assert after.cues["movement"].max() < 0.5 * before.cues["movement"].max()
    assert len(profile.memories["movement"].bank) > size
    cyclist = profile.curve(street(41, **CYCLIST))
    assert cyclist.cues["size"].max() > 2, "what was not shown again stays odd"


def test_adding_equals_itself_and_needs_a_fit():
    with pytest.raises(InputError, match="not fitted"):
        CameraProfile().add([street(0)])
    one, two = (CameraProfile(seed=3).fit([street(0)]).add([street(1)]) for _ in range(2))
    assert np.array_equal(one.curve(street(9)).values, two.curve(street(9)).values)


def test_saved_with_what_was_added(tmp_path):
    profile = (
        CameraProfile(cues=("movement", "size"), smooth=0.2).fit([street(0), street(1)]).add([street(2)])
    )
    loaded = load(profile.save(tmp_path))
    assert loaded.cues == ("movement", "size") and loaded.encoder == "toy"
    notes = street(9, **RUN)
    a, b = profile.curve(notes), loaded.curve(notes)
    assert np.array_equal(a.values, b.values) and a.places == b.places
    loaded.add([street(3)])


def test_people_and_things_without_a_track_have_none_in_their_places(profile):
    notes = street(32, look=3, during=(150, 190))
    notes = replace(notes, objects=replace(notes.objects, track=np.full(len(notes.objects), -1)))
    curve = profile.curve(notes)
    assert curve.cues["movement"].max() == 0
    assert [p.track for p in curve.places if p.cue == "deep"] and all(p.track is None for p in curve.places)


@pytest.mark.parametrize(
    "wrong", [{"cues": ("zorple",)}, {"cues": ()}, {"neighbours": 0}, {"most": 3}, {"places": 0}, {"smooth": -1.0}]
)  # fmt: skip
def test_wrong_arguments_are_told(wrong):
    with pytest.raises(InputError):
        CameraProfile(**wrong)


def test_footage_that_shows_nothing_is_told():
    with pytest.raises(InputError, match="nothing that moves"):
        CameraProfile().fit([Notes("bare", SIZE, np.arange(50) / FPS)])


def test_shape_and_jerk_are_of_people_only_and_jerk_of_those_seen_often():
    notes = street(0)
    found = paths(notes)
    seen = CUES["shape"][0](notes, found)
    assert len(seen.row) and notes.objects.person[seen.row].all()
    assert not len(CUES["jerk"][0](notes, found).row)
    often = street(0, looks=2)
    seen = CUES["jerk"][0](often, paths(often))
    assert len(seen.row) and often.objects.person[seen.row].all()
    assert not notes.objects.person[CUES["movement"][0](notes, found).row].all()


def test_moving_things_that_are_no_people_have_the_cue_thing(profile):
    curve = profile.curve(street(31, foot=150.0, tall=40.0, wide=4.0, during=(150, 190), speed=1.0))
    assert odd_time(curve.times)[curve.cues["thing"].argmax()] and curve.cues["thing"].max() > 2
    notes = street(0)
    assert not notes.objects.person[CUES["thing"][0](notes, paths(notes)).row].any()


def posed(seed: int, lying: tuple[int, int] = (0, 0), tall: float = 100.0) -> Notes:
    """Somebody who stands, arms moving a little, and lies from one look to another."""
    rng = np.random.default_rng(seed)
    up = np.array([[0, -0.9], [0.03, -0.93], [-0.03, -0.93], [0.06, -0.9], [-0.06, -0.9], [0.15, -0.75], [-0.15, -0.75],
                   [0.2, -0.55], [-0.2, -0.55], [0.2, -0.35], [-0.2, -0.35], [0.1, -0.45], [-0.1, -0.45],
                   [0.1, -0.22], [-0.1, -0.22], [0.1, 0.0], [-0.1, 0.0]])  # fmt: skip
    poses = np.ones((100, 17, 3), np.float32)
    poses[..., :2] = up * tall + rng.normal(0, 0.02 * tall, (100, 17, 2)) + [160, 200]
    poses[slice(*lying), :, :2] = poses[slice(*lying), :, 1::-1] - [40, -40]
    n = 100
    box = np.tile(np.float32([100, 100, 200, 200]), (n, 1))
    objects = Objects(np.arange(n), box, np.ones(n, np.int64), np.ones(n, bool), np.ones(n, np.float32), poses,
                      np.full((n, 8), np.nan, np.float32), np.empty((n, 0), np.float32))  # fmt: skip
    return Notes(f"posed {seed}", SIZE, np.arange(n) / 2, objects=objects, looked=np.arange(n))


def test_somebody_lying_among_people_who_stand_has_the_cue_pose():
    profile = CameraProfile(cues=("pose",)).fit([posed(s) for s in range(4)])
    curve = profile.curve(posed(9, lying=(60, 80)))
    assert 29 <= curve.times[curve.values.argmax()] <= 41 and curve.peak > 2 * profile.curve(posed(10)).peak
    small = posed(11)
    small = replace(small, objects=replace(small.objects, box=small.objects.box * 0.4))
    assert not len(CUES["pose"][0](small, paths(small)).row), "keypoints of small people are guessed"


def test_somebody_lying_does_so_by_knowledge_and_loudly_only_where_few_do():
    assert set(DEEDS) <= set(WORDS)
    standing, fallen = [posed(s) for s in range(4)], posed(9, lying=(60, 80))
    profile = CameraProfile(cues=("pose", *DEEDS)).fit(standing)
    curve = profile.curve(fallen)
    inside = (curve.times >= 29) & (curve.times <= 41)
    lying = curve.cues["lying"]
    assert lying[inside].max() > 1.5 > 0.5 > max(lying[~inside].max(), curve.cues["climbing"].max())
    told = strongest(curve, "lying")
    assert all(30 <= curve.times[p.index] < 40 and p.track == 1 and p.box.x0 == 100 for p in told)
    held = [profile.curve(posed(s)) for s in range(20, 28)]
    profile.settle(held)
    loud = profile.curve(fallen).cues["lying"][inside].max()
    profile.settle([profile.curve(posed(s, lying=(20, 90))) for s in range(20, 28)])
    usual = profile.curve(fallen).cues["lying"][inside].max()
    assert loud > lying.max() + 5 and usual == pytest.approx(lying.max(), abs=0.5)


def test_deeds_are_of_people_with_a_track_and_never_below_what_is_expected():
    notes = posed(9, lying=(60, 80))
    seen, decades = deeds(notes)
    assert len(seen.frame) == len(notes.looked) and set(decades) == set(DEEDS)
    assert all(values.min() == 0.0 for values in decades.values())
    nobody = replace(notes, objects=replace(notes.objects, track=np.full(len(notes.objects), -1)))
    assert not len(deeds(nobody)[0].frame)


def with_left(notes: Notes, since: int, frame: int = 150) -> Notes:
    left = [(i, 40, 50, 60, 65, (i - since) / FPS) for i in notes.looked.tolist() if i >= frame]
    return replace(notes, left=np.array(left, np.float32).reshape(-1, 6))


def test_what_was_left_is_a_cue_although_nothing_ever_was(profile):
    curve = profile.curve(with_left(street(30), 130))
    after = curve.times > 16
    assert curve.cues["left"][after].min() > 2 and curve.cues["left"][curve.times < 13].max() < 0.1
    told = strongest(curve, "left")
    assert all(p.box.as_list() == [40, 50, 60, 65] and p.track is None for p in told)
    new = profile.curve(with_left(street(30), 150, 150))
    assert new.cues["left"][curve.times < 15].max() < 0.1, "what has just come may go"


def test_a_cue_that_is_rare_by_itself_is_loud_once_the_profile_is_settled(tmp_path):
    """Two cues of one decade each sum up to what one cue of two does; held-out footage knows the first, not the second."""
    times = np.arange(0, 600, 0.5)

    def made(movement: float, size: float, at: float = 300.0) -> Curve:
        there = np.exp(-((times - at) ** 2) / 8)
        cues = {"movement": movement * there, "size": size * there}
        return Curve("hand made", times, np.sum(list(cues.values()), axis=0), cues)

    rng = np.random.default_rng(0)
    held = [made(1.5 * rng.random(), 1.5 * rng.random(), 100.0 * k) for k in range(6)]
    profile = CameraProfile(cues=("movement", "size")).fit([street(s) for s in range(2)])
    loud = profile.settle(held)
    for before, after in zip(held, loud, strict=True):
        assert after.values == pytest.approx(np.sum(list(after.cues.values()), axis=0))
        assert (after.values >= before.values - 1e-9).all()
    both, one = profile._loud(made(2.0, 2.0)), profile._loud(made(0.0, 4.0))
    assert one.peak > both.peak + 5
    kept = load(profile.save(tmp_path))
    assert kept.tails == profile.tails and kept._loud(made(0.0, 4.0)).peak == one.peak
    assert profile.fit([street(3)]).tails == {}, "learnt anew"
    short = [
        Curve(c.name, c.times[:200], c.values[:200], {k: v[:200] for k, v in c.cues.items()})
        for c in held[:2]
    ]
    assert all(a.peak == b.peak for a, b in zip(profile.settle(short), short, strict=True)), (
        "200 s tell nothing rare"
    )


def test_memories_of_long_vectors_are_kept_short(monkeypatch):
    monkeypatch.setattr("oddwatch.detectors.video.profile.NUMBERS", 600)
    profile = CameraProfile().fit([street(s) for s in range(3)])
    assert len(profile.memories["deep"].bank) == 100 and len(profile.memories["place"].bank) == 150
    profile.add([street(4)])
    assert len(profile.memories["deep"].bank) == 100
