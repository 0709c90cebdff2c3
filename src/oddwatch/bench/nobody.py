"""Can it say no, and can it tell what somebody is doing? "Nobody matches", and twins of one person."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oddwatch.bench.baselines import WORDS
from oddwatch.bench.facts import accepted_colors, annotated
from oddwatch.bench.subjects import Gallery, Language
from oddwatch.core import InputError
from oddwatch.datasets.records import Record
from oddwatch.metrics.retrieval import bootstrap

GARMENTS = {"upper": "lower", "lower": "upper"}
COLOR_POOL = (
    "orange",
    "yellow",
    "purple",
    "green",
    "pink",
    "red",
    "beige",
    "brown",
    "white",
    "blue",
    "grey",
    "black",
)
ACTION_POOL = {
    "dancing": "danc", "climbing": "climb", "crawling": "crawl", "lying": "lie|lying|lay|laid", "swimming": "swim|swam",
    "kicking": "kick", "jumping": "jump|leap|hop", "fighting": "fight|fought|punch|hit|attack|brawl|scuffl|struggl",
    "cycling": "cycl|bicycl|bik|rid", "falling": "fall|fell|trip|stumbl", "waving": "wav", "hugging": "hug|embrac",
    "running": "run|ran|jog|sprint|rush|flee", "sitting": "sit|sat|seat", "throwing": "throw|threw|toss|fling",
    "crouching": "crouch|squat|kneel|stoop|bend",
}  # fmt: skip
"""Doing → beginnings of the words that would say somebody in the gallery does it."""
_DOING = re.compile(
    r"\b(?:walk|stand|sit|run|rid|jump|climb|crouch|bend|lean|look|hold|carry|step|jogg?|strid|stroll|throw|catch|"
    r"fight|kick|push|pull|wav|talk|fall|lie|ly|stoop|rush|danc|crawl|cycl|skat|play|work|cross|wait|fac|"
    r"mov|strol|hugg?|swimm?|point|reach|grabb?|shak|pass|turn|enter|leav)(?:e|ying|ing)\b"
)


def swapped_color(
    record: Record, text: str, taken: dict[str, set[str]], rng: np.random.Generator
) -> str | None:
    """``text`` with the colour of one garment replaced by one that garment has nowhere in the gallery.

    Only a colour word that the annotation gives to one garment and not to the other is replaced, at its first
    place in the text. None where there is no such word or no absent colour.
    """
    truth = {g: annotated(record.facts, f"{g}.color") for g in ("upper", "lower")}
    sets = {g: accepted_colors(words) if words else frozenset() for g, words in truth.items()}
    for garment in rng.permutation(["upper", "lower"]).tolist():
        own = sets[garment] - sets["lower" if garment == "upper" else "upper"]
        absent = [c for c in COLOR_POOL if c not in taken[garment] and c not in own]
        found = [m for m in re.finditer(r"[A-Za-z]+", text) if set(WORDS.get(m[0].lower(), ())) & own]
        if own and absent and found:
            nowhere = [c for c in absent if not any(c in t for t in taken.values())] or absent
            new = nowhere[int(rng.integers(len(nowhere)))]
            return text[: found[0].start()] + new + text[found[0].end() :]
    return None


def swapped_pair(
    record: Record, text: str, worn: Sequence[Mapping[str, frozenset[str]]], rng: np.random.Generator
) -> str | None:
    """``text`` with one garment's colour replaced so that nobody wears that colour with the other garment's, which the
    text names too: for galleries that hold every colour. ``worn`` are the accepted colours of every record."""
    own = {g: accepted_colors(annotated(record.facts, f"{g}.color") or "") for g in GARMENTS}
    named = {g: _named(text, own[g] - own[o]) for g, o in GARMENTS.items()}
    for garment in rng.permutation(list(GARMENTS)).tolist():
        other = GARMENTS[garment]
        place = named[garment]
        if place is None or named[other] is None:
            continue
        partners = [w[garment] for w in worn if w[other] & own[other]]
        absent = [c for c in COLOR_POOL if c not in own[garment] and not any(c in p for p in partners)]
        if absent:
            new = absent[int(rng.integers(len(absent)))]
            return text[: place.start()] + new + text[place.end() :]
    return None


def _named(text: str, colors: frozenset[str]) -> re.Match[str] | None:
    found = (m for m in re.finditer(r"[A-Za-z]+", text) if set(WORDS.get(m[0].lower(), ())) & colors)
    return next(found, None)


def swapped_action(
    text: str, taken: str, rng: np.random.Generator, combined: Sequence[str] = ()
) -> str | None:
    """``text`` with its first doing ("walking") replaced by one whose word is nowhere in ``taken``, or in none of
    ``combined``, the words about those who wear what the text says, where that is given."""
    found = _DOING.search(text)
    where = " ".join(combined) if combined else taken
    absent = [a for a, stems in ACTION_POOL.items() if not re.search(rf"\b(?:{stems})", where)]
    if found is None or not absent:
        return None
    new = absent[int(rng.integers(len(absent)))]
    return text[: found.start()] + new + text[found.end() :]


def falsified(gallery: Gallery, seed: int) -> list[tuple[str, str, str]]:
    """(true caption, its falsified twin, ``color`` or ``action``) for every record that allows one, in a
    seeded order. The first caption of each record is used.

    What is swapped in is nowhere in the gallery; where a gallery holds it all, it is nowhere with the colour of the
    other garment (of the upper one, for a doing) that the caption names. Empty unless every record has annotated
    facts: what nobody wrote down is not known to be absent.
    """
    if not all(r.facts for r in gallery.records):
        return []
    rng = np.random.default_rng(seed)
    worn = [
        {g: accepted_colors(annotated(r.facts, f"{g}.color") or "", lenient=True) for g in GARMENTS}
        for r in gallery.records
    ]
    taken = {g: set().union(*(w[g] for w in worn)) for g in GARMENTS}
    about = [" ".join((*r.captions, str(r.facts))).lower() for r in gallery.records]
    words = " ".join(about)
    pairs = []
    for i in rng.permutation(len(gallery.records)).tolist():
        record = gallery.records[i]
        if not record.captions:
            continue
        text, want = record.captions[0], ("color", "action")[int(rng.integers(2))]
        for kind in (want, "action" if want == "color" else "color"):
            false = (
                swapped_color(record, text, taken, rng) or swapped_pair(record, text, worn, rng)
                if kind == "color"
                else swapped_action(text, words, rng, _dressed_alike(record, text, worn, about))
            )
            if false is not None:
                pairs.append((text, false, kind))
                break
    return pairs


def _dressed_alike(
    record: Record, text: str, worn: Sequence[Mapping[str, frozenset[str]]], about: Sequence[str]
) -> list[str]:
    """The words about everybody whose upper garment may have the colour that ``text`` names; none where it does not."""
    own = accepted_colors(annotated(record.facts, "upper.color") or "")
    if _named(text, own) is None:
        return []
    return [words for w, words in zip(worn, about, strict=True) if w["upper"] & own]


def nobody_rows(
    gallery: Gallery, language: Language, seed: int, depth: int, each: int = 50
) -> list[dict[str, Any]]:
    """The row ``nobody matches``: ``each`` true captions should be answered "matches", and as many with one
    slot swapped to a colour or doing that nobody in the gallery has, "nobody matches". Rates 0–1."""
    pairs = falsified(gallery, seed)
    # the true captions are drawn apart from the falsified ones where there are enough
    false = pairs[:each]
    true = pairs[each : 2 * each] if len(pairs) >= 2 * each else pairs[:each]
    if not false:
        return []
    said, top = {}, {}
    for name, texts in (("true", [p[0] for p in true]), ("false", [p[1] for p in false])):
        answers = [_answer(gallery, t, language, depth) for t in texts]
        said[name], top[name] = np.array([a[0] for a in answers]), np.array([a[1] for a in answers])
    right = {"true": said["true"], "false": ~said["false"]}
    kinds = {
        k: [bool(r) for r, p in zip(right["false"], false, strict=True) if p[2] == k]
        for k in ("color", "action")
    }
    row: dict[str, Any] = {
        "stages": ["coarse", "facts"],
        "default": True,
        "protocol": "nobody matches",
        "gallery": len(gallery.records),
        "seed": seed,
        "n_true": len(true),
        "n_false": len(false),
        "right_matches": float(right["true"].mean()),
        "right_nobody": float(right["false"].mean()),
        "right_nobody_by_slot": {
            k: {"n": len(v), "rate": float(np.mean(v)) if v else None} for k, v in kinds.items()
        },
        "auc": _auc(top["true"], top["false"]),
        "ci95": {},
    }
    for field, name in (("right_matches", "true"), ("right_nobody", "false")):
        interval = bootstrap(right[name].astype(float), seed=seed, draws=1000)
        row["ci95"][field] = [interval.low, interval.high] if interval else None
    return [row]


def _answer(gallery: Gallery, text: str, language: Language, depth: int) -> tuple[bool, float]:
    try:
        return language.answer(gallery, text, depth)
    except InputError:
        return False, 0.0


def _auc(high: np.ndarray, low: np.ndarray) -> float:
    """Chance that a true caption's best probability is above a falsified one's; ties count half."""
    gap = high[:, None] - low[None]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())


def twin_rows(
    gallery: Gallery, asked: Sequence[tuple[str, str]], scores: Sequence[np.ndarray | None], seed: int
) -> list[dict[str, Any]]:
    """The row ``twins``: for pictures of one ``person`` in different doings, how often a picture's own
    sentence scores it above its twin. One comparison per (sentence, twin); chance 0.5, a tie is wrong. The
    interval resamples pictures, not people, so it speaks of these people only."""
    from oddwatch.bench.search import length_of

    people: dict[str, list[int]] = {}
    for i, record in enumerate(gallery.records):
        if record.person is not None:
            people.setdefault(record.person, []).append(i)
    outcomes: list[tuple[str, str, str, bool]] = []
    own: dict[str, list[int]] = {}
    for i, record in enumerate(gallery.records):
        own.setdefault(record.image_id, []).append(i)
    for (text, image_id), row in zip(asked, scores, strict=True):
        mine = own[image_id]
        person = gallery.records[mine[0]].person
        if person is None:
            continue
        twins = (o for o in people[person] if gallery.records[o].image_id != image_id)
        better = (row is not None and bool(row[mine].max() > row[o]) for o in twins)
        outcomes += [(length_of(text), image_id, person, b) for b in better]
    rows = []
    for name in ("short", "long", "all"):
        picked = [o for o in outcomes if name in ("all", o[0])]
        if picked:
            values = np.array([o[3] for o in picked], dtype=np.float64)
            interval = bootstrap(values, groups=[o[1] for o in picked], seed=seed, draws=1000)
            rows.append(
                {
                    "stages": ["coarse", "facts"],
                    "default": True,
                    "protocol": "twins",
                    "queries": name,
                    "people": len({o[2] for o in picked}),
                    "pictures": len({o[1] for o in picked}),
                    "n": values.size,
                    "right": int(values.sum()),
                    "rate": float(values.mean()),
                    "chance": 0.5,
                    "seed": seed,
                    "ci95": {"rate": [interval.low, interval.high] if interval else None},
                }
            )
    return rows
