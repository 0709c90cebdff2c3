"""AnomalyLMM: re-ranking by a cloze test (arXiv 2509.04376, reconstructed; search §3).

The doing and colour words of a sentence are hidden, a witness fills the blanks from each of the best N
pictures, and hits whose words agree with the hidden ones move up. The witness may be a vision-language model
or the describer's facts (``describe.witness``); the steps that the paper gives to a language model (hiding
words, comparing them) are done here with the sentence reader's tables, and can be replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from oddwatch.core import UNKNOWN, Evidence, Hit, InputError, Query, TextEncoder, Unknown
from oddwatch.describe.lexicon import FUNCTION, VERB_CLASSES, lexicon, part_of_speech
from oddwatch.describe.sentence import LONGEST, language_of
from oddwatch.describe.sentence.phrases import noun_phrase
from oddwatch.describe.sentence.words import Token, Unit, tokens, units
from oddwatch.describe.witness import Blank, BlankKind, Fill, Witness
from oddwatch.search.fuse import reordered

AUXILIARIES = frozenset(("be", "is", "am", "are", "was", "were", "been", "being", "have", "has", "had", "having",
                         "do", "does", "did", "done", "doing", "get", "gets", "got", "getting"))  # fmt: skip
STOP_VERBS = frozenset(("wear", "show", "feature", "appear"))
"""Verbs that say nothing about what is being done (as do "dressed" and other words for wearing, which always
stay); the caller may give others."""
PLAIN_TONES = frozenset(("dark", "darker", "light", "lighter", "bright", "pale"))
"""Tones that are hidden without a colour beside them ("dark jacket")."""
SAME, NEAR = 1.0, 0.8
"""How well equal lemmas, and words of one synonym set or colour family, agree."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """A hidden word: what the blank of the same place stands for, and its characters in the sentence."""

    kind: BlankKind
    word: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Cloze:
    """A sentence with blanks and its answer key, both in reading order. The witness gets ``masked`` and
    ``blanks``, never ``text`` or ``key``."""

    text: str
    masked: str
    blanks: tuple[Blank, ...]
    key: tuple[Hidden, ...]

    def restore(self, words: Sequence[str]) -> str:
        """The masked sentence with ``words`` in its blanks; with the key's words it is the sentence again."""
        if len(words) != len(self.blanks):
            raise InputError("words", f"expected {len(self.blanks)} words, got {len(words)}")
        parts, at = [], 0
        for blank, word in zip(self.blanks, words, strict=True):
            parts += [self.masked[at : blank.start], word]
            at = blank.end
        return "".join([*parts, self.masked[at:]])


def generate(text: str, *, stop: frozenset[str] = STOP_VERBS) -> Cloze:
    """Hide the verbs (auxiliaries and ``stop`` excepted) and the colours of an English sentence (A1).

    A compound colour ("dark-blue", "light grey") is one blank. Of a verb phrase only the verb is hidden, so
    "falling off" leaves "off". A sentence in another language, or without such words, has no blanks.
    """
    if len(text) > LONGEST:
        raise InputError("sentence", f"expected at most {LONGEST} characters, got {len(text)}")
    hidden = _hidden(text, stop) if text.strip() and language_of(text) == "en" else []
    return masked_with(text, hidden)


def masked_with(text: str, hidden: Sequence[Hidden]) -> Cloze:
    """The cloze that hides the words ``hidden`` (in reading order, not overlapping) of ``text``: for words that
    a language model chose.

    Raises:
        InputError: a place does not hold its word, or places overlap.
    """
    parts: list[str] = []
    blanks: list[Blank] = []
    at = length = 0
    for i, word in enumerate(hidden):
        if word.start < at or text[word.start : word.end] != word.word or not word.word:
            raise InputError("hidden words", f"{word.word!r} is not at characters {word.start} to {word.end}")
        sign = f"<{word.kind}>"
        start = length + word.start - at
        blanks.append(Blank(word.kind, i, start, start + len(sign)))
        parts += [text[at : word.start], sign]
        length, at = start + len(sign), word.end
    return Cloze(text, "".join([*parts, text[at:]]), tuple(blanks), tuple(hidden))


