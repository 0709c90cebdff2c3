"""How much a command may ask of a chat model, and how much it is going to."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from oddwatch.core import InputError, Jsonable, Usage

TOKENS_OF_A_PICTURE = 800
"""A guess: vision models spend some 250 to 1,500 tokens on a picture of 768 pixels."""
CHARACTERS_OF_A_TOKEN = 3.5


@dataclass
class Budget:
    """Most ``calls`` of the model, ``tokens`` (questions and answers) and wall-clock ``seconds`` since the first
    question, repairs and retries included; None is no limit. Shared by threads. Calls never go over; tokens are known
    only afterwards, so those of the questions under way may go over."""

    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    spent: Usage = field(default=Usage(), init=False)
    _started: float | None = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("calls", "tokens", "seconds"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(name, f"expected 0 or more, got {value}")

    def take(self) -> str:
        """Reserve one call: "" where it may be made, else which limit is reached."""
        with self._lock:
            now = time.monotonic()
            self._started = now if self._started is None else self._started
            if self.calls is not None and self.spent.calls >= self.calls:
                return f"the budget of {self.calls} calls is used up"
            if self.tokens is not None and self.spent.tokens >= self.tokens:
                return f"the budget of {self.tokens} tokens is used up"
            if self.seconds is not None and now - self._started >= self.seconds:
                return f"the budget of {self.seconds:g} seconds is used up"
            self.spent += Usage(1)
            return ""

    def spend(self, usage: Usage) -> None:
        """Count the tokens of a call that :meth:`take` reserved."""
        with self._lock:
            self.spent += Usage(0, usage.prompt_tokens, usage.answer_tokens)


@dataclass(frozen=True, slots=True)
class Estimate(Jsonable):
    """What a list of questions is going to take: ``calls`` of the model without repairs, ``cached`` answers that are
    there already, ``tokens`` roughly, ``seconds`` where earlier answers tell how long one takes, else None."""

    questions: int
    cached: int
    calls: int
    tokens: int
    seconds: float | None

    def __str__(self) -> str:
        about = "" if self.seconds is None else f", about {self.seconds:.0f} s"
        return f"{self.calls} calls, roughly {self.tokens} tokens{about}; {self.cached} answers are there already"


@dataclass(frozen=True, slots=True)
class Tally(Jsonable):
    """What was asked so far, by outcome; ``calls`` and tokens as in :class:`Usage`."""

    answered: int = 0
    unusable: int = 0
    failed: int = 0
    refused: int = 0
    cached: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0

    def notes(self) -> list[str]:
        """One line for every kind of question that stayed UNKNOWN."""
        said = {
            "refused": "not asked: the budget is used up",
            "failed": "without a reply: the model could not be reached in time, or failed",
            "unusable": "answered, but not in the form asked for",
        }
        counted = {name: getattr(self, name) for name in said}
        return [f"{count} question(s) {said[name]}" for name, count in counted.items() if count]
