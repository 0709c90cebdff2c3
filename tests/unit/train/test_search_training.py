"""Training the small cross-encoder: recipes, batches, runs that stop and go on, and the toy that must be learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from oddwatch.core import Box, Frame, InputError, Query
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID, members
from oddwatch.describe.sentence import parse
from oddwatch.metrics.retrieval import ranks_of
from oddwatch.search.cross import SEEN_GROUPS, CrossModel, Looks, looks_of, prior_of
from oddwatch.train.pairs import Pairs, fingerprint
from oddwatch.train.recipe import Recipe, Shape, Weights, read_recipe, recipes
from oddwatch.train.search import (
    VALIDATION,
    VALIDATION_TWINS,
    asked_rows,
    looks_at,
    scores_of,
    train_search,
    validate,
)
from oddwatch.train.texts import Texts, atom_words, encode_texts, read

COLORS = ("red", "blue", "green", "white", "black", "yellow", "brown", "grey")
GEOMETRY = 12
SMALL = Shape(dim=16, heads=2, layers=2)


def said(color: str, abnormal: bool) -> tuple[str, ...]:
    doing = "lying on the ground" if abnormal else "walking along"
    short = (f"a man in {color} {doing}", f"someone in a {color} jacket {doing}")
    return (*short, *(f"{s} in the middle of a wide and empty street at night" for s in short))


def made(videos: int = 8, seed: int = 3) -> Pairs:
    """Twins of random tokens: one video a colour, its first picture normal and its second not."""
    rng = np.random.default_rng(seed)
    n = 2 * videos
    tokens = rng.normal(size=(n, 9, 384))
    tokens /= np.linalg.norm(tokens, axis=-1, keepdims=True)
    abnormal = np.arange(n) % 2 == 1
    return Pairs(
        np.round(tokens * 127).astype(np.int8),
        rng.normal(size=(n, GEOMETRY)).astype(np.float32),
        rng.random((n, len(ATOMS))).astype(np.float32),
        rng.random((n, len(ATOMS))) > 0.6,
        tuple(said(COLORS[i // 2 % len(COLORS)], bool(abnormal[i])) for i in range(n)),
        np.arange(n) // 2 + 40,
        abnormal,
        ({},) * n,
    )


def small(**changes: Any) -> Recipe:
    values = {"epochs": 3, "batch": 4, "lr": 3e-3, "warmup": 2, "patience": 9, "model": SMALL, **changes}
    return Recipe("small", **values)


def run(out: Path, recipe: Recipe, data: Pairs | None = None, **more: Any) -> dict[str, Any]:
    pytest.importorskip("torch")
    path = train_search(recipe, out, data=made() if data is None else data, threads=1, **more)
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def weights(out: Path) -> bytes:
    return (out / "cross.safetensors").read_bytes()


# Recipes


def test_the_packaged_recipes_are_read() -> None:
    assert {"cross", "cmp", "hfut-lmc"} <= set(recipes())
    for name in ("cross", "cmp", "hfut-lmc"):
        found = read_recipe(name)
        assert found.name == name and found.paper
    cmp, hfut = read_recipe("cmp"), read_recipe("hfut-lmc")
    assert cmp.model.pose and not cmp.model.facts and cmp.losses.hard > 0 and cmp.schedule == "step"
    assert hfut.then == ("sca-s",) and hfut.losses.hard == 0 and hfut.losses.mlm == 0 and not hfut.model.pose
    assert read_recipe("cross").model.facts


def test_a_recipe_of_ones_own_says_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nepochs = 3\n[model]\ndim = 64\n[losses]\nmlm = 0.0\n')
    found = read_recipe(str(path))
    assert found == Recipe("mine", epochs=3, model=Shape(dim=64), losses=Weights(mlm=0.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\nepoch = 3\n', "epoch"),
        ('name = "x"\n[model]\nwidth = 3\n', "width"),
        ('name = "x"\n[losses]\nsdm = 3\n', "sdm"),
        ("epochs = 3\n", "name"),
        ('name = "x\n', "cannot be read"),
        ('name = "x"\nmodel = 3\n', "cannot be read"),
        ('name = "x"\nepochs = "ten"\n', "cannot be read"),
        ('name = "x"\nepochs = 0\n', "epochs"),
        ('name = "x"\nbatch = 1\n', "batch"),
        ('name = "x"\nschedule = "cosine"\n', "linear or step"),
        (b'name = "\xff"\n', "cannot be read"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read_recipe(str(path))


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one of .*cross, hfut-lmc"):
        read_recipe("no-such-recipe")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(str(tmp_path / "no.toml"))


# Captions and batches


class Counting:
    """A sentence encoder that tells how many words a sentence has."""

    def tokens(self, texts: list[str], most: int) -> list[np.ndarray]:
        return [np.full((len(t.split()) + 1, 384), i, np.float32) for i, t in enumerate(texts)]

    def blanked(self, parts: list[str], most: int) -> tuple[np.ndarray, list[int]]:
        words = " [MASK] ".join(parts).split()
        return np.zeros((len(words) + 1, 384), np.float32), [
            i for i, w in enumerate(words, 1) if w == "[MASK]"
        ]


def test_every_caption_belongs_to_its_picture() -> None:
    data = made(3)
    texts = encode_texts(data, Counting(), cloze=False)
    assert len(texts.text) == len(texts.tokens) == 24
    for i, text, tokens in zip(texts.picture, texts.text, texts.tokens, strict=True):
        assert text in data.captions[i]
        assert len(tokens) == len(text.split()) + 1 and tokens.dtype == np.float16
    assert texts.vocabulary == [] and texts.blanked == []


def test_every_caption_is_read_as_the_search_would_read_it(tmp_path: Path) -> None:
    data = made(3)
    texts = encode_texts(data, Counting(), False, None, tmp_path)
    assert texts.queries == [parse(t) for t in texts.text] and all(q.slots for q in texts.queries)
    again = encode_texts(data, Counting(), False, None, tmp_path)  # from the store
    assert again.text == texts.text and again.queries == texts.queries


def test_a_caption_that_the_parser_refuses_says_nothing() -> None:
    endless = "a man in red " * 1000
    with pytest.raises(InputError):
        parse(endless)
    assert read(endless, None) == Query(endless) and read("a man in red", None) == parse("a man in red")
    data = replace(made(1), captions=((endless,), ("a man in red",)))
    data.known[:] = True
    texts = encode_texts(data, Counting(), False)
    prior = texts.priors(np.array([0, 1]), looks_at(data))
    assert not prior[0].any() and prior[1].any()


def test_priors_are_what_the_slots_of_each_caption_say_of_each_look() -> None:
    data = made(4)
    texts = encode_texts(data, Counting(), False)
    rows, looks = np.array([5, 0, 17]), looks_at(data, np.array([3, 1]))
    prior = texts.priors(rows, looks)
    assert prior.shape == (3, 2) and prior.dtype == np.float32
    for row, found in zip(rows, prior, strict=True):
        assert np.abs(found - prior_of(parse(texts.text[row]), looks)).max() < 1e-6
    assert len(np.unique(prior)) == 6
    assert np.array_equal(looks.p, data.p[[3, 1]]) and np.array_equal(looks_at(data).p, data.p)


def test_facts_are_named_by_their_words_as_they_are_said() -> None:
    from oddwatch.pipeline.models import Models

    encoder = Models(threads=1).sentence
    found = atom_words(encoder)
    assert found.shape == (len(ATOMS), 384) and np.isfinite(found).all()
    # "red" of a jacket and "red" of shoes are said of other things; "lying" is yet another word.
    upper, feet, lying = (found[INDEX[a]] for a in ("upper.color.red", "feet.color.red", "posture.lying"))
    assert np.abs(upper - feet).max() > 0.05 and np.abs(upper - lying).max() > 0.05
    assert cosine(upper, feet) > cosine(upper, lying) + 0.1
    # [CLS] a person with a red jacket [SEP]
    (said, doing) = encoder.tokens(["a person with a red jacket", "a person lying"])
    assert np.abs(said[5] - upper).max() < 1e-5 and np.abs(doing[3] - lying).max() < 1e-5
    (waved,) = encoder.tokens(["a person hand to head"])  # of several words their mean
    assert np.abs(waved[3:6].mean(axis=0) - found[INDEX["arms.hand_to_head"]]).max() < 1e-5
    # A network that knows them tells the words of one group from each other.
    for group in SEEN_GROUPS:
        own = found[list(members(group))]
        apart = np.abs(own[:, None] - own[None]).max(axis=-1)
        assert (apart[~np.eye(len(own), dtype=bool)] > 0.05).all(), group


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_hidden_words_stand_where_the_masks_are() -> None:
    texts = encode_texts(made(3), Counting(), cloze=True)
    assert len(texts.blanked) == len(texts.text)
    assert {"red", "blue", "green", "lying", "walking"} <= set(texts.vocabulary)
    hidden = 0
    for text, blanked, places, numbers in zip(
        texts.text, texts.blanked, texts.places, texts.words, strict=True
    ):
        if places:
            words = text.split()
            assert [words[p - 1] for p in places] == [texts.vocabulary[w] for w in numbers]
            assert len(blanked) == len(words) + 1
            hidden += 1
    assert hidden >= len(texts.text) // 2


def test_encoded_captions_are_kept_for_the_same_data(tmp_path: Path) -> None:
    data = made(3)
    first = encode_texts(data, Counting(), True, None, tmp_path)
    nothing: Any = None
    again = encode_texts(data, nothing, True, None, tmp_path)
    assert (again.text, again.places, again.words, again.vocabulary) == (
        first.text, first.places, first.words, first.vocabulary,
    )  # fmt: skip
    assert np.array_equal(first.picture, again.picture)
    for name in ("tokens", "blanked"):
        pairs = list(zip(getattr(first, name), getattr(again, name), strict=True))
        assert all(a.size == b.size and np.array_equal(a.ravel(), b.ravel()) for a, b in pairs) and pairs
    plain = encode_texts(data, Counting(), False, None, tmp_path)
    assert plain.blanked == encode_texts(data, nothing, False, None, tmp_path).blanked == []
    with pytest.raises(AttributeError):
        encode_texts(made(4), nothing, True, None, tmp_path)


def test_a_batch_holds_whole_videos_and_one_caption_of_each_picture() -> None:
    data = made(7)
    texts = encode_texts(data, Counting(), False)
    batches = texts.batches(data, 4, np.random.default_rng(1))
    assert len(batches) == 2 * (14 // 4) and all(len(b) == 4 for b in batches)
    for rows in batches:
        pictures = texts.picture[rows]
        assert len(set(pictures.tolist())) == 4
        for p in pictures.tolist():
            assert p ^ 1 in pictures  # the other state of the same video


def test_an_epoch_takes_the_shorter_captions_once_and_the_longer_ones_once() -> None:
    data = made(4)
    texts = encode_texts(data, Counting(), False)
    batches = texts.batches(data, 8, np.random.default_rng(1))
    lengths = [{"night" in texts.text[i] for i in rows} for rows in batches]
    assert sorted(map(sorted, lengths)) == [[False], [True]]
    for rows in batches:
        assert sorted(texts.picture[rows].tolist()) == list(range(8))
    again = texts.batches(data, 8, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    others = [texts.batches(data, 8, np.random.default_rng(s)) for s in range(2, 6)]
    assert any(not np.array_equal(batches[0], o[0]) for o in others)


def test_pictures_with_one_caption_and_videos_with_one_state_take_part() -> None:
    data = made(3)
    bare = replace(
        data.rows(np.array([0, 1, 2, 4])), captions=(("a",), ("b c", "d"), ("e",), ("f", "g h", "i j k"))
    )
    texts = encode_texts(bare, Counting(), False)
    batches = texts.batches(bare, 4, np.random.default_rng(0))
    assert [sorted(texts.picture[b].tolist()) for b in batches] == [[0, 1, 2, 3]] * 2
    seen = {
        texts.text[i] for _ in range(30) for b in texts.batches(bare, 4, np.random.default_rng(_)) for i in b
    }
    assert seen == {"a", "b c", "d", "e", "f", "g h", "i j k"}


# Runs


def test_a_run_is_a_function_of_recipe_data_and_seed(tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, small()) for name in "ab")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert one["log"] == two["log"] and len(one["log"]) == 3
    assert {"itc", "itm", "hard", "mlm"} <= set(one["log"][0])
    run(tmp_path / "c", small(seed=9))
    assert weights(tmp_path / "c") != weights(tmp_path / "a")


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", small())
    told = run(tmp_path / "parts", small(), seconds=0)
    assert len(told["log"]) == 1 and (tmp_path / "parts" / "resume.pt").exists()
    CrossModel.load(tmp_path / "parts")  # what there is can be used meanwhile
    for epochs in (2, 3):
        told = run(tmp_path / "parts", small(), seconds=0)
        assert len(told["log"]) == epochs
    assert told["log"] == whole["log"] and told["sum"] == whole["sum"]
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    assert not (tmp_path / "parts" / "resume.pt").exists()


def test_a_run_of_another_recipe_or_on_other_data_is_not_gone_on_with(tmp_path: Path) -> None:
    run(tmp_path, small(), seconds=0)
    before = weights(tmp_path)
    with pytest.raises(InputError, match="another recipe"):
        run(tmp_path, small(lr=1e-3), seconds=0)
    with pytest.raises(InputError, match="other data"):
        run(tmp_path, small(), made(8, seed=4), seconds=0)
    assert weights(tmp_path) == before and (tmp_path / "resume.pt").exists()
    (tmp_path / "resume.pt").unlink()
    assert len(run(tmp_path, small(lr=1e-3), seconds=0)["log"]) == 1


def test_what_a_run_writes_is_described_and_can_be_loaded(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    told = run(tmp_path, small(), progress=lambda *step: steps.append(step))
    model = CrossModel.load(tmp_path)
    assert model.words == told["words"] and "lying" in model.words
    assert told["schema"] == SCHEMA_ID and told["pairs"] == 56 and told["pictures"] == 14
    assert told["recipe"]["name"] == "small" and told["validation"]["pictures"] == 2
    assert told["validation"]["surprise"] == min(row["surprise"] for row in told["log"])
    assert told["bytes"] == len(weights(tmp_path)) and len(told["data_hash"]) == 24
    assert ("epoch 3 of 3", 6, 6) in steps
    assert set(told["sum"]) == {"facts", "cross"} and all(0 <= w <= 20 for w in told["sum"].values())
    seen = model.looks(looks_at(made()))
    assert np.abs(np.linalg.norm(seen.vectors, axis=-1) - 1).max() < 1e-5


def test_a_run_learns_what_it_is_shown(tmp_path: Path) -> None:
    log = run(tmp_path, small(epochs=14, patience=14, model=replace(SMALL, dim=32)))["log"]
    assert log[-1]["itm"] < 0.8 * log[0]["itm"] and log[-1]["itc"] < log[0]["itc"]


def test_training_stops_when_patience_ends(tmp_path: Path) -> None:
    told = run(tmp_path, small(epochs=30, patience=2, lr=1e-12))
    assert [row["epoch"] for row in told["log"]] == [1, 2, 3]
    assert not (tmp_path / "resume.pt").exists()


def test_losses_that_are_switched_off_are_not_computed(tmp_path: Path) -> None:
    off = small(epochs=1, losses=Weights(hard=0, mlm=0), model=replace(SMALL, pose=False, facts=False))
    told = run(tmp_path, off)
    assert not {"hard", "mlm"} & set(told["log"][0]) and told["words"] == []
    assert not [n for n in CrossModel.load(tmp_path)._w if n.startswith(("pose", "facts", "cloze"))]


def test_without_facts_neither_facts_nor_slots_are_learnt_from(tmp_path: Path) -> None:
    data = made()
    other = replace(data, p=1 - data.p, known=~data.known)
    for facts in (False, True):
        recipe = small(epochs=1, model=replace(SMALL, facts=facts))
        one, two = tmp_path / f"one-{facts}", tmp_path / f"two-{facts}"
        run(one, recipe, data)
        run(two, recipe, other)
        assert (weights(one) != weights(two)) == facts


def test_a_step_asks_of_every_pair_with_what_its_slots_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from oddwatch.train import losses
    from oddwatch.train.search import _Run

    data = made()
    texts = encode_texts(data, Counting(), False)
    names = np.random.default_rng(0).normal(size=(len(ATOMS), 384)).astype(np.float32)
    recipe = small(losses=Weights(mlm=0))
    one = _Run(recipe, data, texts, data, texts, tmp_path, torch, names)
    assert np.abs(one.net.facts_atom.norm(dim=1).detach().numpy() - 0.5).max() < 1e-5  # they are named
    seen: dict[str, Any] = {}
    draw, match = losses.itm_pairs, one.net.match

    def drawn(logits: Any, ids: Any) -> Any:
        seen["logits"], seen["pairs"] = logits.detach().numpy(), draw(logits, ids)
        return seen["pairs"]

    def matched(read: Any, keep: Any, looks: Any, near: Any, prior: Any) -> Any:
        seen["near"], seen["prior"] = near.detach().numpy(), prior.numpy()
        return match(read, keep, looks, near, prior)

    monkeypatch.setattr(losses, "itm_pairs", drawn)
    monkeypatch.setattr(one.net, "match", matched)
    temperature, weight = float(one.net.temperature.detach()), float(one.net.itm_prior.detach())
    rows = texts.batches(data, recipe.batch, np.random.default_rng(0))[0]
    one._step(rows)
    slots = texts.priors(rows, looks_at(data, texts.picture[rows]))  # sentences by looks
    pairs, n = seen["pairs"], len(seen["pairs"])
    text, image = pairs.text.numpy(), pairs.image.numpy()
    assert np.abs(seen["prior"][:n] - slots[text, image]).max() < 1e-6
    assert np.abs(slots - slots.T).max() > 1e-2
    near = temperature * (seen["logits"] - weight * slots.T)  # what is left is the gate's
    assert np.abs(seen["near"][:n] - near[image, text]).max() < 1e-4
    # Then the opposite states of each video: a picture with its twin's sentence.
    place = {int(p): i for i, p in enumerate(texts.picture[rows])}
    hard = [slots[i, place[p ^ 1]] for p, i in place.items()]
    assert len(seen["prior"]) == n + len(hard) and seen["prior"][n:].tolist() == pytest.approx(hard, abs=1e-6)


def test_pictures_without_a_twin_can_be_learnt_from(tmp_path: Path) -> None:
    data = made()
    told = run(tmp_path, small(epochs=1), data.rows(np.flatnonzero(~data.abnormal)))
    assert "hard" not in told["log"][0] and "own twin first" not in told["log"][0]
    assert json.loads((tmp_path / "cross.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("recipe", "data", "message"),
    [
        (small(), lambda: made(1), "two or more videos"),
        (small(batch=96), made, "192 pictures"),
        (small(), lambda: replace(made(), captions=(*made().captions[:-1], ())), "caption"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, recipe: Recipe, data: Callable[[], Pairs], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path, recipe, data())
    assert not (tmp_path / "cross.safetensors").exists()


# Validation


class Oracle:
    """Knows which picture a caption belongs to: its tokens hold the picture's number. ``slots`` adds what it is told."""

    facts = True

    def __init__(self, slots: float = 0.0) -> None:
        self.slots = slots

    def looks(self, seen: Looks) -> np.ndarray:
        out: np.ndarray = seen.geometry[:, 0]
        return out

    def text(self, tokens: np.ndarray) -> np.ndarray:
        return tokens

    def match(self, text: np.ndarray, seen: np.ndarray, prior: np.ndarray) -> np.ndarray:
        out: np.ndarray = -np.abs(seen - text[0, 0]) + self.slots * prior
        return out