def _hidden(text: str, stop: frozenset[str]) -> list[Hidden]:
    found: list[Hidden] = []
    read = units(text)
    i = 0
    while i < len(read):
        if read[i].tag in ("COL", "TONE"):
            i, color = _color_run(text, read, i)
            if color is not None:
                found.append(color)
            continue
        word = _verb(text, read, i, stop) if read[i].tag.startswith("V") else _color_inside(text, read[i])
        if word is not None:
            found.append(word)
        i += 1
    return found


def _color_run(text: str, read: list[Unit], at: int) -> tuple[int, Hidden | None]:
    """Colour and tone words joined by nothing but blanks or hyphens, as one; and where to read on."""
    end = at + 1
    while end < len(read) and read[end].tag in ("COL", "TONE"):
        # Two colours side by side are two answers, unless one names a shade of the other ("navy blue").
        if not re.fullmatch(r"[\s‐‑–-]*", text[read[end - 1].end : read[end].start]):
            break
        end += 1
    run = read[at:end]
    if all(u.tag == "TONE" for u in run) and not any(u.low in PLAIN_TONES for u in run):
        return end, None
    start, stop = run[0].start, run[-1].end
    return end, Hidden("COLOR", text[start:stop], start, stop)


def _color_inside(text: str, unit: Unit) -> Hidden | None:
    """The colour at the head of a garment's name that the tables hold as one word: "khaki pants"."""
    if unit.cls != "garment":
        return None
    inside = tokens(text[unit.start : unit.end])
    senses = lexicon().phrases.get(inside[0].low, ()) if len(inside) > 1 else ()
    if not any(not rest and sense.cls == "color" for rest, sense in senses):
        return None
    end = unit.start + inside[0].end
    return Hidden("COLOR", text[unit.start : end], unit.start, end)


def _verb(text: str, read: list[Unit], at: int, stop: frozenset[str]) -> Hidden | None:
    """The verb among a unit's words, if it says what is being done."""
    unit, before = read[at], read[at - 1] if at else None
    if (
        unit.cls == "wear"
        or unit.tag == "VMODX"
        or (unit.tag == "VMOD" and unit.cls in ("have", "lightverb", "hold", "use"))
    ):
        return None
    if unit.tag == "VX" and before is not None and before.tag in ("DET", "ADJ", "P", "NUM"):
        return None  # an unknown noun in -ing or -ed: "in the evening"
    inside = tokens(text[unit.start : unit.end])
    verb = next((t for t in inside if t.low.isalpha() and _verbal(t, unit)), None)
    if verb is None or verb.low in AUXILIARIES or any(lemma in stop for lemma, _ in verb.forms):
        return None
    start, end = unit.start + verb.start, unit.start + verb.end
    return Hidden("VERB", text[start:end], start, end)


def _verbal(token: Token, unit: Unit) -> bool:
    if token.low in FUNCTION and FUNCTION[token.low] != "AUX":
        return False
    if unit.tag == "VX":
        return True
    classes = lexicon().classes
    if any(classes.get(lemma, frozenset()) & VERB_CLASSES for lemma, _ in token.forms):
        return True
    # "lost his balance": only the phrase is in the tables, its first word carries the ending.
    return any(form in ("ing", "ed") for _, form in token.forms) and token.start == 0


def parse_fills(raw: str, count: int) -> list[Fill]:
    """The ``count`` answers in a model's text: a JSON list (also one cut short), lines with or without numbers,
    or words between semicolons and commas. Too few are filled up with UNKNOWN, too many are cut."""
    return checked_fills(_items(raw), count)


def _items(raw: str) -> list[str]:
    raw = raw[:MOST_CHARACTERS]
    items = _json_items(raw)
    if items is None:
        lines = [line for line in raw.splitlines() if line.strip(" `")]
        items = lines if len(lines) > 1 else re.split(r"[;,]", raw)
    return items


