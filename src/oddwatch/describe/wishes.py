"""Sentences that define what is anomalous, or what is not, held against the people in view.

The user's own words are the definition of abnormal (the idea of LaGoVAD, arXiv 2505.11119), here read by the parser and
matched slot by slot as a search does. What somebody does is read anew at each look from pose, movement and the people beside
(:mod:`oddwatch.describe.acts`); only what they wear, carry and stand by needs a description, which takes as long as a look at
the whole frame: it is made where a sentence asks for it, and lasts ``fresh`` seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from oddwatch.core import Facts, Frame, InputError, Motion, Person, Query
from oddwatch.describe.acts import ACTED, Acts
from oddwatch.describe.atoms import ATOMS, group_of
from oddwatch.describe.describer import BESIDE, Describer, Sheet, beside
from oddwatch.describe.match import Assessment, assess, calibration, weights
from oddwatch.describe.sentence import parse

FRESH = 2.5
"""Seconds for which what somebody looks like is taken to stay."""
LONGER = 2.0
"""Times ``fresh`` for sentences that ask, beside what is read at each look, for what is worn alone."""
WORN = ("upper", "lower", "feet", "hair", "head")
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
    _acts: Acts = field(default_factory=Acts, init=False, repr=False)
    _known: dict[int, tuple[float, Facts]] = field(default_factory=dict, init=False, repr=False)
    _lasts: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        asked = {ATOMS[int(i)] for wish in self.wishes for i in np.flatnonzero(weights(wish.query))}
        described = {a for a in asked if group_of(a) not in ("posture", *BESIDE) and a not in ACTED}
        worn = all(group_of(a).split(".")[0] in WORN for a in described)
        self._lasts = self.fresh * (LONGER if worn else 1.0) if described else np.inf

    def look(self, frame: Frame, people: Sequence[Person], motion: Callable[[int], Motion]) -> list[Met]:
        """Everybody in ``people`` (with tracks) that one of the wishes means; ``motion`` tells how a track moved so far."""
        return [m for m in self.assessed(frame, people, motion) if m.assessment.match]

    def assessed(self, frame: Frame, people: Sequence[Person], motion: Callable[[int], Motion]) -> list[Met]:
        """Every wish held against everybody of whom enough is known."""
        time = frame.time or 0.0
        self._acts.look(time, people)
        tracked = {p.track: p for p in people if p.track is not None}
        if np.isfinite(self._lasts):
            self._describe(frame, people, tracked, motion)
        found = []
        for track, person in tracked.items():
            if np.isfinite(self._lasts) and track not in self._known:
                continue
            others = [p for p in people if p is not person]
            facts = self._facts(track, beside(person, others, motion(track)))
            found += [Met(n, person, assess(w.query, facts, w.least)) for n, w in enumerate(self.wishes)]
        return found

    def _describe(
        self,
        frame: Frame,
        people: Sequence[Person],
        tracked: dict[int, Person],
        motion: Callable[[int], Motion],
    ) -> None:
        """Describe who is due, whoever was described longest ago first."""
        time = frame.time or 0.0
        self._known = {t: k for t, k in self._known.items() if time - k[0] < 10 * self.fresh}
        ages = {t: time - self._known[t][0] if t in self._known else np.inf for t in tracked}
        due = sorted((t for t in ages if ages[t] >= self._lasts), key=lambda t: -ages[t])
        for track in due[:MOST]:
            others = [p for p in people if p is not tracked[track]]
            facts = self.describer.describe(frame, tracked[track], others=others, motion=motion(track))
            self._known[track] = (time, facts)

    def _facts(self, track: int, now: Facts) -> Facts:
        """What is known of somebody: as described, with what is shown now and what they have been doing."""
        _, facts = self._known.get(track, (0.0, Sheet().facts()))
        both = replace(facts, p=np.where(now.known, now.p, facts.p), known=facts.known | now.known)
        return self._acts.told(track, both)
