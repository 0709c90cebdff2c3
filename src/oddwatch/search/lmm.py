"""The parts of search stages that a chat model plays: AnomalyLMM's editor, witness and judge (search §3), ActPair's
comparator and rewriter (§7.3), SSDC's detective, analyst and writer (§7.2).

Every part asks through one prompt file of ``language/prompts``. What the model says is untrusted: it is read by a
schema, checked against what was asked, shortened, and goes into another prompt only as quoted data. A question
without a usable answer is UNKNOWN: the offline part takes over, or nothing moves; ``notes`` say why.
Original prompts are published nowhere; these are ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, create_model, field_validator

from oddwatch.core import UNKNOWN, ChatModel, Hit, InputError, Query, Unknown, Usage
from oddwatch.describe.sentence import LONGEST
from oddwatch.describe.witness import Blank, BlankKind, Fill
from oddwatch.language.asking import Request
from oddwatch.language.parsing import known, listing
from oddwatch.search.agreement import TableJudge
from oddwatch.search.cloze import ClozeStage, Fusion, Said
from oddwatch.search.fuse import DetectiveStage
from oddwatch.search.hiding import Cloze, Hidden, generate, masked_with
from oddwatch.search.pairwise import Comparison, PairwiseStage, Verdict
from oddwatch.search.roles import ChatRole, Shown, look
from oddwatch.search.squad import ChatAnalyst, ChatDetective, ChatRefiner, ChatRewriter, ChatWriter

__all__ = [
    "ChatAnalyst",
    "ChatComparator",
    "ChatDetective",
    "ChatEditor",
    "ChatJudge",
    "ChatRefiner",
    "ChatRewriter",
    "ChatWitness",
    "ChatWriter",
    "build_chat_cloze",
    "build_chat_detective",
    "build_chat_pairwise",
    "notes_of",
    "parts_of",
    "planned_calls",
    "requests_for",
    "usage_of",
]

MOST_WORDS = 5
"""Words of a filled blank; more is prose."""
KEPT_WORDS = frozenset(("not", "no", "never", "without", "nobody", "none", "nothing", "one", "two", "three", "four",
                        "five", "six", "seven", "eight", "nine", "ten", "several", "both"))  # fmt: skip
"""Negations and counts, which an editor may not hide."""


class HiddenWord(BaseModel):
    """A word that an editor hides."""

    type: BlankKind
    word: str = Field(min_length=1, max_length=60)

    @field_validator("type", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        return value.strip("<> ").upper().replace("COLOUR", "COLOR") if isinstance(value, str) else value


class Hiding(BaseModel):
    """An editor's answer."""

    hidden: list[HiddenWord] = Field(max_length=60)


class ChatEditor(ChatRole):
    """Cloze generation (A1): the model names the words to hide, their places are found here (models cannot count
    characters). Words that are not in the sentence, negations, counts, or too many of them: ``offline`` hides instead."""

    prompt = "cloze_editor"

    def __init__(self, chat: ChatModel, offline: Callable[[str], Cloze] = generate) -> None:
        super().__init__(chat)
        self.offline = offline

    def request(self, text: str) -> Request:
        """The question about a sentence."""
        return Request(self.filled(text=text), schema=Hiding)

    def __call__(self, text: str) -> Cloze:
        """The sentence with blanks. Raises InputError for one of more than 2,000 characters."""
        if not text.strip() or len(text) > LONGEST:
            return self.offline(text)
        (answer,) = self.ask_all([self.request(text)])
        if isinstance(answer.parsed, Unknown):
            return self.offline(text)
        try:
            return masked_with(text, placed(text, answer.parsed.hidden), self.id)
        except ValueError as error:
            self.note(f"unusable: {error}")
            return self.offline(text)


