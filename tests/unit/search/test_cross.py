"""The small cross-encoder in numpy: equal to its torch twin, and what it must and must not depend on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oddwatch.core import (
    UNKNOWN,
    Box,
    Entry,
    Facts,
    Hit,
    InputError,
    ModelError,
    Person,
    Pose,
    Query,
    Unknown,
    View,
)
from oddwatch.describe.atoms import ATOMS, SCHEMA_ID, members
from oddwatch.describe.features import gains_of, geometry
from oddwatch.describe.sentence import parse
from oddwatch.search.cloze import ClozeStage, generate
from oddwatch.search.cross import (
    MOST_TOKENS,
    SEEN_GROUPS,
    CrossModel,
    CrossStage,
    CrossWitness,
    Looks,
    Read,
    Seen,
    looks_of,
    parts_of,
    prior_of,
)
from oddwatch.search.fuse import two_stage
from oddwatch.train.search import write

G = len(geometry(Person(Box(0, 0, 1, 2), 0.5), ()))
WORDS = ["blue", "lying", "red", "walking"]
DIM = 16


def card(**changes: Any) -> dict[str, Any]:
    made = {
        "schema": SCHEMA_ID,
        "heads": 4,
        "layers": 2,
        "pose": True,
        "facts": True,
        "words": WORDS,
        "pairs": 7,
    }
    return {**made, **changes}


def arrays(seed: int = 0, layers: int = 2, words: int = len(WORDS)) -> dict[str, np.ndarray]:
    """Random weights of a small network under the names of the training module."""
    rng = np.random.default_rng(seed)
    out: dict[str, np.ndarray] = {}

    def linear(name: str, n: int, m: int = DIM) -> None:
        out[f"{name}.weight"] = rng.normal(0, m**-0.5, (n, m)).astype(np.float32)
        out[f"{name}.bias"] = rng.normal(0, 0.1, n).astype(np.float32)

    def norm(name: str) -> None:
        out[f"{name}.weight"] = rng.normal(1, 0.1, DIM).astype(np.float32)
        out[f"{name}.bias"] = rng.normal(0, 0.1, DIM).astype(np.float32)

    def attention(name: str, product: int = 1) -> None:
        for part in "qkv":
            linear(f"{name}.{part}", DIM)
        linear(f"{name}.o", DIM, product * DIM)

    for side in ("text", "parts"):
        linear(side, DIM, 384)
    for side in ("text", "look"):
        norm(f"{side}_norm")
    linear("weight", 1)
    out["align.weight"] = rng.normal(0, DIM**-0.5, (DIM, DIM)).astype(np.float32)
    out["place"] = rng.normal(0, 0.1, (9, DIM)).astype(np.float32)
    out["geometry_mean"] = rng.normal(0, 0.1, G).astype(np.float32)
    out["geometry_dev"] = rng.uniform(0.5, 2, G).astype(np.float32)
    linear("pose_in", DIM, G)
    linear("pose_out", 9 * DIM)
    norm("pose_norm")
    attention("pose_attention")
    out["facts_atom"] = rng.normal(0, 0.1, (len(ATOMS), DIM)).astype(np.float32)
    for part in ("group", "known"):
        out[f"facts_{part}"] = rng.normal(0, 0.1, (len(SEEN_GROUPS), DIM)).astype(np.float32)
    for i in range(layers):
        for part in ("self", "cross", "ffn"):
            norm(f"layers.{i}.{part}_norm")
        attention(f"layers.{i}.self_attention")
        attention(f"layers.{i}.cross_attention", 2)
        linear(f"layers.{i}.ffn_in", 2 * DIM)
        linear(f"layers.{i}.ffn_out", DIM, 2 * DIM)
    norm("itm_norm")
    linear("itm_in", 2 * DIM)
    linear("itm_out", 2, 2 * DIM)
    norm("cloze_norm")
    linear("cloze_out", words)
    out["itm_near"], out["itm_prior"] = np.array(3, np.float32), np.array(1.5, np.float32)
    return out


def looks(n: int, seed: int = 1) -> Looks:
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(n, 9, 384))
    tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)
    pose = rng.normal(0, 2, (n, G)).astype(np.float32)
    pose[:1, :5] = 50  # beyond what is let through
    return Looks(
        np.round(tokens * 127).astype(np.int8),
        pose,
        rng.random((n, len(ATOMS))).astype(np.float32),
        rng.random((n, len(ATOMS))) > 0.7,
    )


def some(seen: Looks, at: Any) -> Looks:
    return Looks(seen.tokens[at], seen.geometry[at], seen.p[at], seen.known[at])


def slots_say(n: int, seed: int = 6) -> np.ndarray:
    """What the slots of a sentence might say of each of ``n`` looks, in nats."""
    return np.random.default_rng(seed).normal(0, 2, n)


def asked(model: CrossModel, words: np.ndarray, seen: Looks, prior: np.ndarray | None = None) -> np.ndarray:
    """The log odds that a sentence of frozen ``words`` fits each look."""
    told = np.zeros(len(seen.tokens)) if prior is None else prior
    return model.match(model.text(words), model.looks(seen), told)


def sentence(length: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng([seed, length]).normal(0, 0.3, (length, 384)).astype(np.float32)


class FakeWords:
    """A vector for every word, always the same; a blank's depends on its place, as it does with a real encoder."""

    def _of(self, word: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(word.encode())).normal(0, 0.3, 384).astype(np.float32)

    def tokens(self, texts: Sequence[str], most: int = 256) -> list[np.ndarray]:
        return [np.array([self._of(w) for w in ["[CLS]", *t.split()][:most]]) for t in texts]

    def blanked(self, parts: Sequence[str], most: int = 256) -> tuple[np.ndarray, list[int]]:
        words = " [MASK] ".join(parts).split()
        places = [i for i, w in enumerate(words, 1) if w == "[MASK]" and i < most]
        said = ["[CLS]", *(f"{w}{i}" if i in places else w for i, w in enumerate(words, 1))]
        return np.array([self._of(w) for w in said[:most]]), places


