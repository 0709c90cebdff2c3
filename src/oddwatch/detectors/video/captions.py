"""A sentence for a frame: by a vision chat model, or by the describer from the facts that it reads off the people.

A captioner is called with a frame, the people in it and the frame's tokens (or None), as
:data:`oddwatch.detectors.video.watching.Captioner` has it, and gives one text; "" stands for an answer that was not given.
"""

from __future__ import annotations

from collections.abc import Sequence

from oddwatch.core import ChatModel, Frame, Person, Tokens, Unknown
from oddwatch.describe.caption import facts_sentence
from oddwatch.describe.describer import Describer
from oddwatch.language.templates import prompt

LONGEST = 600
"""Characters of a caption."""
NUMBERS = ("no people", "one person", "two people", "three people", "four people", "five people", "six people",
           "seven people", "eight people", "nine people", "ten people")  # fmt: skip


class ChatCaptioner:
    """One question a frame to a ``chat`` model that sees; its answer in one line."""

    def __init__(self, chat: ChatModel) -> None:
        self.chat = chat

    @property
    def id(self) -> str:
        """Model, prompt and its version: captions of equal ids may be kept together."""
        asked = prompt("caption")
        return f"{self.chat.id} {asked.name}@{asked.version}"

    def __call__(self, frame: Frame, people: Sequence[Person], tokens: Tokens | None = None) -> str:
        """The caption of ``frame``, "" where the model gave none."""
        answer = self.chat.ask(prompt("caption"), [frame])
        if isinstance(answer.parsed, Unknown):
            return ""
        return " ".join(str(answer.parsed).split())[:LONGEST]


class DescriberCaptioner:
    """How many people there are, then a sentence of facts (probability ``least`` or more) for each of the ``most`` largest.

    It speaks of people only, and of what one frame shows: running and falling by the pose, not by the movement.
    """

    def __init__(self, describer: Describer | None = None, most: int = 6, least: float = 0.5) -> None:
        self.describer = describer or Describer()
        self.most, self.least = most, least

    @property
    def id(self) -> str:
        """Names the words: captions of equal ids may be kept together."""
        return f"describer {self.most} {self.least}"

    def __call__(self, frame: Frame, people: Sequence[Person], tokens: Tokens | None = None) -> str:
        """The caption of ``frame`` with ``people`` in it. The frame's ``tokens`` are not read: facts are of crops."""
        count = len(people)
        number = NUMBERS[count] if count < len(NUMBERS) else f"{count} people"
        parts = [f"There {'is' if count == 1 else 'are'} {number} in the image."]
        for person in sorted(people, key=lambda p: -p.box.area)[: self.most]:
            others = [p for p in people if p is not person]
            parts.append(facts_sentence(self.describer.describe(frame, person, others=others), self.least))
        return " ".join(parts)
