"""Chat models without a model: prepared replies, or a function. For tests, simulations and dry runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel

from oddwatch.core import InputError
from oddwatch.language.asking import Chat, NoReply, Question, Reply
from oddwatch.language.budget import Budget
from oddwatch.language.cache import AnswerCache

Said = str | BaseModel | dict[str, Any] | list[Any] | Reply | NoReply
"""Text, a value that is said as JSON, a full reply, or none at all."""


class ScriptedModel(Chat):
    """Says ``replies`` one after another, repairs included; ``history`` holds every question it was asked.

    Raises:
        InputError: it is asked more often than there are replies.
    """

    def __init__(
        self,
        replies: Iterable[Said],
        name: str = "scripted",
        *,
        parallel: int = 1,
        repairs: int = 1,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(parallel=parallel, repairs=repairs, cache=cache, budget=budget)
        self.name, self.history = name, list[Question]()
        self._replies = list(replies)

    @property
    def id(self) -> str:
        return self.name

    def reply(self, question: Question) -> Reply:
        if not self._replies:
            raise InputError("scripted model", f"has no reply left for question {len(self.history) + 1}")
        self.history.append(question)
        return _as_reply(self._replies.pop(0))


class FunctionModel(Chat):
    """Says what ``answer(question)`` returns; equal questions must get equal replies."""

    def __init__(
        self,
        answer: Callable[[Question], Said],
        name: str = "function",
        *,
        parallel: int = 1,
        repairs: int = 1,
        cache: AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(parallel=parallel, repairs=repairs, cache=cache, budget=budget)
        self.name, self.history = name, list[Question]()
        self._answer = answer

    @property
    def id(self) -> str:
        return self.name

    def reply(self, question: Question) -> Reply:
        self.history.append(question)
        return _as_reply(self._answer(question))


def _as_reply(said: Said) -> Reply:
    if isinstance(said, NoReply):
        raise said
    if isinstance(said, Reply):
        return said
    if isinstance(said, BaseModel):
        return Reply(said.model_dump_json())
    return Reply(said if isinstance(said, str) else json.dumps(said))