class Shelf:
    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = {e.id: e for e in entries}
        self.asked: list[str] = []

    def get_many(self, ids: Sequence[str]) -> list[Entry]:
        self.asked += ids
        return [self.entries[i] for i in ids if i in self.entries]


def entry(i: int, **changes: Any) -> Entry:
    rng = np.random.default_rng([i, 5])
    pose = Pose(rng.uniform(0, 40, (17, 3)).astype(np.float32) / (1, 1, 40))
    person = Person(Box(1, 2, 30, 60), 0.8, pose)
    seen = looks(1, i)
    values: dict[str, Any] = {
        "id": f"e{i}", "source": "a.mp4", "kind": "person", "span": None, "time": 1.0, "frame": 25,
        "box": person.box, "views": (View(1.0, 25, person),), "facts": Facts(SCHEMA_ID, seen.p[0], seen.known[0]),
        "tokens": seen.tokens[0],
    }  # fmt: skip
    return Entry(**{**values, **changes})


def hits_of(entries: Sequence[Entry]) -> list[Hit]:
    return [
        Hit(rank, e.id, e.source, e.kind, -float(rank), stages={"coarse": -float(rank)})
        for rank, e in enumerate(entries, 1)
    ]


def plain(hits: Sequence[Hit]) -> list[tuple[int, str, dict[str, float]]]:
    return [(h.rank, h.id, dict(h.stages)) for h in hits]


@pytest.fixture(scope="module")
def model() -> CrossModel:
    return CrossModel(arrays(), card())


# Torch twin


def twin(seed: int = 3, **options: Any) -> tuple[Any, CrossModel]:
    """A random network, moved off its tidy start, and the numpy model of its weights."""
    torch = pytest.importorskip("torch")
    from oddwatch.train.crossnet import CrossNet, arrays_of

    torch.manual_seed(seed)
    shape = {"dim": 32, "heads": 4, "layers": 2, "pose": True, "facts": True, **options}
    net = CrossNet(looks(20, 9).geometry, words=len(WORDS), **shape).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    told = card(heads=shape["heads"], layers=shape["layers"], pose=shape["pose"], facts=shape["facts"])
    return net, CrossModel(arrays_of(net), told)


def padded(rows: Sequence[np.ndarray], torch: Any) -> tuple[Any, Any]:
    """A batch in which what stands beyond a sentence's end is anything but zero."""
    rng = np.random.default_rng(7)
    out = rng.normal(0, 9, (len(rows), max(map(len, rows)) + 2, 384)).astype(np.float32)
    keep = np.zeros(out.shape[:2], bool)
    for i, row in enumerate(rows):
        out[i, : len(row)], keep[i, : len(row)] = row, True
    return torch.from_numpy(out), torch.from_numpy(keep)


def close(found: Any, wanted: np.ndarray, atol: float = 1e-4) -> None:
    """A tensor has the shape and the numbers of an array."""
    assert tuple(found.shape) == wanted.shape
    assert np.abs(found.numpy() - wanted).max() < atol