def _json_items(raw: str) -> list[str] | None:
    start = raw.find("[")
    if start < 0:
        return None
    try:
        found, _ = json.JSONDecoder().raw_decode(raw[start:])
    except (ValueError, RecursionError):
        found = [
            json.loads(part, strict=False)
            for part in re.findall(r'"(?:[^"\\\n]|\\["\\/bfnrt])*"', raw[start:])
        ]
    return [item if isinstance(item, str) else "" for item in found]


def _answer(item: str) -> Fill:
    word = re.sub(r"^\s*(?:\(?\d+[.):]\s*|[-*•]\s+)", "", item)
    word = re.sub(r"^<?(?:VERB|COLOR)>?\s*\d*\s*[:=]\s*", "", word.strip(), flags=re.IGNORECASE)
    word = " ".join(word.strip(" \t\r\n\"'`.<>").split())[:60]
    return UNKNOWN if not word or word.lower() == "unknown" else word


def checked_fills(fills: Sequence[Fill], count: int) -> list[Fill]:
    """What a witness said, as exactly ``count`` words or UNKNOWN."""
    out: list[Fill] = [UNKNOWN if isinstance(f, Unknown) else _answer(str(f)) for f in list(fills)[:count]]
    return out + [UNKNOWN] * (count - len(out))


MOST_CHARACTERS = 20_000
MOST_WORDS = 5
"""What is read of a model's answer, and how long one of its words or phrases may be."""
Ask = Callable[[str, Any], str]
WITNESS_PROMPT = "cloze-witness/1"
_PROMPT = (
    "You are a witness. Fill the {count} blanks of this sentence from what the picture shows, never from common "
    "sense. One word or short phrase for each blank, in order, as a JSON list of {count} strings. Write UNKNOWN "
    "for a blank that cannot be decided from the picture.\n\nSentence: {masked}\nBlanks: {kinds}"
)


@dataclass(frozen=True, slots=True)
class PromptWitness:
    """A vision-language model as the witness: ``ask(prompt, picture)`` gives its text. An answer with no list
    or word in it is asked for once more, then every blank is UNKNOWN."""

    ask: Ask
    model: str

    @property
    def id(self) -> str:
        """Model and version of the prompt."""
        return f"{self.model}:{WITNESS_PROMPT}"

    def fill(self, masked: str, blanks: Sequence[Blank], shown: Any) -> list[Fill]:
        """One word or UNKNOWN per blank."""
        kinds = ", ".join(f"<{b.kind}>" for b in blanks)
        prompt = _PROMPT.format(count=len(blanks), masked=masked, kinds=kinds)
        for _ in range(2):
            raw = self.ask(prompt, shown)
            items = [_answer(item) for item in _items(raw)]
            # Prose is no answer, nor is silence.
            if raw.strip() and all(isinstance(a, Unknown) or len(a.split()) <= MOST_WORDS for a in items):
                return checked_fills(items, len(blanks))
        return [UNKNOWN] * len(blanks)


@dataclass(slots=True)
class TableJudge:
    """How well a filled word agrees with the hidden one, 0–1 (A3): equal lemmas 1, one synonym set or colour
    family 0.8, else the cosine of sentence vectors clipped to 0–1 (0 without ``encoder``); UNKNOWN 0.

    Sentence vectors call red and blue alike. With ``strict`` two words that the tables know to be different
    get 0, and only words in no table are left to the vectors.
    """

    encoder: TextEncoder | None = None
    strict: bool = False
    _kept: dict[str, np.ndarray] = field(default_factory=dict)

    def __call__(self, kind: BlankKind, key: str, fill: Fill) -> float:
        """Agreement of ``fill`` with ``key``."""
        if isinstance(fill, Unknown):
            return 0.0
        table = color_agreement(key, fill) if kind == "COLOR" else verb_agreement(key, fill)
        if table is not None and (table > 0 or self.strict):
            return table
        if self.encoder is None:
            return 0.0
        a, b = self._vector(key.lower()), self._vector(fill.lower())
        return float(np.clip(a @ b, 0.0, 1.0))

    def _vector(self, word: str) -> np.ndarray:
        assert self.encoder is not None
        if word not in self._kept:
            if len(self._kept) > 10_000:
                self._kept.clear()
            self._kept[word] = self.encoder.encode([word])[0]
        return self._kept[word]