def placed(text: str, words: Sequence[HiddenWord]) -> list[Hidden]:
    """The places of ``words`` in ``text``, in reading order and without overlaps; a word said twice is hidden twice.

    Raises:
        ValueError: one is not there as a whole word, is a negation or count, or they are none or most of the text.
    """
    found: list[Hidden] = []
    for said in words:
        if any(w in KEPT_WORDS or w.isdigit() for w in re.findall(r"\w+", said.word.lower())):
            raise ValueError("a negation or count was to be hidden")
        free = [
            m.span()
            for m in re.finditer(rf"(?<!\w){re.escape(said.word)}(?!\w)", text, re.IGNORECASE)
            if all(m.end() <= h.start or h.end <= m.start() for h in found)
        ]
        if not free:
            raise ValueError("a word to hide is not in the sentence")
        found.append(Hidden(said.type, text[slice(*free[0])], *free[0]))
    if not found or 2 * sum(h.end - h.start for h in found) > len(text):
        raise ValueError("no words were to be hidden, or most of the sentence")
    return sorted(found, key=lambda h: h.start)


class ChatWitness(ChatRole):
    """Cloze completion (A2): one question a picture, all pictures of a query at once. With ``sees=False`` the model
    reads a description of the picture instead. It is given the masked sentence, never the hidden words."""

    prompt = "cloze_witness"

    def __init__(self, chat: ChatModel, sees: bool = True) -> None:
        super().__init__(chat)
        self.sees = sees

    @property
    def id(self) -> str:
        return f"{super().id} {'seeing' if self.sees else 'reading'}"

    def request(self, masked: str, blanks: Sequence[Blank], shown: Any) -> Request | None:
        """The question about one picture, or None where there is nothing to look at."""
        seen = look(shown, self.sees)
        if seen is None:
            return None
        kinds = [b.kind for b in blanks]
        asked = self.filled(masked=masked, kinds=kinds, count=len(kinds), caption=seen[1])
        return Request(asked, seen[0], listing(len(kinds)))

    def fill(self, masked: str, blanks: Sequence[Blank], shown: Any) -> Sequence[Fill]:
        """One word or UNKNOWN per blank."""
        return self.fill_all(masked, blanks, [shown])[0].fills

    def fill_all(self, masked: str, blanks: Sequence[Blank], shown: Sequence[Any]) -> list[Said]:
        """What is said of each of several pictures; UNKNOWN for all blanks of one that there is nothing of."""
        asked = [self.request(masked, blanks, s) for s in shown]
        answers = iter(self.ask_all([r for r in asked if r is not None]))
        nothing: list[Fill] = [UNKNOWN] * len(blanks)
        out = []
        for request in asked:
            answer = next(answers) if request is not None else None
            if answer is None or isinstance(answer.parsed, Unknown):
                out.append(Said(nothing, answer is None or answer.outcome == "unusable"))
            else:
                out.append(Said([_phrase(item) for item in answer.parsed.items]))
        return out


def _phrase(item: str) -> Fill:
    word = known(item)
    return UNKNOWN if isinstance(word, Unknown) or len(word.split()) > MOST_WORDS else word


class ChatJudge(ChatRole):
    """Comparison (A3): one question about all words of all pictures; each pair of hidden word and fill stands in it
    once. Equal words agree and UNKNOWN does not, unasked. Without a usable answer the tables of ``offline`` compare."""

    prompt = "cloze_judge"

    def __init__(self, chat: ChatModel, offline: TableJudge | None = None) -> None:
        super().__init__(chat)
        self.offline = offline or TableJudge()

    @property
    def id(self) -> str:
        return f"{super().id} else {self.offline.id}"

    def agree(self, cloze: Cloze, said: Sequence[Sequence[Fill]]) -> list[tuple[float, ...]]:
        """Agreement of every picture's words with the hidden ones."""
        asked: dict[tuple[BlankKind, str, str], float] = {}
        for fills in said:
            for hidden, fill in zip(cloze.key, fills, strict=True):
                if not isinstance(fill, Unknown) and fill.lower() != hidden.word.lower():
                    asked[hidden.kind, hidden.word, fill] = 0.0
        if asked:
            pairs = [{"kind": kind, "key": key, "fill": fill} for kind, key, fill in asked]
            request = Request(
                self.filled(masked=cloze.masked, pairs=pairs, count=len(pairs)), schema=_scores(len(pairs))
            )
            (answer,) = self.ask_all([request])
            if isinstance(answer.parsed, Unknown):
                asked = {pair: self.offline(*pair) for pair in asked}
            else:
                asked = dict(zip(asked, answer.parsed.scores, strict=True))
        return [
            tuple(
                0.0 if isinstance(f, Unknown) else asked.get((h.kind, h.word, f), 1.0)
                for h, f in zip(cloze.key, fills, strict=True)
            )
            for fills in said
        ]