def torch_looks(net: Any, seen: Looks, torch: Any) -> tuple[Any, Any]:
    columns = (seen.tokens.astype(np.float32) / 127, seen.geometry, gains_of(seen.p, seen.known))
    return net.encode_looks(*map(torch.from_numpy, columns), torch.from_numpy(seen.known.astype(np.float32)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pose": False},
        {"facts": False},
        {"pose": False, "facts": False},
        {"layers": 1},
        {"layers": 3, "heads": 2},
    ],
)
def test_numpy_and_torch_say_the_same(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    net, numpy_model = twin(**options)
    rows, seen = [sentence(n) for n in (1, 2, 5, 17, MOST_TOKENS)], looks(6)
    shown, prior = numpy_model.looks(seen), slots_say(6)
    with torch.no_grad():
        tokens, keep = padded(rows, torch)
        states, words, counts = net.encode_text(tokens, keep)
        look_tokens, look_vectors = torch_looks(net, seen, torch)
        near, read = net.near(words, counts, look_vectors), net.read(states, keep)
        assert near.shape == (6, 5) and np.ptp(near.numpy()) > 1e-2
        close(look_tokens, shown.tokens)
        close(look_vectors, shown.vectors)
        for i, row in enumerate(rows):
            text, n = numpy_model.text(row), len(row)
            close(states[i, :n], text.states)
            close(words[i, :n], text.vectors)
            close(counts[i, :n], text.counts)
            assert not counts[i, n:].any()  # what is beyond the end counts nothing, not even a little
            close(near[:, i], numpy_model.near(text, shown))
            every = (read[[i] * 6], keep[[i] * 6], look_tokens)
            logits = net.match(*every, near[:, i], torch.from_numpy(prior).float())
            odds = numpy_model.match(text, shown, prior)
            close(logits[:, 1] - logits[:, 0], odds)
            assert np.ptp(odds) > 1e-2
            places = [min(1, n - 1), 0, n - 1]
            said = net.fill(*every, torch.tensor([places] * 6)).log_softmax(-1)
            close(said, numpy_model.fill(row, places, shown))


def test_the_weights_have_the_names_and_shapes_of_the_training_module() -> None:
    pytest.importorskip("torch")
    from oddwatch.train.crossnet import CrossNet, arrays_of

    net = CrossNet(looks(4).geometry, dim=DIM, heads=4, words=len(WORDS))
    assert {k: v.shape for k, v in arrays_of(net).items()} == {k: v.shape for k, v in arrays().items()}


def test_heads_must_divide_the_width() -> None:
    pytest.importorskip("torch")
    from oddwatch.train.crossnet import CrossNet

    with pytest.raises(InputError, match="heads"):
        CrossNet(looks(4).geometry, dim=10, heads=4)


def test_an_unvarying_number_of_the_pose_divides_by_one() -> None:
    pytest.importorskip("torch")
    from oddwatch.train.crossnet import CrossNet, arrays_of

    still = looks(4).geometry
    still[:, 3] = 2.5
    found = arrays_of(CrossNet(still, dim=DIM, heads=4))
    assert found["geometry_dev"][3] == 1 and found["geometry_mean"][3] == 2.5


def test_facts_and_parts_are_hidden_in_training_only() -> None:
    torch = pytest.importorskip("torch")
    net, numpy_model = twin(facts_drop=1.0, parts_drop=0.5)
    seen = looks(3)
    with torch.no_grad():
        still, _ = torch_looks(net, seen, torch)
        assert np.abs(still.numpy() - numpy_model.looks(seen).tokens).max() < 1e-4
        moved, _ = torch_looks(net.train(), seen, torch)
    # With every group hidden the fact tokens are the same for all; the parts differ still.
    groups = moved[:, -len(SEEN_GROUPS) :].numpy()
    assert np.abs(groups - groups[:1]).max() < 1e-6
    assert np.abs(groups - still[:, -len(SEEN_GROUPS) :].numpy()).max() > 1e-3
    assert np.abs((moved - still)[:, :9].numpy()).max() > 1e-3


def test_facts_start_where_their_words_are() -> None:
    torch = pytest.importorskip("torch")
    from oddwatch.train.crossnet import CrossNet, arrays_of

    words = np.random.default_rng(0).normal(size=(len(ATOMS), 384)).astype(np.float32) + 3
    net = CrossNet(looks(4).geometry, dim=DIM, heads=4)
    net.name_facts(words)
    found = arrays_of(net)["facts_atom"]
    assert np.abs(np.linalg.norm(found, axis=1) - 0.5).max() < 1e-5
    # What all of them share says nothing, and goes.
    net.name_facts(words + 7)
    assert np.abs(arrays_of(net)["facts_atom"] - found).max() < 1e-4
    apart = (words - words.mean(axis=0)) @ arrays_of(net)["text.weight"].T
    assert np.abs(found * 2 - apart / np.linalg.norm(apart, axis=1, keepdims=True)).max() < 1e-5
    torch.manual_seed(0)
    bare = CrossNet(looks(4).geometry, dim=DIM, heads=4, facts=False)
    before = arrays_of(bare)
    bare.name_facts(words)
    assert all(np.array_equal(v, before[k]) for k, v in arrays_of(bare).items())


# Where the matching head starts from


def test_the_slots_shift_the_odds_by_their_weight(model: CrossModel) -> None:
    seen, words, prior = looks(5), sentence(7), slots_say(5)
    shift = asked(model, words, seen, prior) - asked(model, words, seen)
    assert np.abs(shift - 1.5 * prior).max() < 1e-5 and np.abs(prior).min() > 1e-3
    blind = CrossModel(arrays(), card(facts=False))
    assert np.array_equal(asked(blind, words, seen, prior), asked(blind, words, seen))


@pytest.mark.parametrize("facts", [True, False])
def test_the_slots_and_the_similarity_shift_one_logit_in_torch(facts: bool) -> None:
    torch = pytest.importorskip("torch")
    net, _ = twin(facts=facts)
    prior, near = torch.from_numpy(slots_say(5)).float(), torch.linspace(-1, 1, 5)
    with torch.no_grad():
        tokens, keep = padded([sentence(7)] * 5, torch)
        seen, _ = torch_looks(net, looks(5), torch)
        every = (net.read(net.encode_text(tokens, keep)[0], keep), keep, seen)
        plain = net.match(*every, torch.zeros(5), torch.zeros(5))
        by_slots = net.match(*every, torch.zeros(5), prior) - plain
        by_near = net.match(*every, near, torch.zeros(5)) - plain
    assert not by_slots[:, 0].any() and not by_near[:, 0].any()
    weight = float(net.itm_prior.detach()) if facts else 0.0
    close(by_slots[:, 1], weight * prior.numpy(), 1e-5)
    close(by_near[:, 1], float(net.itm_near.detach()) * near.numpy(), 1e-5)
    assert abs(float(net.itm_prior.detach())) > 1 and abs(float(net.itm_near.detach())) > 1


def test_the_similarity_shifts_the_odds_by_its_weight(model: CrossModel) -> None:
    seen, words = looks(5), sentence(7)
    more = CrossModel({**arrays(), "itm_near": np.array(5, np.float32)}, card())
    near = model.near(model.text(words), model.looks(seen))
    shift = asked(more, words, seen) - asked(model, words, seen)
    assert np.abs(shift - 2 * near).max() < 1e-5 and np.abs(near).min() > 1e-3


def test_the_slots_say_what_the_stage_of_facts_says() -> None:
    seen, at = looks(3), list(ATOMS).index("upper.color.red")
    p, known = seen.p.copy(), np.zeros_like(seen.known)
    p[:, at], known[:2, at] = (0.95, 0.02, 0.95), True
    prior = prior_of(parse("a man in a red jacket"), replace(seen, p=p, known=known))
    assert prior[0] > 0.1 and prior[1] < -0.1 and prior[2] == 0  # seen, seen to be another, not seen
    assert not prior_of(Query("a man in a red jacket"), seen).any()


def test_every_word_has_its_best_answer_and_counts_as_much_as_it_does(model: CrossModel) -> None:
    words, counts = np.eye(2, dtype=np.float32), np.array([0.25, 0.75], np.float32)
    answers = np.array(
        [
            [[0.6, 0.8], [1.0, 0.0]],  # 1 × 1/4 + 0.8 × 3/4
            [[-1.0, 0.0], [0.0, -1.0]],  # 0: each word has an answer that does not speak of it
            [[-1.0, 0.0], [-0.6, -0.8]],  # −0.6 × 1/4 + 0 × 3/4
            [[0.8, 0.6], [0.8, 0.6]],  # 0.8 × 1/4 + 0.6 × 3/4
        ],
        np.float32,
    )
    wanted = [0.85, 0.0, -0.15, 0.65]
    seen = Seen(answers, answers)
    assert model.near(Read(words, words, counts), seen) == pytest.approx(wanted, abs=1e-6)
    only = Read(words, words, np.array([1, 0], np.float32))
    assert model.near(only, seen) == pytest.approx([1.0, 0.0, -0.6, 0.8], abs=1e-6)
    torch = pytest.importorskip("torch")
    net, _ = twin()
    both = (torch.from_numpy(np.stack([words, words])), torch.from_numpy(np.stack([counts, only.counts])))
    found = net.near(*both, torch.from_numpy(answers))
    assert found[:, 0].tolist() == pytest.approx(wanted, abs=1e-6)
    assert found[:, 1].tolist() == pytest.approx([1.0, 0.0, -0.6, 0.8], abs=1e-6)


# Properties of the network


def test_the_order_and_the_number_of_candidates_do_not_matter(model: CrossModel) -> None:
    seen, text, prior = looks(7), model.text(sentence(9)), slots_say(7)
    shown = model.looks(seen)
    together, near = model.match(text, shown, prior), model.near(text, shown)
    for i in range(7):
        alone = model.looks(some(seen, [i]))
        assert abs(model.match(text, alone, prior[[i]])[0] - together[i]) < 1e-5
        assert abs(model.near(text, alone)[0] - near[i]) < 1e-6
    turned = np.random.default_rng(0).permutation(7)
    other = model.looks(some(seen, turned))
    assert np.abs(model.match(text, other, prior[turned]) - together[turned]).max() < 1e-5
    assert np.abs(model.near(text, other) - near[turned]).max() < 1e-6
    assert np.array_equal(model.match(text, model.looks(seen), prior), together)


def test_every_input_has_its_say(model: CrossModel) -> None:
    seen, words = looks(3), sentence(9)
    other, changed = looks(3, 44), words.copy()
    changed[-1] += 1
    before, near = asked(model, words, seen), model.near(model.text(words), model.looks(seen))
    assert np.abs(asked(model, changed, seen) - before).max() > 1e-4
    assert np.abs(model.near(model.text(changed), model.looks(seen)) - near).max() > 1e-4
    for name in ("tokens", "geometry", "p", "known"):
        moved = replace(seen, **{name: getattr(other, name)})
        assert np.abs(asked(model, words, moved) - before).max() > 1e-4, name
        assert np.abs(model.near(model.text(words), model.looks(moved)) - near).max() > 1e-4, name


def test_what_was_asked_times_what_was_found_has_its_say(model: CrossModel) -> None:
    without = arrays()
    for i in range(2):
        without[f"layers.{i}.cross_attention.o.weight"][:, DIM:] = 0
    seen, words = looks(3), sentence(9)
    moved = asked(CrossModel(without, card()), words, seen) - asked(model, words, seen)
    assert np.abs(moved).max() > 1e-3


def test_what_is_not_known_is_not_read(model: CrossModel) -> None:
    seen = looks(3)
    other = replace(seen, p=np.where(seen.known, seen.p, 1 - seen.p))
    assert np.array_equal(model.looks(seen).tokens, model.looks(other).tokens)


def test_man_woman_and_child_are_not_read(model: CrossModel) -> None:
    own = list(members("person"))
    seen = looks(2)
    p, known = seen.p.copy(), seen.known.copy()
    p[:, own], known[:, own] = 0.99, ~known[:, own]
    assert own and "person" not in SEEN_GROUPS
    assert np.array_equal(model.looks(replace(seen, p=p, known=known)).tokens, model.looks(seen).tokens)


def test_vectors_are_of_unit_length_and_similarity_has_no_direction(model: CrossModel) -> None:
    # M-2
    shown, text = model.looks(looks(5)), model.text(sentence(4))
    assert shown.vectors.shape == shown.tokens.shape == (5, 9 + len(SEEN_GROUPS), DIM)
    assert text.vectors.shape == text.states.shape == (4, DIM)
    assert np.abs(np.linalg.norm(shown.vectors, axis=-1) - 1).max() < 1e-5
    assert np.abs(np.linalg.norm(text.vectors, axis=-1) - 1).max() < 1e-5
    assert text.counts.shape == (4,) and text.counts.min() > 0
    assert text.counts.sum() == pytest.approx(1, abs=1e-6)
    by_hand = [
        sum(c * max(float(w @ v) for v in look) for w, c in zip(text.vectors, text.counts, strict=True))
        for look in shown.vectors
    ]
    assert model.near(text, shown) == pytest.approx(by_hand, abs=1e-5)
    assert np.abs(model.near(text, shown)).max() <= 1
    # One word and one token: the same from either side.
    word, token = Read(text.states[:1], text.vectors[:1], np.ones(1)), shown.vectors[:1, :1]
    turned = Read(token[0], token[0], np.ones(1)), Seen(text.vectors[None, :1], text.vectors[None, :1])
    assert model.near(word, Seen(token, token)) == pytest.approx(model.near(*turned), abs=1e-6)
    itself = Seen(text.states[None], text.vectors[None])
    assert model.near(text, itself) == pytest.approx([1], abs=1e-5)


def test_words_beyond_the_last_token_are_not_read(model: CrossModel) -> None:
    long = sentence(MOST_TOKENS + 30)
    text, cut = model.text(long), model.text(long[:MOST_TOKENS])
    assert text.states.shape == text.vectors.shape == (MOST_TOKENS, DIM)
    assert text.counts.shape == (MOST_TOKENS,)
    shorter = model.text(long[: MOST_TOKENS - 1])
    for name in ("states", "vectors", "counts"):
        assert np.array_equal(getattr(text, name), getattr(cut, name))
    shown = model.looks(looks(3))
    assert not np.allclose(model.near(text, shown), model.near(shorter, shown), atol=1e-6)


def test_no_candidate_and_one(model: CrossModel) -> None:
    text = model.text(sentence(4))
    nobody = model.looks(some(looks(3), []))
    assert model.match(text, nobody, np.zeros(0)).shape == model.near(text, nobody).shape == (0,)
    assert nobody.vectors.shape == (0, 9 + len(SEEN_GROUPS), DIM)
    assert model.fill(sentence(4), [1], nobody).shape == (0, 1, len(WORDS))
    assert asked(model, sentence(1), looks(1)).shape == (1,)
    assert model.near(model.text(sentence(1)), model.looks(looks(1))).shape == (1,)
    assert model.text(sentence(1)).counts.tolist() == [1]


def test_the_words_of_a_blank_share_one_probability(model: CrossModel) -> None:
    said = model.fill(sentence(8), [2, 5], model.looks(looks(3)))
    assert said.shape == (3, 2, len(WORDS)) and model.words == WORDS
    assert np.abs(np.exp(said).sum(-1) - 1).max() < 1e-5


# C-2: the pose-aware block


def swapped(a: int, b: int, n: int = 9) -> list[int]:
    order = list(range(n))
    order[a], order[b] = b, a
    return order


def parts_in(n: int = 3) -> np.ndarray:
    return np.random.default_rng(8).normal(size=(n, 9, DIM)).astype(np.float32)


def test_without_its_projection_the_pose_changes_nothing() -> None:
    weights = arrays()
    for name in ("weight", "bias"):
        weights[f"pose_attention.o.{name}"][:] = 0
    parts = parts_in()
    found = CrossModel(weights, card())._pose_aware(parts, looks(3).geometry)
    assert found.shape == parts.shape and np.array_equal(found, parts)


def test_without_a_question_every_part_is_told_the_same() -> None:
    weights = arrays()
    for name in ("weight", "bias"):
        weights[f"pose_attention.q.{name}"][:] = 0
    parts = parts_in()
    added = CrossModel(weights, card())._pose_aware(parts, looks(3).geometry) - parts
    assert np.abs(added - added[:, :1]).max() < 1e-5 and np.abs(added).max() > 1e-2


def test_two_pose_tokens_change_places_and_so_does_what_they_are_told() -> None:
    weights, order = arrays(), swapped(2, 6)
    parts, pose = parts_in(), looks(3).geometry
    before = CrossModel(weights, card())._pose_aware(parts, pose) - parts
    weights["pose_out.weight"] = weights["pose_out.weight"].reshape(9, DIM, DIM)[order].reshape(-1, DIM)
    weights["pose_out.bias"] = weights["pose_out.bias"].reshape(9, DIM)[order].ravel()
    after = CrossModel(weights, card())._pose_aware(parts, pose) - parts
    assert np.abs(after - before[:, order]).max() < 1e-5
    assert np.abs(after - before).max() > 1e-3


def test_two_picture_tokens_change_places_and_nothing_else_does(model: CrossModel) -> None:
    parts, pose = parts_in(), looks(3).geometry
    before = model._pose_aware(parts, pose) - parts
    turned = parts[:, swapped(1, 7)]
    assert np.abs(model._pose_aware(turned, pose) - turned - before).max() < 1e-5


def test_a_pose_far_outside_is_held_at_six_deviations(model: CrossModel) -> None:
    far, farther = looks(2).geometry, looks(2).geometry
    far[:, 4], farther[:, 4] = 1e3, 1e6
    parts = parts_in(2)
    assert np.array_equal(model._pose_aware(parts, far), model._pose_aware(parts, farther))


# Files


def test_a_model_is_read_from_its_folder(tmp_path: Path, model: CrossModel) -> None:
    write(tmp_path, arrays(), card())
    found = CrossModel.load(tmp_path)
    seen, words, prior = looks(4), sentence(6), slots_say(4)
    a, b = (asked(m, words, seen, prior) for m in (found, model))
    assert a.shape == b.shape == (4,)
    assert np.abs(a - b).max() < 0.05  # large arrays are kept as float16
    assert found.id.startswith("cross-encoder:") and found.id != model.id == "cross-encoder:untrained"


def test_weights_that_the_card_does_not_describe_are_refused(tmp_path: Path) -> None:
    write(tmp_path, arrays(), card())
    path = tmp_path / "cross.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-3] ^= 1
    path.write_bytes(blob)
    with pytest.raises(ModelError, match="not those its card describes"):
        CrossModel.load(tmp_path)


@pytest.mark.parametrize(
    "broken", ["no weights", "no card", "cut weights", "card is no JSON", "card is a list"]
)
def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path, broken: str) -> None:
    write(tmp_path, arrays(), card())
    weights, told = tmp_path / "cross.safetensors", tmp_path / "cross.json"
    if broken == "no weights":
        weights.unlink()
    elif broken == "no card":
        told.unlink()
    elif broken == "cut weights":
        weights.write_bytes(weights.read_bytes()[:100])
    else:
        told.write_text("{" if broken == "card is no JSON" else "[1]")
    with pytest.raises(ModelError):
        CrossModel.load(tmp_path)