Judge = Callable[[BlankKind, str, Fill], float]


@lru_cache(maxsize=4096)
def verb_agreement(key: str, fill: str) -> float | None:
    """1 for equal lemmas, 0.8 for one synonym set, 0 for different ones; None where a word is in no table."""
    a, b = _lemmas(key), _lemmas(fill)
    if a & b or key.lower() == fill.lower():
        return SAME
    rows_a, rows_b = _synonym_sets(a), _synonym_sets(b)
    if not rows_a or not rows_b:
        return None
    return NEAR if rows_a & rows_b else 0.0


def _lemmas(phrase: str) -> frozenset[str]:
    """The lemmas of a phrase's verb: its first word that is not a function word."""
    for token in tokens(phrase):
        if token.low.isalpha() and token.low not in FUNCTION:
            return frozenset(lemma for lemma, _ in token.forms)
    return frozenset()


def _synonym_sets(lemmas: frozenset[str]) -> frozenset[tuple[tuple[str, float], ...]]:
    """The rows of the verb tables that hold a lemma, by what they mean."""
    rows = set()
    for lemma in lemmas:
        for rest, sense in lexicon().phrases.get(lemma, ()):
            if not rest and sense.meanings and part_of_speech(sense.cls) == "V":
                rows.add(tuple(item for meaning in sense.meanings for item in meaning.items()))
    return frozenset(rows)


@lru_cache(maxsize=4096)
def color_agreement(key: str, fill: str) -> float | None:
    """1 for the same colour words, 0.8 for one colour family, 0 for different ones; None for no colour.

    Families share a basic colour, or one that the tables count at least half: maroon is red and a little brown.
    """
    words = [re.findall(r"[a-z]+", w.lower().replace("gray", "grey")) for w in (key, fill)]
    if words[0] == words[1]:
        return SAME
    a, b = _family(key), _family(fill)
    if not a or not b:
        return None
    return NEAR if a & b else 0.0


def _family(words: str) -> frozenset[str]:
    read = units(f"{words} thing")
    found = noun_phrase(read, 0) if read else None
    colors = found[0].colours if found else []
    return frozenset(term for color in colors for term, weight in color.terms.items() if weight >= 0.5)


@dataclass(frozen=True, slots=True)
class Fusion:
    """The constants of A3 and A4: ``match`` (a1), ``prior`` (a2) and ``base`` (b) of S = a1·match + a2·b^place.

    ``verb`` and ``color`` weigh the blanks of each kind in the mean; with ``drop_unknown`` blanks nobody could
    decide leave the mean when they are fewer than half. The defaults are the paper's as quoted by others.
    """

    match: float = 0.95
    prior: float = 0.075
    base: float = 0.5
    verb: float = 1.0
    color: float = 1.0
    drop_unknown: bool = False

    def mean(self, kinds: Sequence[BlankKind], agreement: Sequence[float], fills: Sequence[Fill]) -> float:
        """S_match, 0–1: the weighted mean agreement over the blanks."""
        weight = np.array([self.verb if kind == "VERB" else self.color for kind in kinds], dtype=np.float64)
        silent = np.array([isinstance(f, Unknown) for f in fills], dtype=bool)
        if self.drop_unknown and 2 * silent.sum() < len(silent):
            weight = np.where(silent, 0.0, weight)
        total = float(weight.sum())
        return float(weight @ np.asarray(agreement, dtype=np.float64)) / total if total > 0 else 0.0

    def fuse(self, matches: Sequence[float]) -> tuple[list[int], list[float]]:
        """New order of candidates in coarse order with these matches, and their scores; ties keep their place."""
        scores = [self.match * m + self.prior * self.base**place for place, m in enumerate(matches)]
        return sorted(range(len(scores)), key=lambda i: -scores[i]), scores