@pytest.mark.parametrize("counts", [[4] * 6, [1] * 6, [1, 5, 2, 1, 3, 2]])
def test_each_picture_is_asked_for_by_a_caption_of_its_own(counts: list[int]) -> None:
    data, texts = numbered(counts)
    fake: Any = Oracle()
    told = validate(fake, data, texts)
    assert (told["R@1"], told["R@5"], told["sum R@1"], told["own twin first"]) == (100.0, 100.0, 100.0, 1.0)
    assert told["surprise"] < 0.01
    rows = asked_rows(data, texts)
    assert texts.picture[rows].tolist() == list(range(6))
    assert [texts.tokens[r][0, 0] for r in rows] == list(range(6))
    data.geometry[:, 0] = np.arange(6)[::-1]
    assert validate(fake, data, texts)["R@1"] == 0.0


def numbered(counts: list[int]) -> tuple[Pairs, Texts]:
    """Six pictures with their number as the first of the pose, and as many captions of each as ``counts`` with that number."""
    data = made(3)
    data = replace(data, captions=tuple(("x",) * n for n in counts))
    data.geometry[:, 0] = np.arange(6)
    picture = np.repeat(np.arange(6), counts)
    tokens = [np.full((1, 1), p, np.float16) for p in picture]
    return data, Texts(picture, ["x"] * len(picture), tokens, queries=[Query("x")] * len(picture))