@pytest.mark.parametrize(
    ("weights", "told", "message"),
    [
        (arrays(), card(schema="other/1"), "other/1"),
        ({"text.weight": np.zeros((2, 2))}, card(), "not the weights"),
        (arrays(), {k: v for k, v in card().items() if k != "heads"}, "heads"),
    ],
)
def test_other_weights_and_other_facts_are_refused(
    weights: Mapping[str, np.ndarray], told: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        CrossModel(weights, told)


# What of an entry is looked at


def test_only_people_with_all_of_it_are_looked_at() -> None:
    whole = [entry(1), entry(2)]
    lacking = [
        entry(3, tokens=None), entry(4, facts=None), entry(5, views=()), entry(6, kind="moment"),
        entry(7, facts=Facts("other/1", np.zeros(3), np.zeros(3, bool))),
        entry(8, tokens=np.zeros((4, 8), np.int8)),
    ]  # fmt: skip
    ids, found = looks_of([lacking[0], whole[0], *lacking[1:], whole[1]])
    assert ids == ["e1", "e2"]
    assert np.array_equal(found.tokens, np.array([e.tokens for e in whole]))
    assert np.array_equal(found.geometry[0], geometry(whole[0].views[0].person, ()))
    assert looks_of(lacking)[0] == [] and len(looks_of(lacking)[1].tokens) == 0


# The stages


@dataclass
class Told:
    """A model whose odds and similarities are written on the first two tokens of each entry, in tenths."""

    def text(self, tokens: np.ndarray) -> np.ndarray:
        return tokens

    def looks(self, seen: Looks) -> np.ndarray:
        return seen.tokens

    def match(self, text: np.ndarray, seen: np.ndarray, prior: np.ndarray) -> np.ndarray:
        assert prior.shape == (len(seen),)
        out: np.ndarray = seen[:, 0, 0].astype(np.float64) / 10
        return out

    def near(self, text: np.ndarray, seen: np.ndarray) -> np.ndarray:
        out: np.ndarray = seen[:, 0, 1].astype(np.float64) / 10
        return out


def told_entry(i: int, odds: float, near: float, **changes: Any) -> Entry:
    tokens = np.zeros((9, 384), np.int8)
    tokens[0, :2] = round(odds * 10), round(near * 10)
    return entry(i, **{"tokens": tokens, **changes})


def told_stage(entries: Sequence[Entry], **options: Any) -> CrossStage:
    fake: Any = Told()
    return CrossStage(Shelf(entries), FakeWords(), model=fake, **options)


QUERY = Query("a man in red lying")


def test_the_score_is_the_match_and_a_little_of_the_similarity() -> None:
    # S5: matching decides, whatever the order before.
    entries = [told_entry(0, 2.0, 0.3), told_entry(1, 1.8, 0.5), told_entry(2, -6.0, 0.1)]
    found = told_stage(entries).rerank(QUERY, hits_of(entries[::-1]))
    assert [h.id for h in found] == ["e0", "e1", "e2"] and [h.rank for h in found] == [1, 2, 3]
    assert [h.stages["cross"] for h in found] == pytest.approx([2.0, 1.8, -6.0])
    assert all("coarse" in h.stages for h in found)
    # Equal matches: the similarity decides; with more weight it can overrule a match.
    even = [told_entry(0, 2.0, 0.3), told_entry(1, 2.0, 0.5), told_entry(2, -6.0, 0.1)]
    assert [h.id for h in told_stage(even).rerank(QUERY, hits_of(even))] == ["e1", "e0", "e2"]
    heavy = told_stage(entries, weight=0.1).rerank(QUERY, hits_of(entries))
    assert [h.id for h in heavy] == ["e1", "e0", "e2"]


def test_hits_beyond_n_stay_where_they_are_and_are_not_looked_up() -> None:
    # S6
    entries = [
        told_entry(0, 1.0, 0.1),
        told_entry(1, 2.0, 0.2),
        told_entry(2, 9.0, 0.9),
        told_entry(3, 8.0, 0.8),
    ]
    stage = told_stage(entries, n=2)
    found = stage.rerank(QUERY, hits_of(entries))
    assert [h.id for h in found] == ["e1", "e0", "e2", "e3"]
    assert ["cross" in h.stages for h in found] == [True, True, False, False]
    assert stage.shelf.asked == ["e0", "e1"]  # type: ignore[attr-defined]


def test_the_third_image_never_passes_one_with_a_larger_match_and_similarity() -> None:
    # S6, over every way to put three images before a gate of two.
    values = [(1.5, 0.2), (0.5, 0.4), (-2.0, 0.1)]
    for turn in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        entries = [told_entry(i, *values[i]) for i in turn]
        found = [h.id for h in told_stage(entries, n=2).rerank(QUERY, hits_of(entries))]
        scored = found[:2]
        assert found[2] == f"e{turn[2]}"
        assert scored == sorted(scored, key=lambda i: -values[int(i[1:])][0])


def test_what_cannot_be_scored_counts_as_the_worst_of_the_scored() -> None:
    entries = [
        entry(0, tokens=None),
        told_entry(1, -1.0, 0.2),
        entry(2, kind="moment", tokens=None),
        told_entry(3, 3.0, 0.1),
    ]
    found = told_stage(entries).rerank(QUERY, hits_of(entries))
    # e1 has the lowest match, and a similarity above the lowest.
    assert [h.id for h in found] == ["e3", "e1", "e0", "e2"]
    assert ["cross" in h.stages for h in found] == [True, True, False, False]
    worst = [entry(0, tokens=None), told_entry(1, -1.0, 0.1), told_entry(3, 3.0, 0.2)]
    assert [h.id for h in told_stage(worst).rerank(QUERY, hits_of(worst))] == ["e3", "e0", "e1"]


def test_fewer_than_two_that_can_be_scored_stay_in_their_order() -> None:
    lone = [entry(0, tokens=None), told_entry(1, 3.0, 0.1)]
    for entries in ([], lone[1:], lone):
        assert plain(told_stage(entries).rerank(QUERY, hits_of(entries))) == plain(hits_of(entries))
    two = [told_entry(0, 1.0, 0.1), told_entry(1, 3.0, 0.1)]
    for n in (0, 1):
        assert plain(told_stage(two, n=n).rerank(QUERY, hits_of(two))) == plain(hits_of(two))
    with pytest.raises(InputError, match="n"):
        told_stage(two, n=-1)


def test_an_entry_that_is_gone_keeps_its_hit() -> None:
    entries = [told_entry(0, 1.0, 0.1), told_entry(1, 2.0, 0.2), told_entry(2, 3.0, 0.3)]
    found = told_stage(entries[1:]).rerank(QUERY, hits_of(entries))
    assert sorted(h.id for h in found) == ["e0", "e1", "e2"] and found[0].id == "e2"


def test_the_stage_orders_as_the_whole_matrix_does(model: CrossModel) -> None:
    entries = [entry(i) for i in range(12)]
    query = parse("someone in a red jacket falls down the stairs")
    found = CrossStage(Shelf(entries), FakeWords(), model=model).rerank(query, hits_of(entries))
    seen = looks_of(entries)[1]
    text, shown, prior = (
        model.text(FakeWords().tokens([query.text])[0]),
        model.looks(seen),
        prior_of(query, seen),
    )
    odds, near = model.match(text, shown, prior), model.near(text, shown)
    scores = two_stage(odds[None], near[None])[0]
    assert [h.id for h in found] == [f"e{i}" for i in np.argsort(-scores, kind="stable")]
    assert {h.id: h.stages["cross"] for h in found} == {f"e{i}": o for i, o in enumerate(odds.tolist())}
    # The stage tells the network what the slots say.
    assert np.ptp(prior) > 1e-2
    unread = CrossStage(Shelf(entries), FakeWords(), model=model).rerank(Query(query.text), hits_of(entries))
    bare = model.match(text, shown, np.zeros(12))
    assert {h.id: h.stages["cross"] for h in unread} == {f"e{i}": o for i, o in enumerate(bare.tolist())}
    assert np.abs(odds - bare).max() > 1e-2
    again = CrossStage(Shelf(entries), FakeWords(), model=model).rerank(query, hits_of(entries))
    assert plain(found) == plain(again)


# The cloze head as a witness

TEXT = "a man in a red jacket is lying on the ground"


def test_a_masked_sentence_is_cut_at_its_blanks() -> None:
    cloze = generate(TEXT)
    parts = parts_of(cloze.masked, cloze.blanks)
    assert len(parts) == len(cloze.blanks) + 1 == 3
    assert parts[0].rstrip() == "a man in a" and parts[2].lstrip() == "on the ground"
    assert parts_of("no blank", ()) == ["no blank"]


def test_the_likeliest_word_is_said_if_it_is_likely_enough(model: CrossModel) -> None:
    cloze, words = generate(TEXT), FakeWords()
    tokens, places = words.blanked(parts_of(cloze.masked, cloze.blanks), MOST_TOKENS)
    likely = np.exp(model.fill(tokens, places, model.looks(looks_of([entry(1)])[1])))[0]
    every = CrossWitness(model, words, least=0.0)
    assert every.fill(cloze.masked, cloze.blanks, entry(1)) == [WORDS[int(r.argmax())] for r in likely]
    nothing = CrossWitness(model, words, least=1.01)
    assert nothing.fill(cloze.masked, cloze.blanks, entry(1)) == [UNKNOWN, UNKNOWN]
    low, high = sorted(r.max() for r in likely)
    assert high - low > 1e-3
    between = CrossWitness(model, words, least=float(low + high) / 2)
    said = between.fill(cloze.masked, cloze.blanks, entry(1))
    assert [isinstance(s, Unknown) for s in said] == [r.max() == low for r in likely]
    assert every.id != nothing.id


def test_what_has_no_tokens_leaves_every_blank_unknown(model: CrossModel) -> None:
    cloze, witness = generate(TEXT), CrossWitness(model, FakeWords(), least=0.0)
    for shown in (None, entry(1, tokens=None), entry(1, facts=None), entry(1, kind="moment")):
        assert witness.fill(cloze.masked, cloze.blanks, shown) == [UNKNOWN, UNKNOWN]
    assert witness.fill("a man", (), entry(1)) == []
    wordless = CrossModel(arrays(), card(words=[]))
    assert CrossWitness(wordless, FakeWords(), 0.0).fill(cloze.masked, cloze.blanks, entry(1)) == [
        UNKNOWN,
        UNKNOWN,
    ]


def test_many_are_asked_as_one_is(model: CrossModel) -> None:
    cloze, witness = generate(TEXT), CrossWitness(model, FakeWords(), least=0.0)
    shown = [entry(1), None, entry(2, tokens=None), entry(3), entry(1)]
    found = [s.fills for s in witness.fill_all(cloze.masked, cloze.blanks, shown)]
    assert found == [witness.fill(cloze.masked, cloze.blanks, e) for e in shown]
    assert witness.fill_all(cloze.masked, cloze.blanks, []) == []


def test_blanks_beyond_the_last_token_stay_unknown(model: CrossModel) -> None:
    cloze = generate("a man in a red jacket " + "near the old tree " * 30 + "is lying on the ground")
    said = CrossWitness(model, FakeWords(), least=0.0).fill(cloze.masked, cloze.blanks, entry(1))
    assert len(said) == len(cloze.blanks) >= 2
    assert said[0] in WORDS and said[-1] is UNKNOWN


def test_the_cloze_stage_takes_the_head_as_its_witness(model: CrossModel) -> None:
    entries = [entry(i) for i in range(4)]
    shelf = Shelf(entries)
    witness = CrossWitness(model, FakeWords(), least=0.0)
    stage = ClozeStage(witness, lambda hit: shelf.get_many([hit.id])[0], name="blanks")
    found = stage.rerank(Query(TEXT), hits_of(entries))
    assert sorted(h.id for h in found[:3]) == ["e0", "e1", "e2"] and found[3].id == "e3"
    assert all(len([e for e in h.reason.evidence if e.stage == "blanks"]) == 2 for h in found[:3])


def test_the_card_of_a_written_model_tells_its_hash_and_size(tmp_path: Path) -> None:
    path = write(tmp_path, arrays(), card())
    told = json.loads(path.read_text())
    assert told["bytes"] == (tmp_path / "cross.safetensors").stat().st_size
    assert len(told["blake2b"]) == 32 and told["words"] == WORDS
