"""Sentences that define what is anomalous, or what is not, held against the people in view.

The user's own words are the definition of abnormal (the idea of LaGoVAD, arXiv 2505.11119), here read by the parser and
matched slot by slot as a search does. A description takes as long as a look at the whole frame, so somebody is described
anew only where it is due: at once when pose or movement say something else of what the sentences ask about, else every
``fresh`` seconds, or half as often where all that is asked about is worn or would show in the pose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from oddwatch.core import Facts, Frame, InputError, Motion, Person, Query
from oddwatch.describe.atoms import ATOMS, group_of
from oddwatch.describe.describer import Describer, doing
from oddwatch.describe.match import Assessment, assess, calibration, weights
from oddwatch.describe.sentence import parse

FRESH = 2.5
"""Seconds for which what somebody looks like and does is taken to stay."""
LONGER = 2.0
"""Times ``fresh`` for sentences about what is worn (:data:`WORN`) or shows in pose and movement (:data:`SHOWN`) alone."""
WORN = ("upper", "lower", "feet", "hair", "head")
SHOWN = ("posture", "arms", "facing", "motion")
CHANGED = 0.3
"""Change of a probability by which pose and movement say something else."""
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


@dataclass(frozen=True, slots=True)
class _Known:
    """What somebody was described as, when, and what pose and movement showed then."""

    time: float
    facts: Facts
    showing: np.ndarray


_NOT_DUE = (3, 0.0)


@dataclass
class Reader:
    """Describes the people of one camera and holds ``wishes`` against them; :meth:`look` is called in order of time."""

    describer: Describer
    wishes: Sequence[Wish]
    fresh: float = FRESH
    _known: dict[int, _Known] = field(default_factory=dict, repr=False)
    _shown: np.ndarray = field(init=False, repr=False)
    _lasts: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        asked = {int(i) for wish in self.wishes for i in np.flatnonzero(weights(wish.query))}
        shown = {i for i in asked if group_of(ATOMS[i]) in SHOWN}
        worn = {i for i in asked if group_of(ATOMS[i]).split(".")[0] in WORN}
        self._shown = np.array(sorted(shown), np.int64)
        self._lasts = self.fresh * (LONGER if asked == shown | worn else 1.0)

    def look(self, frame: Frame, people: Sequence[Person], motion: Callable[[int], Motion]) -> list[Met]:
        """Everybody in ``people`` (with tracks) that one of the wishes means; ``motion`` tells how a track moved so far."""
        return [m for m in self.assessed(frame, people, motion) if self._counts(m)]

    def assessed(self, frame: Frame, people: Sequence[Person], motion: Callable[[int], Motion]) -> list[Met]:
        """Every wish held against everybody whose facts are known."""
        time = frame.time or 0.0
        self._known = {t: k for t, k in self._known.items() if time - k.time < 10 * self.fresh}
        tracked = {p.track: p for p in people if p.track is not None}
        now = {track: self._showing(person, motion(track)) for track, person in tracked.items()}
        due = {track: self._due(track, time, showing) for track, showing in now.items()}
        for track in sorted((t for t in due if due[t] < _NOT_DUE), key=lambda t: due[t])[:MOST]:
            person = tracked[track]
            others = [p for p in people if p is not person]
            facts = self.describer.describe(frame, person, others=others, motion=motion(track))
            self._known[track] = _Known(time, facts, now[track])
        return [
            Met(number, person, assess(wish.query, self._known[track].facts, wish.least))
            for track, person in tracked.items()
            if track in self._known
            for number, wish in enumerate(self.wishes)
        ]

    def _showing(self, person: Person, motion: Motion) -> np.ndarray:
        """What the pose and the movement say of what the wishes ask about."""
        return doing(person, motion)[self._shown] if len(self._shown) else np.zeros(0, np.float32)

    def _due(self, track: int, time: float, showing: np.ndarray) -> tuple[int, float]:
        """Who is to be described first: strangers, then who changed, then who was described longest ago."""
        known = self._known.get(track)
        if known is None:
            return (0, 0.0)
        if np.abs(showing - known.showing).max(initial=0.0) > CHANGED:
            return (1, known.time)
        return (2, known.time) if time - known.time >= self._lasts else _NOT_DUE

    def _counts(self, met: Met) -> bool:
        return met.assessment.match