def _scores(count: int) -> type[BaseModel]:
    each: Any = (list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=count, max_length=count))
    made: type[BaseModel] = create_model("Agreement", scores=each)
    return made


Choice = Literal["a", "b", "tie", "unknown"]
ASPECTS = ("action", "person", "clothing", "objects", "bystanders", "scene", "relations")


class Compared(BaseModel):
    """A comparator's answer: the picture that fits better, aspect by aspect and as a whole."""

    action: Choice = "unknown"
    person: Choice = "unknown"
    clothing: Choice = "unknown"
    objects: Choice = "unknown"
    bystanders: Choice = "unknown"
    scene: Choice = "unknown"
    relations: Choice = "unknown"
    better: Choice


class ChatComparator(ChatRole):
    """Both pictures in one question: a, b or tie; UNKNOWN is a tie. ``both_orders`` asks with the pictures swapped as
    well and takes a tie where the answers differ: models favour one place. ``sees=False`` as for the witness."""

    prompt = "pairwise"

    def __init__(
        self, chat: ChatModel, picture: Shown, *, sees: bool = True, both_orders: bool = False
    ) -> None:
        super().__init__(chat)
        self.picture, self.sees, self.both_orders = picture, sees, both_orders

    @property
    def id(self) -> str:
        return f"{super().id} {'seeing' if self.sees else 'reading'}{' twice' if self.both_orders else ''}"

    def requests(self, query: Query, a: Hit, b: Hit) -> list[Request]:
        """The question, in one or both orders; none where there is nothing to look at."""
        looks = [look(self.picture(h), self.sees) for h in (a, b)]
        first, second = looks
        if first is None or second is None:
            return []
        orders = [(first, second), (second, first)][: 1 + self.both_orders]
        return [
            Request(self.filled(text=query.text, first=x[1], second=y[1]), (*x[0], *y[0]), Compared)
            for x, y in orders
        ]

    def compare(self, query: Query, a: Hit, b: Hit) -> Comparison:
        """Which hit fits the sentence better. ``margin`` is the share of the eight verdicts that name it, ``words``
        the aspects that do."""
        answers = self.ask_all(self.requests(query, a, b))
        told = [x.parsed for x in answers if not isinstance(x.parsed, Unknown)]
        if not told or len(told) < len(answers):
            return Comparison("tie")
        seen = [_verdicts(told[0]), *(_swapped(_verdicts(t)) for t in told[1:])]
        verdict = _common(s["better"] for s in seen)
        if verdict == "tie":
            return Comparison("tie")
        words = tuple(name for name in ASPECTS if _common(s[name] for s in seen) == verdict)
        return Comparison(verdict, (len(words) + 1) / (len(ASPECTS) + 1), words)


def _verdicts(told: Compared) -> dict[str, Choice]:
    return {name: getattr(told, name) for name in (*ASPECTS, "better")}


def _swapped(verdicts: Mapping[str, Choice]) -> dict[str, Choice]:
    other: dict[Choice, Choice] = {"a": "b", "b": "a"}
    return {name: other.get(v, v) for name, v in verdicts.items()}


def _common(verdicts: Any) -> Verdict:
    (first, *others) = set(verdicts)
    return first if not others and first in ("a", "b") else "tie"


def build_chat_cloze(
    chat: ChatModel,
    *,
    shown: Shown,
    sees: bool = True,
    n: int = 3,
    fusion: Fusion | None = None,
    editor: bool = True,
    judge: bool = True,
) -> ClozeStage:
    """AnomalyLMM with ``chat`` in all three parts; ``editor`` or ``judge`` False leaves that part to the tables, which
    cost no call. ``shown`` gives pictures, or facts where ``sees`` is False."""
    stage = ClozeStage(ChatWitness(chat, sees), shown, n, fusion or Fusion())
    if judge:
        stage.judge = ChatJudge(chat)
    if editor:
        stage.make = ChatEditor(chat)
    return stage


