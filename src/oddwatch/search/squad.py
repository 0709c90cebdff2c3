"""Smaller parts that a chat model plays: SSDC's detective, analyst and writer (arXiv 2604.23282, search §7.2) and
ActPair's rewriter (arXiv 2608.23503, search §7.3).

SSDC's released script never encodes the written sentence; here it is scored, as the paper describes. Original prompts
are published nowhere; these are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from oddwatch.core import ChatModel, Hit, Query, Unknown
from oddwatch.describe.sentence import LONGEST
from oddwatch.language.asking import Request
from oddwatch.language.parsing import YesNo, known, listing
from oddwatch.search.roles import ChatRole, Shown, look

ATTRIBUTES = ("sex", "age", "hair length", "hair colour", "upper garment", "upper garment's colour", "lower garment",
              "lower garment's colour", "shoes", "glasses", "bag", "hat", "action", "background",
              "bystanders")  # fmt: skip
"""The analyst's fifteen questions, after the paper's list (their wording is not published)."""


class ChatDetective(ChatRole):
    """Whether a hit's main person fits the sentence, background left out. Where the model offers the odds of yes,
    ``least`` is the smallest that accepts; without an answer nobody is accepted."""

    prompt = "detective"

    def __init__(self, chat: ChatModel, picture: Shown, sees: bool = True, least: float = 0.5) -> None:
        super().__init__(chat)
        self.picture, self.sees, self.least = picture, sees, least

    def request(self, query: Query, hit: Hit) -> Request | None:
        """The question about one hit, or None where there is nothing to look at."""
        seen = look(self.picture(hit), self.sees)
        if seen is None:
            return None
        return Request(self.filled(text=query.text, caption=seen[1]), seen[0], YesNo)

    def __call__(self, query: Query, hit: Hit) -> bool:
        """Whether the hit is accepted."""
        request = self.request(query, hit)
        if request is None:
            return False
        (answer,) = self.ask_all([request])
        if answer.yes is not None:
            return answer.yes >= self.least
        return not isinstance(answer.parsed, Unknown) and answer.parsed.answer == "yes"


class ChatAnalyst(ChatRole):
    """Fifteen attributes of the main person of a picture."""

    prompt = "analyst"

    def __init__(self, chat: ChatModel, sees: bool = True) -> None:
        super().__init__(chat)
        self.sees = sees

    def __call__(self, shown: Any) -> dict[str, str]:
        """What could be seen, by attribute; empty without an answer."""
        seen = look(shown, self.sees)
        if seen is None:
            return {}
        asked = self.filled(attributes=list(ATTRIBUTES), caption=seen[1])
        (answer,) = self.ask_all([Request(asked, seen[0], listing(len(ATTRIBUTES), "Attributes"))])
        if isinstance(answer.parsed, Unknown):
            return {}
        said = [(name, known(item)) for name, item in zip(ATTRIBUTES, answer.parsed.items, strict=True)]
        return {name: _line(item)[:80] for name, item in said if not isinstance(item, Unknown)}


class Written(BaseModel):
    """A writer's answer."""

    sentence: str = Field(min_length=1, max_length=600)


class ChatWriter(ChatRole):
    """Merges a description and an analyst's notes into one sentence."""

    prompt = "writer"

    def __call__(self, text: str, notes: Mapping[str, str]) -> str:
        """The sentence; ``text`` itself without notes or without an answer."""
        if not notes:
            return text
        listed = [{"name": name, "seen": seen} for name, seen in notes.items()]
        (answer,) = self.ask_all([Request(self.filled(text=text, notes=listed), schema=Written)])
        return text if isinstance(answer.parsed, Unknown) else _line(answer.parsed.sentence) or text


@dataclass(frozen=True, slots=True)
class ChatRefiner:
    """After an accepted hit: its picture is analysed, the sentence rewritten, and all hits scored by it."""

    analyst: ChatAnalyst
    writer: ChatWriter
    picture: Shown
    score: Callable[[str, Sequence[Hit]], np.ndarray]

    def __call__(self, query: Query, hits: Sequence[Hit], place: int) -> np.ndarray:
        """(N,) scores of ``hits`` in 0–1 by the sentence as rewritten after the hit at ``place``."""
        return self.score(self.writer(query.text, self.analyst(self.picture(hits[place]))), hits)


class Parts(BaseModel):
    """A rewriter's answer."""

    person: str = Field(max_length=300)
    clothing: str = Field(max_length=300)
    action: str = Field(max_length=300)
    scene: str = Field(max_length=300)


class ChatRewriter(ChatRole):
    """A sentence in ActPair's fixed form: person, clothing, action, scene. ``tags`` are canonical words for actions.
    Its vector is averaged with the original's (``fuse.dual_view``)."""

    prompt = "rewrite"

    def __init__(self, chat: ChatModel, tags: Sequence[str] = ()) -> None:
        super().__init__(chat)
        self.tags = tuple(tags)

    def __call__(self, text: str) -> str:
        """The rewritten sentence; ``text`` itself without a usable answer."""
        if not text.strip() or len(text) > LONGEST:
            return text
        (answer,) = self.ask_all([Request(self.filled(text=text, tags=list(self.tags)), schema=Parts)])
        if isinstance(answer.parsed, Unknown):
            return text
        said = answer.parsed
        person, clothing, action, scene = (
            _known(part) for part in (said.person, said.clothing, said.action, said.scene)
        )
        if not (clothing or action or scene):
            return text
        words = [
            person or "a person",
            f"wearing {clothing}" if clothing else "",
            f"is {action}" if action else "",
            scene,
        ]
        return " ".join(filter(None, words)) + "."


def _known(part: str) -> str:
    word = known(_line(part))
    return "" if isinstance(word, Unknown) else word


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
