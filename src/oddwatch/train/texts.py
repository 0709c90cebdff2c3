"""Captions as frozen tokens, as written and with their doing and colour words hidden, in batches of whole videos."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from oddwatch.core import InputError, Progress, Query
from oddwatch.describe.atoms import ATOMS
from oddwatch.describe.sentence import parse
from oddwatch.search.cloze import generate
from oddwatch.search.cross import MOST_TOKENS, Looks, parts_of, prior_of
from oddwatch.train import pairs as drawn
from oddwatch.train.augment import replace_synonyms, synonyms
from oddwatch.train.pairs import Pairs

RAREST = 20
"""A hidden word must be seen this often to be in the cloze head's vocabulary."""
MOST_BLANKS = 6


NOUNS = {
    "upper": "jacket", "lower": "trousers", "feet": "shoes", "hair": "hair", "head": "hat", "bag": "bag",
    "place.color": "background",
}  # fmt: skip
"""What the words of a group of facts are said of, where that is a thing and not the person."""


def atom_words(encoder: Any) -> np.ndarray:
    """(A, 384) frozen tokens of every atom's words as said in a sentence: of *red* in "a person with a red jacket"."""
    said = []
    for atom in ATOMS:
        group, _, value = atom.rpartition(".")
        noun = NOUNS.get(group, NOUNS.get(group.partition(".")[0], ""))
        tail = f" {noun}" if noun and not group.endswith(("wear", "type")) else ""
        said.append(("a person with a" if tail else "a person", value.replace("_", " "), tail))
    whole = encoder.tokens(["".join((head, " ", value, tail)) for head, value, tail in said])
    # [CLS] and the words before come first; [SEP] and the words after last.
    first = [len(t) - 1 for t in encoder.tokens([head for head, _, _ in said])]
    last = [len(t) - 2 for t in encoder.tokens([tail for _, _, tail in said])]
    rows = [w[a : len(w) - 1 - b] for w, a, b in zip(whole, first, last, strict=True)]
    return np.array([row.mean(axis=0) for row in rows])


