"""What all parts that a chat model plays in a search share: asking through a prompt file, counting, and what is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from oddwatch.core import Answer, ChatModel, Facts, Hit, InputError, Prompt, Usage
from oddwatch.describe.atoms import SCHEMA_ID
from oddwatch.describe.caption import facts_sentence
from oddwatch.language.asking import Chat, Request
from oddwatch.language.templates import prompt, template

Shown = Callable[[Hit], Any]
"""What a model is shown of a hit: a Frame or (H, W, 3) uint8 picture for one that sees; Facts or a sentence for one
that reads text only; None where there is nothing."""
MOST_NOTES = 20


class ChatRole:
    """A part played by a chat model through the prompt file ``prompt``. Over all queries: ``usage`` counts the calls
    made (answers from a cache cost none), ``questions`` what was asked, ``notes`` why something stayed UNKNOWN."""

    prompt: ClassVar[str]

    def __init__(self, chat: ChatModel) -> None:
        self.chat = chat
        self.usage, self.questions, self.notes = Usage(), 0, Counter[str]()

    @property
    def id(self) -> str:
        """Model, prompt and its version: answers of equal ids may be kept together."""
        return f"{self.chat.id} {self.prompt}@{template(self.prompt).version}"

    def filled(self, **data: Any) -> Prompt:
        """The part's prompt with ``data`` filled in."""
        return prompt(self.prompt, **data)

    def ask_all(self, requests: Sequence[Request]) -> list[Answer[Any]]:
        """The answers in the order of ``requests``; what was asked and what went wrong is counted."""
        if isinstance(self.chat, Chat):
            answers = self.chat.ask_many(requests)
        else:
            answers = [self.chat.ask(r.prompt, r.images, r.schema) for r in requests]
        # Equal questions share one answer, which cost once.
        for answer in {id(a): a for a in answers}.values():
            self.questions += 1
            self.usage += answer.usage
            if answer.outcome != "answered":
                self.note(f"{answer.outcome}: {answer.note}")
        return answers

    def note(self, why: str) -> None:
        """Count a reason why something stayed UNKNOWN."""
        line = f"{self.prompt} {why}"[:300]
        self.notes[
            line if line in self.notes or len(self.notes) < MOST_NOTES else f"{self.prompt}: more"
        ] += 1


def look(shown: Any, sees: bool) -> tuple[tuple[Any, ...], str] | None:
    """(pictures, "") for a model that sees, ((), description) for one that reads; None where there is nothing."""
    if isinstance(shown, Facts):
        shown = facts_sentence(shown) if shown.schema == SCHEMA_ID else None
    if shown is None:
        return None
    if isinstance(shown, str) == sees:
        raise InputError(
            "shown", f"expected {'a picture' if sees else 'facts or a sentence'}, got {type(shown)}"
        )
    return ((shown,), "") if sees else ((), str(shown))