def test_validation_asks_with_what_the_slots_of_the_caption_say() -> None:
    data, texts = numbered([2] * 6)
    texts.queries = [parse(f"a man in a {c} jacket") for c in (*COLORS, *COLORS[:4])]
    fake: Any = Oracle(slots=100)
    scores, rows = scores_of(fake, data, texts), asked_rows(data, texts)
    prior = texts.priors(np.array(rows), looks_at(data))
    far = np.abs(np.arange(6)[:, None] - np.arange(6))
    assert np.abs(scores - (100 * prior - far)).max() < 1e-4 and np.ptp(prior, axis=1).min() > 1e-2


def test_captions_of_either_length_are_asked_for_of_either_state() -> None:
    data = made(4)
    texts = encode_texts(data, Counting(), False)
    long = ["night" in texts.text[r] for r in asked_rows(data, texts)]
    assert {(bool(a), n) for a, n in zip(data.abnormal, long, strict=True)} == {
        (False, False), (False, True), (True, False), (True, True),
    }  # fmt: skip


def test_people_are_validated_in_other_words_than_are_learnt_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[tuple[int, int, str]] = []

    def shards(folder: Path, seed: int, twins: int, family: str, *more: Any) -> tuple[int, int, str]:
        jobs.append((seed, twins, family))
        return jobs[-1]

    def read(job: tuple[int, int, str]) -> Pairs:
        found = made(8, seed=job[0])
        return replace(found, captions=tuple((f"family {job[2]}", *own) for own in found.captions))

    monkeypatch.setattr("oddwatch.train.pairs.shards", shards)
    monkeypatch.setattr("oddwatch.train.pairs.read", read)
    pytest.importorskip("torch")
    told = json.loads(train_search(small(epochs=1, twins=8, seed=5), tmp_path, threads=1).read_text())
    assert jobs == [(5, 8, "A"), (5 + VALIDATION, VALIDATION_TWINS, "B")]
    assert told["data_hash"] == fingerprint(read((5, 8, "A"))) and told["validation"]["pictures"] == 16