@dataclass(slots=True, eq=False)
class Texts:
    """The captions of :class:`Pairs` as frozen tokens. Caption i belongs to picture ``picture[i]``; ``blanked`` are its
    tokens with doing and colour words hidden, ``places`` and ``words`` (numbers in ``vocabulary``) what is hidden; ``queries`` what the parser reads in them."""

    picture: np.ndarray
    text: list[str]
    tokens: list[np.ndarray]
    blanked: list[np.ndarray] = field(default_factory=list)
    places: list[list[int]] = field(default_factory=list)
    words: list[list[int]] = field(default_factory=list)
    vocabulary: list[str] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)

    def sample(self, count: int, seed: int) -> np.ndarray:
        """At most ``count`` (K, 384) float32 token vectors of random captions, without [CLS] and [SEP]."""
        order = np.random.default_rng(seed).permutation(len(self.tokens))
        picked, n = [], 0
        for i in order:
            if n >= count:
                break
            picked.append(self.tokens[i][1:-1])
            n += len(picked[-1])
        return np.concatenate(picked)[:count].astype(np.float32)

    def priors(self, rows: np.ndarray, looks: Looks) -> np.ndarray:
        """(R, N) float32 what the slots of the captions ``rows`` say of each look."""
        return np.array([prior_of(self.queries[i], looks) for i in rows], np.float32)

    def batches(self, data: Pairs, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        """One epoch: batches of whole videos, so that every hard negative is at hand, with a caption of each picture;
        once with the shorter half of the captions and once with the longer one, so that little is padding."""
        longer = np.array([len(t) for t in self.tokens])
        starts = np.searchsorted(self.picture, np.arange(len(data) + 1))
        own = [np.arange(a, b)[np.argsort(longer[a:b], kind="stable")] for a, b in pairwise(starts.tolist())]
        of_video: dict[int, list[int]] = {}
        for picture, video in enumerate(data.twin.tolist()):
            of_video.setdefault(video, []).append(picture)
        out = []
        for half in (0, 1):
            videos = rng.permutation(np.array(list(of_video)))
            flat = [p for v in videos.tolist() for p in _two_states(of_video[v], data.abnormal, rng)]
            for start in range(0, len(flat) - size + 1, size):
                picked = [_half(own[p], half) for p in flat[start : start + size]]
                out.append(np.array([int(rng.choice(c)) for c in picked if len(c)]))
        return [out[i] for i in rng.permutation(len(out))]


def _two_states(pictures: list[int], abnormal: np.ndarray, rng: np.random.Generator) -> list[int]:
    """One picture of each state that a video has."""
    states = ([p for p in pictures if abnormal[p] == state] for state in (False, True))
    return [int(rng.choice(s)) for s in states if s]


def _half(captions: np.ndarray, half: int) -> np.ndarray:
    """The shorter (0) or longer (1) half of captions sorted by length; the only one is both."""
    cut = len(captions) // 2
    return captions[cut:] if half or len(captions) < 2 else captions[:cut]


def said_otherwise(text: str, share: float, rng: np.random.Generator) -> str:
    """The caption in lower case with ``share`` of the words that have synonyms replaced by one (``train.augment``)."""
    words = re.findall(r"[a-z'-]+|[^\sa-z'-]", text.lower())
    count = round(share * sum(bool(synonyms(w)) for w in dict.fromkeys(words)))
    return " ".join(replace_synonyms(words, count, rng)).replace(" ,", ",").replace(" .", ".")


def encode_texts(
    data: Pairs,
    encoder: Any,
    cloze: bool,
    progress: Progress | None = None,
    store: Path | None = None,
    otherwise: float = 0.0,
) -> Texts:
    """All captions through the frozen sentence encoder; with ``cloze`` every second one also with its words hidden, and with
    ``otherwise`` in the others that share of the words that have some said otherwise.

    With a folder ``store`` the result is kept there and read again for the same data.
    """
    rng = np.random.default_rng(len(data))
    flat = [
        (i, said_otherwise(text, otherwise, rng) if otherwise and n % 2 else text)
        for i, own in enumerate(data.captions)
        for n, text in enumerate(own)
    ]
    queries = [read(text, encoder) for _, text in flat]
    name = f"texts_{drawn.fingerprint(data)}{'_cloze' if cloze else ''}{f'_{otherwise:g}' if otherwise else ''}.npz"
    if store is not None and (store / name).exists():
        return replace(_read_texts(store / name), queries=queries)
    out = Texts(np.array([i for i, _ in flat]), [t for _, t in flat], [], queries=queries)
    for start in range(0, len(flat), 512):
        found = encoder.tokens(out.text[start : start + 512], MOST_TOKENS)
        out.tokens += [t.astype(np.float16) for t in found]
        if progress is not None:
            progress("reading captions", len(out.tokens), len(flat))
    if cloze:
        _hide(out, encoder, progress)
    if store is not None:
        _write_texts(out, store / name)
    return out


def read(text: str, encoder: Any) -> Query:
    """What the parser reads in a caption; nothing where it refuses it."""
    try:
        return parse(text, encoder)
    except InputError:
        return Query(text)


def _hide(out: Texts, encoder: Any, progress: Progress | None) -> None:
    clozes = [generate(text) if i % 2 == 0 else None for i, text in enumerate(out.text)]
    count = Counter(word.word.lower() for c in clozes if c is not None for word in c.key)
    out.vocabulary = sorted(word for word, n in count.items() if n >= min(RAREST, len(clozes) // 50 + 1))
    number = {word: i for i, word in enumerate(out.vocabulary)}
    for n, cloze in enumerate(clozes):
        told: list[tuple[int, int]] = []
        hidden = np.empty((0, 0), np.float16)
        if cloze is not None and cloze.blanks:
            found, at = encoder.blanked(parts_of(cloze.masked, cloze.blanks), MOST_TOKENS)
            all_told = [(p, number.get(k.word.lower(), -1)) for p, k in zip(at, cloze.key, strict=False)]
            told = [t for t in all_told if t[1] >= 0][:MOST_BLANKS]
            hidden = found.astype(np.float16) if told else hidden
        out.blanked.append(hidden)
        out.places.append([p for p, _ in told])
        out.words.append([w for _, w in told])
        if progress is not None and n % 500 == 499:
            progress("hiding words", n + 1, len(clozes))


def _write_texts(texts: Texts, path: Path) -> None:
    told = {"text": texts.text, "places": texts.places, "words": texts.words, "vocabulary": texts.vocabulary}
    columns = {"picture": texts.picture, "told": np.array(json.dumps(told))}
    for name, rows in (("tokens", texts.tokens), ("blanked", [r for r in texts.blanked if len(r)])):
        columns[name] = np.concatenate(rows) if rows else np.empty((0, 384), np.float16)
    columns["tokens_len"] = np.array([len(r) for r in texts.tokens])
    columns["blanked_len"] = np.array([len(r) for r in texts.blanked], np.int64)
    scratch = path.with_suffix(".part")
    with scratch.open("wb") as file:
        np.savez(file, **columns)  # type: ignore[arg-type]
    scratch.replace(path)


def _read_texts(path: Path) -> Texts:
    with np.load(path, allow_pickle=False) as data:
        told = json.loads(str(data["told"]))
        tokens = np.split(data["tokens"], np.cumsum(data["tokens_len"])[:-1])
        blanked = (
            np.split(data["blanked"], np.cumsum(data["blanked_len"])[:-1]) if len(data["blanked_len"]) else []
        )
        picture = data["picture"]
    return Texts(picture, told["text"], tokens, blanked, told["places"], told["words"], told["vocabulary"])
