"""Words in no table: the meaning of the nearest words that are.

Prototypes are the noun and verb phrases of the hand-written tables, those with atoms and those without, so that
a word may also be near nothing visible. The five nearest vote by cosine for a row of the tables; a word takes that
row when it has half of the votes and its nearest phrase a cosine of ``LEAST``, at a weight that grows with the
cosine and stays below 1. Precision is modest (docs, ``scripts/evaluate_open_words.py``), hence the low weight.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from oddwatch.core import TextEncoder
from oddwatch.describe.lexicon import HERE, Sense, lexicon, part_of_speech
from oddwatch.describe.sentence.words import Unit

LEAST = 0.55
"""Least cosine of the nearest phrase, chosen on half of the WordNet words held out of the tables."""
SHARE = 0.5
VOTERS = 5
PACKAGED = HERE / "prototypes.npz"
OPEN_TAGS = {"NX": "N", "VX": "V", "VMODX": "V", "ADJX": "N"}


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """``senses`` and their ``vectors`` (P, D), with the number of the table row each belongs to: ``row`` (P,)."""

    senses: tuple[Sense, ...]
    vectors: np.ndarray
    row: np.ndarray


_CACHE: dict[str, dict[str, Prototypes]] = {}


def prototype_senses() -> list[Sense]:
    """The senses that open words are compared with, in a fixed order."""
    return [s for s in lexicon().senses_by_hand if part_of_speech(s.cls) in ("N", "V")]


def key_of(encoder: TextEncoder, senses: list[Sense]) -> str:
    """What packaged vectors must have been made from: the encoder and the phrases."""
    text = "\n".join([encoder.id, *(s.phrase for s in senses)])
    return hashlib.sha256(text.encode()).hexdigest()


def embed(encoder: TextEncoder, senses: list[Sense]) -> np.ndarray:
    """(P, D) float32 vectors of the phrases: packaged ones when they fit, else computed (seconds)."""
    if PACKAGED.exists():
        with np.load(PACKAGED, allow_pickle=False) as packed:
            if str(packed["key"]) == key_of(encoder, senses):
                vectors: np.ndarray = packed["vectors"].astype(np.float32) * packed["scale"][:, None]
                return vectors
    return np.asarray(encoder.encode([s.phrase for s in senses]), np.float32)


def write_packaged(encoder: TextEncoder) -> None:
    """Write the packaged vectors anew (int8 with a scale a row)."""
    senses = prototype_senses()
    vectors = np.asarray(encoder.encode([s.phrase for s in senses]), np.float32)
    scale = np.abs(vectors).max(axis=1) / 127
    packed = np.round(vectors / scale[:, None]).astype(np.int8)
    np.savez_compressed(PACKAGED, key=key_of(encoder, senses), vectors=packed, scale=scale.astype(np.float32))


def prototypes(encoder: TextEncoder) -> dict[str, Prototypes]:
    """Prototypes for nouns (N) and verbs (V), once an encoder."""
    if encoder.id not in _CACHE:
        senses = prototype_senses()
        vectors = embed(encoder, senses)
        rows: dict[str, int] = {}
        row = np.array([rows.setdefault(f"{s.cls} {s.about} {s.meanings}", len(rows)) for s in senses])
        by: dict[str, Prototypes] = {}
        for tag in ("N", "V"):
            keep = [i for i, s in enumerate(senses) if part_of_speech(s.cls) == tag]
            by[tag] = Prototypes(tuple(senses[i] for i in keep), vectors[keep], row[keep])
        _CACHE[encoder.id] = by
    return _CACHE[encoder.id]


KEPT_WORDS = 20_000
MOST_WORDS = 8
"""New words embedded a sentence; more would cost more time than their guesses are worth."""
_VECTORS: dict[str, dict[str, np.ndarray]] = {}


def vectors_of(words: list[str], encoder: TextEncoder) -> np.ndarray:
    """(N, D) float32 vectors of single words; each word is embedded once a process."""
    kept = _VECTORS.setdefault(encoder.id, {})
    new = [w for w in dict.fromkeys(words) if w not in kept]
    if new:
        if len(kept) + len(new) > KEPT_WORDS:
            kept.clear()
            new = list(dict.fromkeys(words))
        kept.update(zip(new, np.asarray(encoder.encode(new), np.float32), strict=True))
    return np.array([kept[w] for w in words])


def nearest(words: list[str], tag: str, encoder: TextEncoder) -> list[tuple[Sense, float]]:
    """The winning sense of each word and its nearest phrase's cosine; −1 where no row has half of the votes."""
    table = prototypes(encoder)[tag]
    cosine = vectors_of(words, encoder) @ table.vectors.T
    found = []
    for line in cosine:
        top = np.argsort(-line)[:VOTERS]
        votes = np.bincount(table.row[top], weights=np.maximum(line[top], 0))
        winner = int(votes.argmax())
        best = next(int(i) for i in top if table.row[i] == winner)
        enough = votes[winner] >= SHARE * votes.sum()
        found.append((table.senses[best], float(line[best]) if enough else -1.0))
    return found


def resolve(units: list[Unit], encoder: TextEncoder, least: float = LEAST) -> list[Unit]:
    """Give the open words of a sentence the sense of the nearest table word, in place; those that got one."""
    resolved: list[Unit] = []
    wanted = [u for u in units if u.tag in OPEN_TAGS and len(u.low) > 2]
    allowed = set(list(dict.fromkeys(u.lemma for u in wanted))[:MOST_WORDS])
    wanted = [u for u in wanted if u.lemma in allowed]
    if not wanted:
        return resolved
    vectors_of([u.lemma for u in wanted], encoder)
    for tag in ("N", "V"):
        open_units = [u for u in wanted if OPEN_TAGS.get(u.tag) == tag]
        if not open_units:
            continue
        for unit, (sense, cosine) in zip(
            open_units, nearest([u.lemma for u in open_units], tag, encoder), strict=True
        ):
            if cosine < least or (unit.tag == "ADJX" and sense.cls != "garment"):
                continue
            weight = round(0.4 + 0.5 * min(1.0, (cosine - least) / (1 - least)), 3)
            meanings = tuple({a: round(w * weight, 3) for a, w in m.items()} for m in sense.meanings)
            unit.sense, unit.lemma = replace(sense, meanings=meanings, weight=weight), sense.phrase
            unit.tag = {"NX": "N", "VX": "V", "VMODX": "VMOD", "ADJX": "N"}[unit.tag]
            resolved.append(unit)
    return resolved
