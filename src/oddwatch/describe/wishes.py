"""Sentences that define what is anomalous, or what is not, held against the people in view.

The user's own words are the definition of abnormal (the idea of LaGoVAD, arXiv 2505.11119), here read by the parser and
matched slot by slot as a search does. Somebody is described anew at most every ``fresh`` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from oddwatch.core import Facts, Frame, InputError, Motion, Person, Query
from oddwatch.describe.describer import Describer
from oddwatch.describe.match import Assessment, assess, calibration
from oddwatch.describe.sentence import parse

FRESH = 2.5
"""Seconds for which what somebody looks like and does is taken to stay."""
MOST = 2
"""People described anew at one look; the others wait for the next."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A sentence as read, and the probability (0–1) from which somebody counts as meant."""

    query: Query
    least: float

    @classmethod
    def of(cls, text: str, least: float | None = None) -> Wish:
        """Read ``text``. Raises InputError where there is nothing in it that could be seen."""
        query = parse(text)
        if not query.slots:
            raise InputError(
                f"sentence {text!r}", "was not understood", "name clothes, colours, doings, things"
            )
        return cls(query, float(calibration()["threshold"]) if least is None else least)


@dataclass(frozen=True, slots=True)
class Met:
    """Somebody whom a sentence means: ``number`` of the sentence, the person, and why."""

    number: int
    person: Person
    assessment: Assessment

    @property
    def why(self) -> str:
        """The words of the sentence that were seen to hold."""
        return ", ".join(self.assessment.reason.matched)


@dataclass
class Reader:
    """Describes the people of one camera and holds ``wishes`` against them; :meth:`look` is called in order of time."""

    describer: Describer
    wishes: Sequence[Wish]
    fresh: float = FRESH
    _known: dict[int, tuple[float, Facts]] = field(default_factory=dict, repr=False)

    def look(self, frame: Frame, people: Sequence[Person], motion: Callable[[int], Motion]) -> list[Met]:
        """Everybody in ``people`` (with tracks) that one of the wishes means; ``motion`` tells how a track moved so far."""
        return [m for m in self.assessed(frame, people, motion) if self._counts(m)]

    def assessed(self, frame: Frame, people: Sequence[Person], motion: Callable[[int], Motion]) -> list[Met]:
        """Every wish held against everybody whose facts are known."""
        time = frame.time or 0.0
        self._known = {t: k for t, k in self._known.items() if time - k[0] < 10 * self.fresh}
        tracked = [p for p in people if p.track is not None]
        waiting = sorted(
            (p for p in tracked if time - self._known.get(p.track or 0, (-1e9,))[0] >= self.fresh),
            key=lambda p: self._known.get(p.track or 0, (-1e9,))[0],
        )
        for person in waiting[:MOST]:
            assert person.track is not None
            others = [p for p in people if p is not person]
            facts = self.describer.describe(frame, person, others=others, motion=motion(person.track))
            self._known[person.track] = (time, facts)
        return [
            Met(number, person, assess(wish.query, self._known[person.track][1], wish.least))
            for person in tracked
            if person.track in self._known
            for number, wish in enumerate(self.wishes)
        ]

    def _counts(self, met: Met) -> bool:
        return met.assessment.match
