"""A camera's rule book, from captions of normal frames: what is normal there, what is not, and the words that give it away.

The blocks of AnomalyRuler ("Follow the Rules", ECCV 2024, arXiv 2407.10299): induce rules from a few normal captions, merge
the sets by vote, take keywords from them, look for those, mend captions that the frames around contradict, judge. Each block
that a language model plays has an offline twin that takes over where the model says nothing usable.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from oddwatch.core import ChatModel, InputError, Unknown
from oddwatch.core.jsonable import Jsonable
from oddwatch.describe.sentence.words import forms
from oddwatch.detectors.video.asking import ask_all, read_all, texts_of
from oddwatch.detectors.video.cover import spoken
from oddwatch.language import grammars
from oddwatch.language.asking import Request
from oddwatch.language.templates import prompt

log = logging.getLogger(__name__)

_NORMAL, _ANOMALY = r"(?=.*\bnormal\b)", r"(?=.*(?:anomal|abnormal))"
_THINGS = r"(?:environment|object|non.?human|thing)"
TITLES = {
    "normal_human": re.compile(rf"^{_NORMAL}(?!.*{_THINGS}).{{0,80}}$", re.I),
    "normal_env": re.compile(rf"^{_NORMAL}(?=.*{_THINGS}).{{0,80}}$", re.I),
    "anomaly_human": re.compile(rf"^{_ANOMALY}(?!.*{_THINGS}).{{0,80}}$", re.I),
    "anomaly_env": re.compile(rf"^{_ANOMALY}(?=.*{_THINGS}).{{0,80}}$", re.I),
}
"""How the titles of the four lists may be written."""
HEADINGS = {
    "normal_human": "Normal human activities",
    "normal_env": "Normal environmental objects",
    "anomaly_human": "Anomaly human activities",
    "anomaly_env": "Anomaly environmental objects",
}
CLAUSES = re.compile(r"([.,])")
DOING = re.compile(r"(\bfirst person is )[^.,]*", re.I)


@dataclass(frozen=True, slots=True)
class RuleBook(Jsonable):
    """Four lists of short phrases, and the keywords that give an anomaly away."""

    normal_human: tuple[str, ...] = ()
    normal_env: tuple[str, ...] = ()
    anomaly_human: tuple[str, ...] = ()
    anomaly_env: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> RuleBook:
        """From four titled lists, as models and the published rule files write them; a list that is missing is empty."""
        return cls(**grammars.titled_lists(text, TITLES))

    @classmethod
    def of(cls, lists: dict[str, Sequence[str]]) -> RuleBook:
        """From the JSON form; what a list holds twice counts once."""
        return cls(**{name: tuple(dict.fromkeys(entries)) for name, entries in lists.items()})

    def lists(self) -> dict[str, Sequence[str]]:
        """The JSON form."""
        return asdict(self)

    @property
    def normal(self) -> tuple[str, ...]:
        return self.normal_human + self.normal_env

    @property
    def anomaly(self) -> tuple[str, ...]:
        return self.anomaly_human + self.anomaly_env

    @property
    def whole(self) -> bool:
        """Whether none of the four lists is empty."""
        return all(getattr(self, name) for name in TITLES)

    def text(self) -> str:
        """The four lists under their titles, numbered."""
        parts = []
        for name, heading in HEADINGS.items():
            entries = "\n".join(f"{i}. {entry}" for i, entry in enumerate(getattr(self, name), 1))
            parts.append(f"{heading}:\n{entries}")
        return "\n\n".join(parts)


def _phrases() -> Any:
    entry: Any = {"type": "string", "maxLength": 80}
    return Field(default_factory=list, json_schema_extra={"minItems": 1, "maxItems": 8, "items": entry})


class FourLists(BaseModel):
    """The lists of a rule book as a model fills them in; the limits are the server's to keep. A list that was cut off stays
    empty."""

    normal_human: list[str] = _phrases()
    normal_env: list[str] = _phrases()
    anomaly_human: list[str] = _phrases()
    anomaly_env: list[str] = _phrases()


# -- induction ---------------------------------------------------------------------------------------------------


def induce(
    chat: ChatModel, captions: Sequence[str], *, n: int = 10, batch: int = 1, seed: int = 0
) -> list[RuleBook]:
    """A rule set from each of ``n`` batches of ``batch`` captions of normal frames, drawn by chance without repetition
    (fewer where there are fewer captions). A set that lacks a list is asked for once more, as JSON, then that list stays
    empty.

    Raises:
        InputError: no caption.
    """
    told = [c for c in captions if c.strip()]
    if not told:
        raise InputError("normal", "expected captions of normal frames, got none", "watch with a captioner")
    drawn = np.random.default_rng(seed).permutation(len(told))[: n * batch]
    batches = [[told[i] for i in drawn[at : at + batch]] for at in range(0, len(drawn), batch)]
    requests = [Request(prompt("rules_induce", descriptions=b, again=False)) for b in batches]
    books = [RuleBook() if isinstance(a, Unknown) else RuleBook.read(a) for a in texts_of(chat, requests)]
    short = [i for i, book in enumerate(books) if not book.whole]
    second = _as_json(chat, [batches[i] for i in short])
    for i, book in zip(short, second, strict=True):
        missing = {name: getattr(book, name) for name in TITLES if not getattr(books[i], name)}
        books[i] = replace(books[i], **missing)
    return books


def _as_json(chat: ChatModel, batches: Sequence[Sequence[str]]) -> list[RuleBook]:
    asked = [Request(prompt("rules_induce", descriptions=b, again=True), schema=FourLists) for b in batches]
    books = []
    for answer in ask_all(chat, asked):
        if isinstance(answer.parsed, FourLists):
            books.append(RuleBook.of(answer.parsed.model_dump()))
        else:  # it may have kept to titles
            books.append(RuleBook.read(answer.raw))
    return books


def merge(books: Sequence[RuleBook], least: int | None = None) -> RuleBook:
    """One rule set by vote, without a model: a normal rule stays when at least ``least`` sets (default: half of them) hold it
    in the same words but for case and punctuation, anomaly rules all stay, but for those that are also kept as normal."""
    least = (len(books) + 1) // 2 if least is None else least
    merged: dict[str, tuple[str, ...]] = {}
    allowed: set[str] = set()
    for name in TITLES:
        written: dict[str, str] = {}
        votes: Counter[str] = Counter()
        for book in books:
            own = {_plain(rule): rule for rule in getattr(book, name)}
            votes.update(own.keys())
            written = own | written
        normal = name.startswith("normal")
        kept = [w for w in votes if (votes[w] >= least if normal else w not in allowed)]
        allowed |= set(kept) if normal else set()
        merged[name] = tuple(written[w] for w in kept)
    return RuleBook(**merged)


def _plain(rule: str) -> str:
    return " ".join(re.findall(r"\w+", rule.casefold()))


def aggregate(chat: ChatModel | None, books: Sequence[RuleBook], least: int | None = None) -> RuleBook:
    """One rule set from several: by the model, else, or where its answer lacks rules for anomalies, by :func:`merge`."""
    offline = merge(books, least)
    if chat is None or len(books) < 2:
        return offline
    asked = prompt(
        "rules_aggregate",
        sets=[book.text() for book in books],
        least=(len(books) + 1) // 2 if least is None else least,
        count=len(books),
    )
    (answer,) = texts_of(chat, [Request(asked)])
    book = RuleBook() if isinstance(answer, Unknown) else RuleBook.read(answer)
    if not book.anomaly:
        log.warning("the rule sets are merged word by word: the model gave no rules for anomalies")
        return offline
    return book


def keywords(chat: ChatModel | None, book: RuleBook) -> tuple[str, ...]:
    """The words to look for: by the model, else, or where it gives no list, by :func:`keywords_of`. Words that the normal
    rules hold are left out."""
    if chat is not None and book.anomaly:
        asked = prompt("rules_keywords", anomaly=list(book.anomaly), normal=list(book.normal))
        (answer,) = texts_of(chat, [Request(asked)])
        listed = grammars.words(answer) if isinstance(answer, str) else answer
        if not isinstance(listed, Unknown):
            normal = ". ".join(book.normal)
            return tuple(word for word in listed if not find(normal, (word,)))
        log.warning("keywords are taken from the rules' own words: the model gave no list")
    return keywords_of(book)


def keywords_of(book: RuleBook) -> tuple[str, ...]:
    """What the anomaly rules speak of (verbs in -ing, nouns of things) and the normal rules do not, without a model. A thing
    that is anomalous only in some state, as an unattended bag is, gives no keyword: bags are said of normal frames too."""
    usual = {term.key for rule in book.normal for term in spoken(rule)}
    said = (term for rule in book.anomaly for term in spoken(rule))
    return tuple(dict.fromkeys(t.word for t in said if t.key not in usual and not t.stated))


# -- deduction ---------------------------------------------------------------------------------------------------


def find(text: str, words: Iterable[str], whole: bool = True) -> tuple[str, ...]:
    """Which of ``words`` are in ``text``, in their order, whatever the case. ``whole`` words only, in the singular or the
    plural; else also inside other words, as the released code does (van in "advance")."""
    low = text.lower()
    if not whole:
        return tuple(word for word in words if word and word.lower() in low)
    return tuple(word for word in words if word and _pattern(word.lower()).search(low))


@lru_cache(maxsize=5000)
def _pattern(word: str) -> re.Pattern[str]:
    single = next((lemma for lemma, form in forms(word) if form == "s"), word) if " " not in word else word
    either = "|".join(re.escape(w) for w in dict.fromkeys((word, single)))
    return re.compile(rf"(?<![\w])(?:{either})(?:e?s)?(?!\w)")


def mended(text: str, was: bool, now: bool, words: Sequence[str], frequent: str = "") -> str:
    """A caption that agrees with the frames around it.

    ``was`` anomalous by its own words and not ``now``: clauses (up to a comma or full stop) that hold one of ``words``
    go. The other way round: the first person does what ``frequent`` says, the keyword that is most frequent around; a
    thing is ridden, for want of better knowledge, as in the released code.
    """
    if was and not now:
        return _without(text, words)
    if now and not was and frequent:
        doing = frequent if frequent.endswith("ing") else f"riding {_article(frequent)}"
        if DOING.search(text):
            return DOING.sub(lambda m: m.group(1) + doing, text, count=1)
        return f"{text.rstrip()} One person is {doing}.".lstrip()
    return text


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _without(text: str, words: Sequence[str]) -> str:
    parts = CLAUSES.split(text)
    pairs = list(zip(parts[::2], [*parts[1::2], ""], strict=True))
    kept = [(clause, sign) for clause, sign in pairs if not find(clause, words)]
    out = "".join(clause + sign for clause, sign in kept).strip()
    # The text ends as it did before.
    return out.rstrip(",") + ("." if text.rstrip().endswith(".") and out and not out.endswith(".") else "")


def judge(
    chat: ChatModel, book: RuleBook, captions: Sequence[str], words: Sequence[str]
) -> list[tuple[int | Unknown, str]]:
    """The model's verdict on each caption, 1 or 0 or UNKNOWN, and what it said. ``words`` are what a first look found, ""
    for nothing."""
    rules = book.text()
    asked = [
        Request(prompt("rules_judge", rules=rules, text=text, word=word))
        for text, word in zip(captions, words, strict=True)
    ]
    return read_all(chat, asked, grammars.digit_after, grammars.Verdict, attrgetter("output"))
