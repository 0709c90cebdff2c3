"""The tables of words: which phrase means which atoms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from oddwatch.core.errors import ModelError
from oddwatch.describe.atoms import INDEX, TONES

HERE = Path(__file__).parent

FUNCTION: Mapping[str, str] = {
    **dict.fromkeys(
        [
            "a",
            "an",
            "the",
            "this",
            "that",
            "these",
            "those",
            "some",
            "any",
            "each",
            "every",
            "another",
            "both",
            "all",
        ],
        "DET",
    ),
    **dict.fromkeys(
        [
            "his",
            "her",
            "their",
            "its",
            "my",
            "our",
            "your",
            "him",
            "them",
            "himself",
            "herself",
            "themselves",
            "itself",
        ],
        "POSS",
    ),
    **dict.fromkeys(
        [
            "he",
            "she",
            "they",
            "it",
            "i",
            "we",
            "you",
            "us",
            "me",
            "who",
            "which",
            "whose",
            "whom",
            "that's",
            "someone's",
        ],
        "PRO",
    ),
    **dict.fromkeys(
        [
            "in",
            "inside",
            "within",
            "into",
            "at",
            "on",
            "onto",
            "upon",
            "near",
            "by",
            "beside",
            "besides",
            "behind",
            "against",
            "along",
            "across",
            "over",
            "under",
            "below",
            "beneath",
            "above",
            "through",
            "around",
            "outside",
            "between",
            "among",
            "amid",
            "off",
            "from",
            "toward",
            "to",
            "with",
            "of",
            "for",
            "like",
            "as",
            "down",
            "up",
            "past",
            "underneath",
            "during",
            "after",
            "before",
            "until",
            "atop",
            "via",
            "onto",
            "about",
            "next",
            "towards",
            "out",
            "alongside",
            "amongst",
        ],
        "P",
    ),
    **dict.fromkeys(
        [
            "and",
            "or",
            "but",
            "nor",
            "while",
            "whereas",
            "then",
            "plus",
            "&",
            "as",
            "because",
            "when",
            "where",
            "if",
            "so",
            "than",
        ],
        "CC",
    ),
    **dict.fromkeys(["not", "n't", "no", "without", "never", "neither", "none", "nor", "lack"], "NEG"),
    **dict.fromkeys(
        [
            "is",
            "are",
            "was",
            "were",
            "be",
            "been",
            "being",
            "am",
            "has",
            "have",
            "had",
            "having",
            "do",
            "does",
            "did",
            "can",
            "could",
            "will",
            "would",
            "may",
            "might",
            "must",
            "should",
            "shall",
            "gets",
            "get",
            "got",
            "getting",
            "isn",
            "aren",
            "wasn",
            "weren",
            "doesn",
            "don",
            "didn",
            "hasn",
            "haven",
            "hadn",
            "can",
            "cannot",
        ],
        "AUX",
    ),
    **dict.fromkeys(["there"], "EX"),
}
NUMBERS: Mapping[str, int] = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "eleven": 11, "twelve": 12, "dozen": 12, "several": 5, "many": 8, "few": 4, "multiple": 5, "dozens": 24,
    "numerous": 8, "hundreds": 99, "lots": 8,
}  # fmt: skip

NOUN_CLASSES = frozenset(
    [
        "person",
        "group2",
        "group3",
        "groupn",
        "people",
        "nobody",
        "garment",
        "accessory",
        "pattern",
        "part",
        "hair",
        "bag",
        "carried",
        "camera",
        "object",
        "anything",
        "nothing",
        "vehicle",
        "animal",
        "near",
        "place",
        "ground",
        "bodypart",
        "quiet",
        "hairlen",
    ]
)
VERB_CLASSES = frozenset(
    ["verb", "wear", "hold", "use", "have", "lightverb", "busy", "abandon", "crash", "phonecall", "arms"]
)
PERSON_CLASSES = frozenset(["person", "group2", "group3", "groupn", "people", "nobody"])


@dataclass(frozen=True, slots=True)
class Sense:
    """One meaning of a phrase: its class, what it is about, and alternatives (any of a dict's atoms) that
    must all hold. ``negated`` meanings say that none of the atoms holds; ``tone`` is a colour's tone."""

    phrase: str
    cls: str
    about: str
    meanings: tuple[Mapping[str, float], ...] = ()
    negated: bool = False
    tone: str | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Lexicon:
    """``phrases``: first word → (rest of the words, sense) longest first; ``words``: every word in a phrase;
    ``classes``, ``by_hand``: phrase → its classes, of all tables and of those not derived
    (``senses_by_hand`` the latter's senses);
    ``irregular``: word → (lemma, form); ``frames``: (verb, marker) → (object class or lemma, atoms)."""

    phrases: Mapping[str, tuple[tuple[tuple[str, ...], Sense], ...]]
    words: frozenset[str]
    irregular: Mapping[str, tuple[str, str]]
    frames: Mapping[tuple[str, str], tuple[tuple[str, Mapping[str, float]], ...]]
    classes: Mapping[str, frozenset[str]]
    by_hand: Mapping[str, frozenset[str]]
    senses_by_hand: tuple[Sense, ...]


def rows(name: str) -> Iterator[list[str]]:
    """The tab-separated fields of a table's lines, comments and blank lines left out."""
    for number, line in enumerate((HERE / name).read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.startswith("# "):
            fields = line.split("\t")
            if len(fields) < 3:
                raise ModelError(
                    f"lexicon/{name} line {number}: expected at least three tab-separated fields"
                )
            yield fields


def read_atoms(text: str, place: str) -> tuple[dict[str, float], ...]:
    """``"upper.type.jacket coat:.6 & near.car"`` → one dict a meaning. Raises ModelError on an unknown atom."""
    meanings: list[dict[str, float]] = []
    for part in text.split("&"):
        atoms: dict[str, float] = {}
        group = ""
        for item in part.split():
            name, _, weight = item.partition(":")
            if "." in name.lstrip("."):
                group = name.rpartition(".")[0]
            else:
                name = f"{group}.{name}"
            if not name.startswith(".") and name not in INDEX:
                raise ModelError(f"{place}: no atom is called {name}")
            atoms[name] = float(weight) if weight else 1.0
        if atoms:
            meanings.append(atoms)
    return tuple(meanings)


def _sense(phrase: str, fields: list[str], place: str) -> Sense:
    cls, about, atoms = fields[1], fields[2], fields[3].strip() if len(fields) > 3 else "-"
    if cls == "color":
        values = {}
        for item in atoms.split():
            name, _, weight = item.partition(":")
            values[name] = float(weight) if weight else 1.0
        return Sense(phrase, cls, "none", (values,), tone=None if about == "-" else about)
    if cls == "tone":
        if atoms not in TONES:
            raise ModelError(f"{place}: no tone is called {atoms}")
        return Sense(phrase, cls, about, tone=atoms)
    negated = atoms.startswith("!")
    if atoms == "-":
        return Sense(phrase, cls, about)
    return Sense(phrase, cls, about, read_atoms(atoms.lstrip("!"), place), negated)


TABLES = ("colors.tsv", "words.tsv", "verbs.tsv", "modifiers.tsv", "derived.tsv")
"""In order of trust: of two rows with one phrase and one part of speech the first counts."""


@cache
def lexicon() -> Lexicon:
    """All tables, read once. Raises ModelError when a row names an atom or tone that does not exist."""
    phrases: dict[str, list[tuple[tuple[str, ...], Sense]]] = {}
    seen: set[tuple[str, str]] = set()
    words: set[str] = set()
    classes: dict[str, set[str]] = {}
    by_hand: dict[str, frozenset[str]] = {}
    senses: tuple[Sense, ...] = ()
    for table in TABLES:
        if not (HERE / table).exists():
            continue
        for fields in rows(table):
            for phrase in fields[0].split("|"):
                sense = _sense(phrase, fields, f"lexicon/{table}, '{phrase}'")
                if (phrase, part_of_speech(sense.cls)) in seen:
                    continue
                seen.add((phrase, part_of_speech(sense.cls)))
                first, *rest = phrase.split()
                phrases.setdefault(first, []).append((tuple(rest), sense))
                words.update((first, *rest))
                classes.setdefault(phrase, set()).add(sense.cls)
        if table == TABLES[-2]:
            by_hand = {k: frozenset(v) for k, v in classes.items()}
            senses = tuple(sense for rest in phrases.values() for _, sense in rest)
    ordered = {k: tuple(sorted(v, key=lambda item: -len(item[0]))) for k, v in phrases.items()}
    irregular = {word: (lemma, form) for word, lemma, form in rows("irregular.tsv")}
    every = {k: frozenset(v) for k, v in classes.items()}
    return Lexicon(ordered, frozenset(words), irregular, _frames(), every, by_hand, senses)


def _frames() -> dict[tuple[str, str], tuple[tuple[str, Mapping[str, float]], ...]]:
    table: dict[tuple[str, str], list[tuple[str, Mapping[str, float]]]] = {}
    for verbs, marker, target, atoms in rows("frames.tsv"):
        for verb in verbs.split("|"):
            table.setdefault((verb, marker), []).append(
                (target, read_atoms(atoms, f"lexicon/frames.tsv, {verb}")[0])
            )
    return {key: tuple(value) for key, value in table.items()}


def part_of_speech(cls: str) -> str:
    """The tag of a class of words: N, V, COL, TONE, ADJ (in a noun phrase), or ADV (says something alone)."""
    if cls == "color":
        return "COL"
    if cls == "tone":
        return "TONE"
    if cls in NOUN_CLASSES:
        return "N"
    if cls in VERB_CLASSES:
        return "V"
    return "ADJ" if cls.startswith("adj") or cls == "haircol" else "ADV"
