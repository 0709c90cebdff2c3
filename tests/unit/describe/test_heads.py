"""The light heads at run time: what ships, what they do to facts, and that a crop is encoded once."""

import hashlib
import json
from importlib import resources

import numpy as np
import pytest

from oddwatch.core import Box, Facts, Frame, ModelError, Person, Pose, Tokens
from oddwatch.describe import features
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.describer import PRIOR, Describer, evidence
from oddwatch.describe.heads import BODY, LOOKS, PARTS, LightHeads, crop

RNG = np.random.default_rng(5)
POINTS = np.concatenate([RNG.uniform(60, 180, (17, 2)), np.full((17, 1), 0.7)], 1).astype(np.float32)
FRAME = Frame(RNG.integers(0, 255, (240, 260, 3), dtype=np.uint8), "noise")
PERSON = Person(Box(55, 55, 185, 185), 0.8, Pose(POINTS))


def tokens_of(n: int, seed: int = 0) -> Tokens:
    rng = np.random.default_rng(seed)
    return Tokens(
        rng.normal(size=(n, 384)).astype(np.float32),
        {"last": rng.normal(size=(n, 256, 384)).astype(np.float32)},
        (16, 16),
        np.ones((n, 2)),
        np.zeros((n, 2)),
    )


class Counting:
    """An encoder that counts the crops it was given."""

    id, dim = "counting", 384

    def __init__(self) -> None:
        self.crops = 0

    def encode(self, frames, layers=("last",)) -> Tokens:
        self.crops += len(frames)
        return tokens_of(len(frames))


@pytest.fixture(scope="module")
def heads() -> LightHeads:
    return LightHeads.load()


def test_what_ships_is_small_and_is_what_its_card_describes():
    data = resources.files("oddwatch.describe").joinpath("data")
    blob, card = (
        data.joinpath("heads.safetensors").read_bytes(),
        json.loads(data.joinpath("heads.json").read_text()),
    )
    assert card["blake2b"] == hashlib.blake2b(blob, digest_size=16).hexdigest()
    assert len(blob) == card["bytes"] < 10_000_000
    assert card["schema"] == SCHEMA_ID
    assert card["seed"] != card["held_out"]["seed"]


def test_networks_of_doing_and_of_looks_share_no_atom():
    assert not set(BODY) & set(LOOKS)
    assert INDEX["posture.lying"] in BODY and INDEX["carry.bag"] in LOOKS
    assert not any(INDEX[a] in BODY + LOOKS for a in ATOMS if a.startswith(("motion.", "count.", "person.")))


def test_refined_facts_are_probabilities_and_the_unknown_stay_at_their_base_rate(heads):
    for seen in (None, features.only(tokens_of(1), 0)):
        parts = None if seen is None else heads.parts(FRAME, PERSON, seen)
        facts = heads.refine(PERSON, [], Describer(heads=None).by_hand(FRAME, PERSON), seen, parts)
        assert np.isfinite(facts.p).all() and (facts.p > 0).all() and (facts.p < 1).all()
        assert np.allclose(facts.p[~facts.known], PRIOR[~facts.known])
        assert (evidence(facts)[~facts.known] == 0).all()
        assert facts.known[INDEX["posture.lying"]] and not facts.known[INDEX["motion.fast"]]


def test_a_person_without_a_pose_is_judged_too(heads):
    person = Person(PERSON.box)
    facts = heads.refine(person, [PERSON], Describer(heads=None).by_hand(FRAME, person))
    assert np.isfinite(facts.p).all()


def test_parts_are_shares(heads):
    parts = heads.parts(FRAME, PERSON, features.only(tokens_of(1), 0))
    assert parts.shape == (256, len(PARTS))
    assert np.allclose(parts.sum(1), 1, atol=1e-4)


def test_pooling_follows_the_parts():
    tokens = np.zeros((256, 384), np.float32)
    tokens[:128] = 1
    parts = np.zeros((256, len(PARTS)), np.float32)
    parts[:128, PARTS.index("upper")], parts[128:, PARTS.index("lower")] = 1, 1
    row = features.pooled(np.zeros(384, np.float32), tokens, parts)
    mean = row[384 : 384 * (1 + len(features.REGIONS))].reshape(-1, 384)
    assert mean[features.REGIONS.index("upper")].mean() > 0.99
    assert mean[features.REGIONS.index("lower")].max() == 0
    assert mean[features.REGIONS.index("bag")].max() == 0


def test_a_crop_is_encoded_once_or_not_at_all():
    encoder = Counting()
    describer = Describer(encoder, heads="packaged")
    first = describer.describe(FRAME, PERSON)
    assert encoder.crops == 1
    again = describer.describe(FRAME, PERSON, tokens=tokens_of(1))
    assert encoder.crops == 1
    assert np.array_equal(first.p, again.p)
    views = [(FRAME, PERSON, ())] * 3
    describer.describe_track(views, tokens=tokens_of(2))
    assert encoder.crops == 1
    describer.describe_moment(FRAME, [PERSON], facts=[first])
    assert encoder.crops == 1
    Describer(encoder, heads=None).describe(FRAME, PERSON)
    assert encoder.crops == 1


def test_the_crop_is_what_its_box_says():
    area = features.crop_box(FRAME, PERSON)
    assert crop(FRAME, PERSON).shape[:2] == (area.height, area.width)
    edge = Person(Box(-30, 200, 20, 300))
    area = features.crop_box(FRAME, edge)
    assert crop(FRAME, edge).shape[:2] == (area.height, area.width)


def test_heads_that_cannot_be_read_are_refused(tmp_path, heads):
    with pytest.raises(ModelError, match="train heads"):
        LightHeads.load(tmp_path)
    (tmp_path / "heads.json").write_text(json.dumps({"schema": SCHEMA_ID}))
    (tmp_path / "heads.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ModelError, match="train heads"):
        LightHeads.load(tmp_path)
    with pytest.raises(ModelError, match="atoms"):
        LightHeads(heads.arrays, {"schema": "atoms-of-another-table"})


def test_evidence_grows_with_what_the_networks_say(heads):
    hand = Facts(SCHEMA_ID, PRIOR.copy(), np.zeros(len(ATOMS), bool), {})
    louder = dict(heads.arrays)
    rates = louder["body.rate"].copy()
    rates[BODY.index(INDEX["posture.lying"])] -= 2.0
    louder["body.rate"] = rates
    calm = heads.refine(PERSON, [], hand)
    loud = LightHeads(louder, heads.card).refine(PERSON, [], hand)
    i = INDEX["posture.lying"]
    assert loud.p[i] > calm.p[i]
    others = np.arange(len(ATOMS)) != i
    assert np.allclose(loud.p[others], calm.p[others])
