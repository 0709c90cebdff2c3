"""The describer on a drawn person: facts in, facts out, and what stays unknown."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import Box, Facts, Frame, InputError, Motion, Person, Pose
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.describer import PRIOR, Describer, evidence

JOINTS = np.array([
    [100, 52], [104, 48], [96, 48], [108, 50], [92, 50], [120, 75], [80, 75], [128, 108], [72, 108], [130, 138],
    [70, 138], [112, 138], [88, 138], [113, 185], [87, 185], [114, 232], [86, 232],
], np.float32)  # fmt: skip
RED, NAVY, SKIN, GRASS = (190, 25, 30), (24, 30, 62), (215, 160, 130), (90, 150, 60)


def drawn(
    upper=RED, lower=NAVY, ground=(130, 132, 130), arms=None, shins=None, gain: float = 1.0
) -> tuple[Frame, Person]:
    """A front-facing person of 220 px in a 400×300 picture."""
    picture = np.full((300, 400, 3), ground, np.uint8)
    p = [tuple(int(v) for v in xy) for xy in JOINTS]
    bone = lambda a, b, color, width: cv2.line(picture, p[a], p[b], color, width)  # noqa: E731
    for a, b in ((11, 13), (12, 14)):
        bone(a, b, lower, 24)
    for a, b in ((13, 15), (14, 16)):
        bone(a, b, shins or lower, 18)
    cv2.fillConvexPoly(picture, np.array([p[5], p[6], p[12], p[11]]), upper)
    for a, b in ((5, 7), (6, 8)):
        bone(a, b, upper, 16)
    for a, b in ((7, 9), (8, 10)):
        bone(a, b, arms or upper, 12)
    cv2.circle(picture, (100, 48), 16, (30, 24, 22), -1)
    cv2.circle(picture, (100, 54), 11, SKIN, -1)
    noise = np.random.default_rng(3).normal(0, 3, picture.shape)
    picture = np.clip((picture / 255.0) ** 2.2 * gain, 0, 1) ** (1 / 2.2) * 255 + noise
    pose = Pose(np.concatenate([JOINTS, np.full((17, 1), 0.8, np.float32)], 1))
    return Frame(np.clip(picture, 0, 255).astype(np.uint8), "drawn"), Person(Box(60, 28, 140, 248), 0.9, pose)


@pytest.fixture(scope="module")
def describer() -> Describer:
    return Describer(heads=None)


def p(facts: Facts, atom: str) -> float:
    assert facts.known[INDEX[atom]], atom
    return float(facts.p[INDEX[atom]])


def test_a_drawn_person(describer):
    facts = describer.describe(*drawn())
    assert facts.schema == SCHEMA_ID
    assert p(facts, "upper.color.red") > 0.7
    assert p(facts, "upper.color.blue") < 0.1
    assert p(facts, "lower.color.blue") > 0.4
    assert p(facts, "lower.color.red") < 0.1
    assert p(facts, "posture.lying") < 0.1
    assert p(facts, "facing.camera") > 0.6
    assert p(facts, "company.alone") > 0.5
    box = facts.boxes["upper.color.red"]
    assert 60 <= box.x0 < box.x1 <= 141
    assert 60 < box.y0 < box.y1 < 150


def test_the_same_colours_are_named_in_half_the_light(describer):
    facts = describer.describe(*drawn(gain=0.3))
    assert p(facts, "upper.color.red") > 0.5
    assert p(facts, "upper.color.red") > 5 * p(facts, "upper.color.green")


def test_sleeves_and_shorts_are_told_by_skin(describer):
    long, short = describer.describe(*drawn()), describer.describe(*drawn(arms=SKIN, shins=SKIN))
    assert p(long, "upper.sleeves.long") > 0.7 > 0.4 > p(short, "upper.sleeves.long")
    assert p(short, "upper.sleeves.short") > 0.6
    assert p(short, "lower.type.shorts") > p(long, "lower.type.shorts") + 0.2
    assert p(short, "lower.type.trousers") < 0.4 < p(long, "lower.type.trousers")


def test_grass_under_the_feet(describer):
    green, grey = describer.describe(*drawn(ground=GRASS)), describer.describe(*drawn())
    assert p(green, "place.grass") > 0.5 > 0.1 > p(grey, "place.grass")


def test_company(describer):
    frame, person = drawn()
    beside = Person(Box(150, 30, 220, 245), 0.8, person.pose.shifted(85, 0))
    far = Person(Box(350, 30, 395, 245), 0.8)
    alone, pair = (
        describer.describe(frame, person, others=[]),
        describer.describe(frame, person, others=[beside, far]),
    )
    assert p(pair, "company.pair") > p(alone, "company.pair")
    assert p(pair, "company.alone") < p(alone, "company.alone")
    fallen = Person(Box(150, 180, 360, 248), 0.8, _lying())
    assert p(describer.describe(frame, person, others=[fallen]), "company.collapsed") > 0.4
    assert p(alone, "company.collapsed") < 0.05


def _lying() -> Pose:
    flat = np.stack([JOINTS[:, 1] + 110, 215 - (JOINTS[:, 0] - 100)], 1)
    return Pose(np.concatenate([flat, np.full((17, 1), 0.8)], 1).astype(np.float32))


def test_motion_is_known_only_with_a_track(describer):
    frame, person = drawn()
    still = describer.describe(frame, person)
    assert not still.known[INDEX["motion.fast"]]
    moving = describer.describe(frame, person, motion=Motion(speed=2.0, top_speed=2.5, dx=-1.8, duration=3))
    assert p(moving, "motion.fast") > 0.7
    assert p(moving, "motion.left") > 0.7 > 0.1 > p(moving, "motion.right")


def test_what_cannot_be_seen_stays_unknown(describer):
    frame, person = drawn()
    facts = describer.describe(frame, person)
    for atom in (
        "person.man",
        "near.bicycle",
        "carry.weapon",
        "head.wear.mask",
        "weather.rain",
        "carry.backpack",
    ):
        assert not facts.known[INDEX[atom]], atom
    bare = describer.describe(frame, Person(person.box))
    assert not bare.known[INDEX["posture.walking"]]
    assert not bare.known[INDEX["upper.sleeves.long"]]
    assert p(bare, "upper.color.red") > 0.6


def test_evidence_is_zero_where_unknown_and_signed_where_known(describer):
    facts = describer.describe(*drawn())
    e = evidence(facts)
    assert e.dtype == np.float32
    assert e.shape == (len(ATOMS),)
    assert (e[~facts.known] == 0).all()
    assert np.abs(e).max() <= 4
    assert e[INDEX["upper.color.red"]] > 1 > -1 > e[INDEX["upper.color.black"]]
    assert PRIOR.shape == e.shape


def test_describing_is_deterministic_and_changes_nothing(describer):
    frame, person = drawn()
    before = frame.pixels.copy()
    first, second = describer.describe(frame, person), describer.describe(frame, person)
    assert np.array_equal(first.p, second.p)
    assert np.array_equal(frame.pixels, before)


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-80, 460)] * 4), st.booleans())
def test_any_box_gives_facts(corners, posed):
    x0, y0, x1, y1 = corners
    frame, person = drawn()
    box = Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    facts = Describer(heads=None).describe(frame, Person(box, 1.0, person.pose if posed else None))
    assert np.isfinite(facts.p).all()


def test_a_one_pixel_picture():
    facts = Describer(heads=None).describe(Frame(np.zeros((1, 1, 3), np.uint8)), Person(Box(0, 0, 1, 1)))
    assert not facts.known[INDEX["upper.color.red"]]


def test_a_track_pools_its_views(describer):
    frame, person = drawn()
    dark, _ = drawn(gain=0.02)
    views = [(frame, person, ()), (frame, person, ()), (dark, Person(person.box, 0.2), ())]
    pooled, single = describer.describe_track(views), describer.describe(frame, person)
    assert p(pooled, "upper.color.red") > 0.5
    assert pooled.known[INDEX["posture.walking"]]
    assert np.allclose(describer.describe_track([views[0]]).p, np.clip(single.p, 1e-3, 1 - 1e-3), atol=1e-4)
    with pytest.raises(InputError, match="view"):
        describer.describe_track([])


def test_a_moment_takes_the_surest_person_and_counts(describer):
    frame, person = drawn()
    other = Person(Box(300, 30, 380, 250))
    moment = describer.describe_moment(frame, [person, other])
    assert p(moment, "upper.color.red") > 0.7
    assert p(moment, "count.two") > 0.5 > p(moment, "count.one")
    empty = describer.describe_moment(frame, [])
    assert p(empty, "count.none") > 0.5
    assert not empty.known[INDEX["upper.color.red"]]


def test_hands_on_each_other_are_more_of_a_fight_than_standing_apart(describer):
    frame, person = drawn()
    hit, other = JOINTS.copy(), JOINTS.copy()
    hit[7], hit[9] = (150, 70), (176, 56)
    other[:, 0] += 80
    scored = np.full((17, 1), 0.8, np.float32)
    puncher = Person(person.box, 0.9, Pose(np.concatenate([hit, scored], 1)))
    victim = Person(person.box.shifted(80, 0), 0.9, Pose(np.concatenate([other, scored], 1)))
    fight, calm = (describer.describe(frame, a, others=[victim]) for a in (puncher, person))
    assert p(fight, "action.fight") > 2 * p(calm, "action.fight")
    assert p(describer.describe(frame, person), "action.fight") < 0.03
