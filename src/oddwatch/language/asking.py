"""What all chat models share: asking, reading the answer, one repair, cache, budget, many questions at once."""

from __future__ import annotations

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import BaseModel

from oddwatch.core import UNKNOWN, Answer, InputError, LimitError, OddwatchError, Progress, Prompt, Usage
from oddwatch.language import cache as answers
from oddwatch.language import lenient, parsing
from oddwatch.language.budget import CHARACTERS_OF_A_TOKEN, TOKENS_OF_A_PICTURE, Budget, Estimate, Tally
from oddwatch.language.pictures import Picture, digest
from oddwatch.language.templates import prompt as packaged

QUOTED_BACK = 4000
"""Characters of an unusable answer that the model sees again when it is asked to repair it."""
GUESSED_ANSWER = 100
"""Tokens of an answer, for an estimate."""


class ChatError(OddwatchError):
    """A chat model that is set up wrongly (address, key, model name), or an answer that nothing can go on without."""


class NoReply(Exception):
    """The model gave no reply this time; the message says why. The question's answer is then UNKNOWN."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a back end is to put to its model. The pictures belong to the first user message. ``schema`` is a JSON
    schema, a wish; ``yes_no`` asks for the probability of yes; ``deadline`` is on the monotonic clock."""

    messages: tuple[Message, ...]
    images: tuple[Picture, ...] = ()
    schema: dict[str, Any] | None = None
    yes_no: bool = False
    deadline: float = float("inf")

    @property
    def text(self) -> str:
        """The first user message."""
        return next((m.text for m in self.messages if m.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a back end's model said."""

    text: str
    prompt_tokens: int = 0
    answer_tokens: int = 0
    yes: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """The arguments of one :meth:`Chat.ask`."""

    prompt: str | Prompt
    images: Sequence[Picture] = ()
    schema: type[BaseModel] | None = None


class Chat(ABC):
    """Base of the back ends, which offer ``id`` and ``reply(question)``.

    ``timeout`` seconds for one question with its repair; ``parallel`` questions at once. Threads may share a model.
    """

    def __init__(
        self,
        *,
        timeout: float = 60.0,
        parallel: int = 1,
        repairs: int = 1,
        cache: answers.AnswerCache | None = None,
        budget: Budget | None = None,
    ) -> None:
        if not timeout > 0 or parallel < 1 or repairs < 0:
            raise InputError("timeout, parallel, repairs", "expected a time above 0, 1 or more, 0 or more")
        self.timeout, self.parallel, self.repairs = timeout, parallel, repairs
        self.cache, self.budget = cache, budget
        self._slots = threading.BoundedSemaphore(parallel)
        self._counts: Counter[str] = Counter()
        self._seconds = 0.0
        self._lock = threading.Lock()

    @property
    @abstractmethod
    def id(self) -> str:
        """Names the model: equal ids give comparable answers."""

    @property
    def sees(self) -> bool | None:
        """Whether the model takes pictures; None where nothing tells."""
        return None

    @abstractmethod
    def reply(self, question: Question) -> Reply:
        """What the model says. Raises NoReply, or ChatError for a wrong set-up."""

    def ask(
        self,
        prompt: str | Prompt,
        images: Sequence[Picture] = (),
        schema: type[BaseModel] | None = None,
    ) -> Answer[Any]:
        """The answer to ``prompt`` about ``images`` (Frames or (H, W, 3) uint8 arrays), read as a ``schema``, or as
        plain text without one.

        An answer of another form is asked for once more, then UNKNOWN, as is one that does not come in time or that
        the budget forbids.

        Raises:
            InputError: an empty prompt, or images that are none.
            LimitError: too many or too large images.
            ChatError: the model is set up wrongly.
        """
        asked, question = self._question(prompt, images, schema)
        key = self._key(asked, question, schema)
        found = self._remembered(key, schema)
        if found is None:
            with self._slots:
                found, kept = self._converse(question, schema)
            if kept is not None and self.cache is not None:
                self.cache.put(key, self.id, asked, kept)
        found = replace(found, model=self.id, prompt=f"{asked.name}@{asked.version}".strip("@"))
        self._count(found)
        return found

    def ask_many(self, requests: Iterable[Request], progress: Progress | None = None) -> list[Answer[Any]]:
        """The answers in the order of ``requests``, ``parallel`` at once; equal questions are asked once.

        Stopped with Ctrl-C, the answers so far are in the cache. Raises as :meth:`ask`.
        """
        wanted = list(requests)
        keys = [self._key(*self._question(r.prompt, r.images, r.schema), r.schema) for r in wanted]
        running: dict[str, Future[Answer[Any]]] = {}
        with ThreadPoolExecutor(self.parallel, thread_name_prefix="ask") as pool:
            try:
                for key, request in zip(keys, wanted, strict=True):
                    if key not in running:
                        running[key] = pool.submit(self.ask, request.prompt, request.images, request.schema)
                for done, future in enumerate(running.values(), 1):
                    future.result()
                    if progress is not None:
                        progress("questions", done, len(running))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [running[key].result() for key in keys]

    def estimate(self, requests: Iterable[Request]) -> Estimate:
        """What ``requests`` are going to take; asks nothing. Seconds are None where no earlier answer tells."""
        wanted = {
            self._key(asked, question, r.schema): question
            for r in requests
            for asked, question in [self._question(r.prompt, r.images, r.schema)]
        }
        missing = [q for k, q in wanted.items() if self.cache is None or self.cache.get(k) is None]
        tokens = sum(
            sum(len(m.text) for m in q.messages) / CHARACTERS_OF_A_TOKEN
            + TOKENS_OF_A_PICTURE * len(q.images)
            + GUESSED_ANSWER
            for q in missing
        )
        each = self.cache.seconds_per_answer(self.id) if self.cache is not None else None
        if self._counts["answered"]:
            each = self._seconds / self._counts["answered"]
        seconds = None if each is None else each * len(missing) / self.parallel
        return Estimate(len(wanted), len(wanted) - len(missing), len(missing), round(tokens), seconds)

    def close(self) -> None:  # noqa: B027  (most back ends hold nothing)
        """Free what the model holds; the cache stays open, it is the caller's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def tally(self) -> Tally:
        """What was asked of this model so far."""
        with self._lock:
            return Tally(**self._counts, seconds=self._seconds)

    def _question(
        self, prompt: str | Prompt, images: Sequence[Picture], schema: type[BaseModel] | None
    ) -> tuple[Prompt, Question]:
        asked = prompt if isinstance(prompt, Prompt) else Prompt(prompt)
        if not isinstance(asked.text, str) or not asked.text.strip():
            raise InputError("prompt", "expected a question, got none")
        yes_no = schema is parsing.YesNo
        form = None if schema is None else form_of(schema)
        text = asked.text
        if form is not None and not yes_no:
            text += "\n\n" + packaged("form", schema=form).text
        turns = [Message("system", asked.system)] if asked.system else []
        return asked, Question((*turns, Message("user", text)), tuple(images), form, yes_no)

    def _key(self, asked: Prompt, question: Question, schema: type[BaseModel] | None) -> str:
        full = replace(asked, text=question.text)
        form = "" if schema is None else json.dumps(question.schema, sort_keys=True)
        return answers.key(self.id, full, [digest(i) for i in question.images], form)

    def _remembered(self, key: str, schema: type[BaseModel] | None) -> Answer[Any] | None:
        stored = self.cache.get(key) if self.cache is not None else None
        if stored is None:
            return None
        parsed, problem = _read(stored.raw, schema)
        outcome: Literal["answered", "unusable"] = "unusable" if problem else "answered"
        return Answer(parsed, stored.raw, outcome=outcome, note=problem, yes=stored.yes, cached=True)

    def _converse(
        self, question: Question, schema: type[BaseModel] | None
    ) -> tuple[Answer[Any], answers.Stored | None]:
        """The answer, and what of it is worth remembering."""
        started = time.monotonic()
        question = replace(question, deadline=started + self.timeout)
        usage, raw, problem, yes = Usage(), "", "", None
        for attempt in range(self.repairs + 1):
            refusal = self.budget.take() if self.budget is not None else ""
            if refusal and not attempt:
                return Answer(UNKNOWN, outcome="refused", note=refusal), None
            if refusal:
                break
            usage += Usage(1)
            try:
                reply = self.reply(question)
            except NoReply as error:
                if attempt:
                    break
                spent = time.monotonic() - started
                return Answer(UNKNOWN, "", usage, spent, "failed", str(error)), None
            except LimitError:
                # The question fits; with the unusable answer under it, it is too long.
                if attempt:
                    break
                raise
            usage += self._paid(reply)
            # Odds tell even where the words do not; those before a repair are the unprompted ones.
            yes = reply.yes if yes is None else yes
            raw = reply.text.encode("utf-8", "replace").decode()[: lenient.LONGEST]
            parsed, problem = _read(raw, schema)
            if not problem:
                spent = time.monotonic() - started
                kept = answers.Stored(raw, yes, usage.calls, spent)
                return Answer(parsed, raw, usage, spent, yes=yes), kept
            question = _mending(question, raw, problem)
        else:
            spent = time.monotonic() - started
            kept = answers.Stored(raw, yes, usage.calls, spent)
            return Answer(UNKNOWN, raw, usage, spent, "unusable", problem, yes=yes), kept
        # The repair was never heard: another run may still get it.
        spent = time.monotonic() - started
        return Answer(UNKNOWN, raw, usage, spent, "unusable", problem, yes=yes), None

    def _paid(self, reply: Reply) -> Usage:
        paid = Usage(0, reply.prompt_tokens, reply.answer_tokens)
        if self.budget is not None:
            self.budget.spend(paid)
        return paid

    def _count(self, answer: Answer[Any]) -> None:
        with self._lock:
            self._counts[answer.outcome] += 1
            self._counts["cached"] += answer.cached
            self._counts["calls"] += answer.usage.calls
            self._counts["prompt_tokens"] += answer.usage.prompt_tokens
            self._counts["answer_tokens"] += answer.usage.answer_tokens
            self._seconds += answer.seconds


def form_of(schema: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema that a model is asked to fill in, each object with all its fields in the order of the class.

    Servers that write by a grammar put what is not required last: a verdict would come before its reasons. Titles and the
    class's docstring go: a small model copies them into its answer.
    """
    made = schema.model_json_schema()
    for part in (made, *made.get("$defs", {}).values()):
        part.pop("description", None)
        if "properties" in part:
            part["required"] = list(part["properties"])
            for one in part["properties"].values():
                one.pop("title", None)
    return made


def _read(raw: str, schema: type[BaseModel] | None) -> tuple[Any, str]:
    if schema is not None:
        return parsing.read(raw, schema)
    text = lenient.spoken(raw)
    return (text, "") if text else (UNKNOWN, "the answer was empty")


def _mending(question: Question, raw: str, problem: str) -> Question:
    if question.schema is None or question.yes_no:
        wish = "one word, yes or no" if question.yes_no else "the answer itself"
        again = f"Your answer could not be used. Answer with {wish}, and nothing else."
    else:
        again = packaged("repair", problem=problem, schema=question.schema).text
    turns = (*question.messages, Message("assistant", raw[:QUOTED_BACK] or "..."), Message("user", again))
    return replace(question, messages=turns)