# C-8: the toy that must be learnt

PAINT = {"red": (200, 30, 30), "blue": (30, 60, 200), "green": (30, 150, 50), "yellow": (230, 200, 40)}


def stick_figure(color: str, lying: bool) -> Frame:
    """A coloured stick figure on a grey ground, upright or turned by a right angle."""
    picture = Image.new("RGB", (224, 224), (150, 150, 150))
    draw = ImageDraw.Draw(picture)
    paint = PAINT[color]
    draw.ellipse((94, 20, 130, 56), fill=paint)
    for line in (
        (112, 56, 112, 130),
        (112, 74, 76, 110),
        (112, 74, 148, 110),
        (112, 130, 86, 200),
        (112, 130, 138, 200),
    ):
        draw.line(line, fill=paint, width=14)
    return Frame(np.asarray(picture.rotate(90) if lying else picture), f"{color}/{lying}")


def test_eight_stick_figures_are_told_apart_by_colour_and_doing() -> None:
    torch = pytest.importorskip("torch")
    from oddwatch.bench.subjects import packaged_looker
    from oddwatch.pipeline.models import Models
    from oddwatch.train.crossnet import CrossNet, arrays_of
    from oddwatch.train.search import _Batcher

    models = Models(threads=1)
    look = packaged_looker(models)
    shown = [(c, lying) for c in PAINT for lying in (False, True)]
    entries = [
        replace(
            look(stick_figure(c, lying), Box(20, 66, 206, 158) if lying else Box(66, 18, 158, 206))[0],
            id=str(i),
        )
        for i, (c, lying) in enumerate(shown)
    ]
    ids, seen = looks_of(entries)
    assert ids == [str(i) for i in range(8)]
    doing = [f"a {c} figure {'lying on the ground' if lying else 'standing upright'}" for c, lying in shown]
    nothing = [f"a {c} figure" for c, _ in shown]
    data = Pairs(
        seen.tokens, seen.geometry, seen.p, seen.known, tuple(zip(doing, nothing, strict=True)),
        np.arange(8) // 2, np.arange(8) % 2 == 1, ({},) * 8,
    )  # fmt: skip
    texts = encode_texts(data, models.sentence, False)
    batcher = _Batcher(data, texts, torch)

    # Every caption against every picture; a caption that tells no doing fits both of its colour. Without facts, which
    # would tell the eight apart by themselves: the tokens decide, and what the slots say is not listened to.
    torch.manual_seed(0)
    net = CrossNet(data.geometry, dim=32, heads=4, facts=False, drop=0.0)
    tokens, keep = batcher.padded(texts.tokens)
    own = texts.picture[:, None] == np.arange(8)
    both = texts.picture[:, None] // 2 == np.arange(8) // 2
    told = np.array([text in doing for text in texts.text])
    fits = torch.from_numpy(np.where(told[:, None], own, both).astype(np.int64).ravel())
    text_of, image_of = (torch.from_numpy(i.ravel()) for i in np.indices((16, 8)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    prior = torch.from_numpy(texts.priors(np.arange(16), seen)).ravel()
    assert prior.any()
    for _ in range(200):
        states, words, counts = net.encode_text(tokens, keep)
        looked, answers = net.encode_looks(*batcher.looks(np.arange(8)))
        near = net.near(words, counts, answers)[image_of, text_of]
        logits = net.match(net.read(states, keep)[text_of], keep[text_of], looked[image_of], near, prior)
        loss = torch.nn.functional.cross_entropy(logits, fits, weight=torch.tensor([1.0, 5.0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model = CrossModel(
        arrays_of(net), {"schema": SCHEMA_ID, "heads": 4, "layers": 2, "pose": True, "facts": False}
    )
    pictures = model.looks(seen)
    tokens_of = {text: t.astype(np.float32) for text, t in zip(texts.text, texts.tokens, strict=True)}

    def scores(captions: list[str]) -> np.ndarray:
        slots = [prior_of(parse(c), seen) for c in captions]
        asked = [model.text(tokens_of[c]) for c in captions]
        return np.array([model.match(t, pictures, p) for t, p in zip(asked, slots, strict=True)])

    def first(table: np.ndarray) -> float:
        return 100 * float(ranks_of(table, range(8), range(8)).hits(1).mean())

    with_doing, without = scores(doing), scores(nothing)
    assert first(with_doing) == 100 and first(with_doing.T) == 100
    # Two captions of one colour are one and the same now, so of their two pictures the same one is first.
    assert first(without) == 50
    # A picture cannot tell its caption from its twin's: ties against the system, and broken at random.
    assert first(without.T) == 0
    rng = np.random.default_rng(0)
    broken = [first(without.T + rng.random((8, 8)) * 1e-9) for _ in range(200)]
    assert np.mean(broken) == pytest.approx(50, abs=5)