def build_chat_pairwise(
    chat: ChatModel, picture: Shown, *, n: int = 10, sees: bool = True, both_orders: bool = False
) -> PairwiseStage:
    """ActPair's pivot-promote with ``chat`` as the comparator."""
    return PairwiseStage(ChatComparator(chat, picture, sees=sees, both_orders=both_orders), n)


def build_chat_detective(
    chat: ChatModel,
    picture: Shown,
    *,
    sees: bool = True,
    of: str = "facts",
    rounds: int = 5,
    lam: float = 0.4,
    score: Callable[[str, Sequence[Hit]], np.ndarray] | None = None,
) -> DetectiveStage:
    """SSDC's second stage with ``chat`` as the detective; with ``score(sentence, hits)`` → (N,) in 0–1 also as analyst
    and writer, whose sentence is scored. ``of`` is the stage whose scores are the base."""
    refine = None if score is None else ChatRefiner(ChatAnalyst(chat, sees), ChatWriter(chat), picture, score)
    return DetectiveStage(ChatDetective(chat, picture, sees), of, lam, rounds, refine)


def planned_calls(
    stage: str,
    n: int,
    *,
    editor: bool = True,
    judge: bool = True,
    both_orders: bool = False,
    writer: bool = False,
) -> tuple[int, int]:
    """(fewest, most) calls of the model for one sentence over the best ``n`` hits by the stage of that name (for ssdc
    ``n`` rounds). Repairs come on top, remembered answers go off, a sentence with nothing to hide takes the editor's only.

    Raises:
        InputError: a stage in which no chat model plays a part.
    """
    few = n < 2
    if stage == "anomalylmm":
        return (0, 0) if few else (editor + n, editor + n + judge)
    if stage == "pairwise":
        each = 1 + both_orders
        return (0, 0) if few else (each * (n - 1), each * n * (n - 1) // 2)
    if stage == "ssdc":
        return (min(n, 1), n + 2 * writer if n else 0)
    raise InputError("stage", f"no chat model plays a part in {stage!r}", "anomalylmm, pairwise or ssdc")


def requests_for(stage: Any, query: Query, hits: Sequence[Hit]) -> list[Request]:
    """The questions that ``stage`` is going to ask first, without asking any: for :meth:`Chat.estimate`.

    Exact for a witness behind an offline editor; behind a chat editor the offline one stands in. The judge's question
    and the comparisons after the first round depend on answers and are not in it.
    """
    if isinstance(stage, ClozeStage):
        head = hits[: stage.n]
        if len(head) < 2:
            return []
        editor, witness = stage.make, stage.witness
        first = [editor.request(query.text)] if isinstance(editor, ChatEditor) else []
        cloze = editor.offline(query.text) if isinstance(editor, ChatEditor) else editor(query.text)
        if not cloze.blanks or not isinstance(witness, ChatWitness):
            return first
        asked = [witness.request(cloze.masked, cloze.blanks, stage.shown(h)) for h in head]
        return [*first, *(r for r in asked if r is not None)]
    if isinstance(stage, PairwiseStage) and isinstance(stage.comparator, ChatComparator):
        comparator, head = stage.comparator, hits[: stage.n]
        return [r for other in head[1:] for r in comparator.requests(query, head[0], other)]
    if isinstance(stage, DetectiveStage) and isinstance(stage.accepts, ChatDetective):
        asked = [stage.accepts.request(query, h) for h in hits[: stage.rounds]]
        return [r for r in asked if r is not None][:1]
    return []


def parts_of(stage: Any) -> list[ChatRole]:
    """The parts of a stage that a chat model plays."""
    if isinstance(stage, ChatRole):
        return [stage]
    if not is_dataclass(stage) or isinstance(stage, type):
        return []
    return [part for f in fields(stage) for part in parts_of(getattr(stage, f.name, None))]


def usage_of(stage: Any) -> Usage:
    """The calls and tokens that a stage took, all queries together; an offline stage takes none."""
    return sum((part.usage for part in parts_of(stage)), Usage())


def notes_of(stage: Any) -> list[str]:
    """Why questions of a stage stayed UNKNOWN, each with how often, and the last query's own notes."""
    counted = [f"{n} × {why}" for part in parts_of(stage) for why, n in part.notes.items()]
    return [*counted, *getattr(stage, "notes", ())]