@dataclass(frozen=True, slots=True)
class Trace:
    """What the witness said of one hit and how it agrees: the explanation of its place."""

    id: str
    masked: str
    key: tuple[Hidden, ...]
    fills: tuple[Fill, ...]
    agreement: tuple[float, ...]
    match: float
    score: float

    def evidence(self, stage: str) -> list[Evidence]:
        """One piece of evidence per blank: the hidden word and what was seen in its place."""
        out = []
        for hidden, fill, value in zip(self.key, self.fills, self.agreement, strict=True):
            verdict: Literal["matched", "contradicted", "unknown"] = "unknown"
            if not isinstance(fill, Unknown):
                verdict = "matched" if value >= NEAR else "contradicted" if value < 0.5 else "unknown"
            seen = "unknown" if isinstance(fill, Unknown) else fill
            out.append(Evidence(f"{hidden.word} (seen: {seen})", verdict, None, value, stage=stage))
        return out


class Kept(dict[tuple[str, str, str], list[Fill]]):
    """A cache that forgets its oldest answers beyond ``most``."""

    most = 100_000

    def __setitem__(self, key: tuple[str, str, str], value: list[Fill]) -> None:
        super().__setitem__(key, value)
        if len(self) > self.most:
            del self[next(iter(self))]


@dataclass(slots=True)
class ClozeStage:
    """AnomalyLMM over the hits of one query: the first ``n`` by cloze test, the rest as they were.

    ``shown(hit)`` is what the witness looks at: the entry's facts for the embedded one, a picture for a model.
    ``calls`` counts clozes made and blanks filled, cache hits excluded. ``cache`` is keyed by witness, hit and
    masked sentence, so it may be kept between runs; ``traces`` are those of the last query, in the new order.
    """

    witness: Witness
    shown: Callable[[Hit], Any]
    n: int = 3
    fusion: Fusion = Fusion()
    judge: Judge = field(default_factory=TableJudge)
    make: Callable[[str], Cloze] = generate
    cache: MutableMapping[tuple[str, str, str], list[Fill]] = field(default_factory=Kept)
    name: str = "anomalylmm"
    calls: dict[str, int] = field(default_factory=lambda: {"generate": 0, "fill": 0}, init=False)
    traces: tuple[Trace, ...] = field(default=(), init=False)
    _clozes: dict[str, Cloze] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.n < 0:
            raise InputError("n", f"expected 0 or more hits to re-rank, got {self.n}")

    def rerank(self, query: Query, hits: Sequence[Hit]) -> list[Hit]:
        """The same hits, the first ``n`` re-ordered, with scores, traces as evidence and new ranks."""
        self.traces = ()
        head = list(hits[: self.n])
        if len(head) < 2:
            return list(hits)
        cloze = self._cloze(query.text)
        if not cloze.blanks:
            return list(hits)
        kinds = [word.kind for word in cloze.key]
        fills = [self._fills(cloze, hit) for hit in head]
        agreement = [
            tuple(self.judge(w.kind, w.word, f) for w, f in zip(cloze.key, said, strict=True))
            for said in fills
        ]
        matches = [self.fusion.mean(kinds, a, f) for a, f in zip(agreement, fills, strict=True)]
        order, scores = self.fusion.fuse(matches)
        told = [
            Trace(hit.id, cloze.masked, cloze.key, tuple(f), a, m, s)
            for hit, f, a, m, s in zip(head, fills, agreement, matches, scores, strict=True)
        ]
        self.traces = tuple(told[i] for i in order)
        return reordered(
            hits,
            [*order, *range(len(head), len(hits))],
            self.name,
            {t.id: t.score for t in told},
            {t.id: t.evidence(self.name) for t in told},
        )

    def _cloze(self, text: str) -> Cloze:
        if text not in self._clozes:
            self.calls["generate"] += 1
            if len(self._clozes) >= 10_000:
                self._clozes.clear()
            self._clozes[text] = self.make(text)
        return self._clozes[text]

    def _fills(self, cloze: Cloze, hit: Hit) -> list[Fill]:
        key = (self.witness.id, hit.id, cloze.masked)
        if key not in self.cache:
            self.calls["fill"] += 1
            said = self.witness.fill(cloze.masked, cloze.blanks, self.shown(hit))
            self.cache[key] = checked_fills(said, len(cloze.blanks))
        return self.cache[key]
