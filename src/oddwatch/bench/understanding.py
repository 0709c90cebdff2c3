"""Questions about drawn scenes: are they answered, and are those nobody can answer refused?

Each scene gives as many answerable as unanswerable questions (:mod:`oddwatch.datasets.scenes.quiz`). *Accuracy* is over the
answerable ones, UNKNOWN counting as wrong. *Precision of unknown* is the share of UNKNOWN answers whose question had none,
*recall of unknown* the share of unanswerable questions answered UNKNOWN. The template baseline gives the most frequent
right answer of each type of question and never says UNKNOWN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from oddwatch.bench.facts import accepted_colors
from oddwatch.bench.oracle import SURE, true_facts
from oddwatch.bench.subjects import Language
from oddwatch.core import Box, Facts, Jsonable, Motion, Span
from oddwatch.datasets.scenes.quiz import Question, done, told
from oddwatch.describe.atoms import INDEX, group_of, members
from oddwatch.understand.record import Record, Spell, Statement, Steps, make

EARLY = 2.0
"""Seconds by which an answered start may be off."""
PROTOCOL = "questions about drawn scenes"


@dataclass(frozen=True, slots=True)
class Graded(Jsonable):
    """A question, what was said, and whether that was right."""

    question: Question
    said: Any
    unknown: bool
    right: bool


def grade(question: Question, said: Any, unknown: bool = False) -> Graded:
    """``said`` held against the accepted answers; UNKNOWN is right where there is none."""
    if unknown or not question.answerable:
        return Graded(question, None if unknown else said, unknown, unknown and not question.answerable)
    return Graded(question, said, False, _right(question, said))


def of_statement(question: Question, statement: Statement) -> Graded:
    """An answer of :func:`oddwatch.understand.ask.ask` graded."""
    return grade(question, statement.value if statement.known else None, not statement.known)


def _right(question: Question, said: Any) -> bool:
    answers = question.answers
    if question.kind == "yes-no":
        return isinstance(said, (bool, str)) and ("yes" if said in (True, "yes") else "no") in answers
    if question.kind == "count":
        return said in answers
    if question.kind == "when":
        given = said if isinstance(said, list) else [said]
        # The first answer is the answer; a list of all moments would be right by chance.
        return any(isinstance(given[0], (int, float)) and abs(given[0] - a) <= EARLY for a in answers)
    if question.kind == "long":
        return isinstance(said, (int, float)) and any(abs(said - a) <= max(0.3 * a, EARLY) for a in answers)
    word = str(said).lower()
    if question.kind == "colour":
        return any(word in accepted_colors(str(a)) or word == a for a in answers)
    if question.kind == "place":
        return any(word in str(a) or str(a) in word for a in answers)
    return word in answers


def summary(graded: Sequence[Graded]) -> dict[str, float | int | None]:
    """Shares 0–1 over all; None where nothing is counted."""
    known = [g for g in graded if g.question.answerable]
    none = [g for g in graded if not g.question.answerable]
    said = [g for g in graded if g.unknown]

    def share(right: int, of: int) -> float | None:
        return right / of if of else None

    refused = sum(g.unknown for g in none)
    return {
        "n_questions": len(graded),
        "n_unanswerable": len(none),
        "accuracy": share(sum(g.right for g in known), len(known)),
        "accuracy_where_answered": share(sum(g.right for g in known), sum(not g.unknown for g in known)),
        "unknown_precision": share(refused, len(said)),
        "unknown_recall": share(refused, len(none)),
        "accuracy_all": share(sum(g.right for g in graded), len(graded)),
    }


def by(graded: Sequence[Graded], key: Callable[[Question], str]) -> dict[str, dict[str, Any]]:
    """Per kind or topic: number, share right, share UNKNOWN."""
    out = {}
    for name in sorted({key(g.question) for g in graded}):
        own = [g for g in graded if key(g.question) == name]
        out[name] = {"n": len(own), "right": float(np.mean([g.right for g in own])),
                     "unknown": float(np.mean([g.unknown for g in own]))}  # fmt: skip
    return out


class Template:
    """The most frequent right answer of each kind among ``questions``; never UNKNOWN. Of kinds that never had an answer
    it gives the most frequent answer of all."""

    def __init__(self, questions: Sequence[Question]) -> None:
        counts: dict[str, Counter[Any]] = {}
        for q in questions:
            if q.answerable:
                counts.setdefault(q.kind, Counter()).update(q.answers[:1])
        self._best = {kind: c.most_common(1)[0][0] for kind, c in counts.items()}
        every = Counter(a for c in counts.values() for a in c.elements())
        self._other = every.most_common(1)[0][0] if every else "yes"

    def __call__(self, question: Question) -> Graded:
        return grade(question, self._best.get(question.kind, self._other))


def true_record(
    name: str,
    annotations: Sequence[Mapping[str, Any]],
    light: str,
    place: str,
    language: Language,
    size: tuple[int, int] = (640, 360),
) -> Record:
    """The record an observer without error would keep: a scene's annotations as facts and spells."""
    people = told(annotations)  # type: ignore[arg-type]
    steps = {t: Steps(np.array(p.times), np.array(p.boxes, np.float64)) for t, p in people.items()}
    facts = {t: _whole(true_facts(_lasting(p.look()), language)) for t, p in people.items()}
    atoms = cache(lambda *words: _atoms(words, language))
    spells = {
        t: _spells(p.times, p.boxes, [atoms(*sorted(done(f))) for f in p.facts]) for t, p in people.items()
    }
    motions = {t: _motion(s) for t, s in steps.items()}
    times = [float(n["time"]) for n in annotations]
    scene = true_facts({"light": light, "place": place}, language)
    return make(
        name,
        Span(times[0], times[-1]),
        size,
        steps,
        facts,
        motions=motions,
        spells=spells,
        scene=scene,
        times=times,
    )


def _lasting(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What does not change while somebody is seen: no posture, place or company of one moment."""
    return {
        k: facts[k]
        for k in ("upper", "lower", "shoes", "hair", "headwear", "accessories", "carrying", "bag")
        if k in facts
    }


def _whole(facts: Facts) -> Facts:
    """What the annotation lists of actions, and of things worn and carried, is all there is."""
    known = facts.known.copy()
    known[[*members("action"), *members("carry"), *members("head.wear")]] = True
    return Facts(facts.schema, facts.p, known)


def _atoms(words: tuple[str, ...], language: Language) -> frozenset[str]:
    """Postures and actions of one moment as atoms."""
    found = {f"posture.{w}" for w in words if f"posture.{w}" in INDEX}
    known = true_facts({"action": [w for w in words if f"posture.{w}" not in INDEX]}, language)
    found |= {
        a
        for a, i in INDEX.items()
        if group_of(a) == "action" and known.known[i] and known.p[i] >= SURE - 0.01
    }
    return frozenset(found)


def _spells(
    times: Sequence[float], boxes: Sequence[Sequence[float]], seen: Sequence[frozenset[str]]
) -> list[Spell]:
    """One spell for each stretch of looks that show an atom."""
    out: list[Spell] = []
    for atom in sorted(set().union(*seen)):
        begun: int | None = None
        for i in range(len(times) + 1):
            on = i < len(times) and atom in seen[i]
            if on and begun is None:
                begun = i
            elif not on and begun is not None:
                end = times[min(i, len(times) - 1)]
                middle = (begun + i - 1) // 2 if atom == "posture.lying" else begun
                out.append(Spell(atom, Span(times[begun], end), SURE, times[middle], Box(*boxes[middle])))
                begun = None
    return sorted(out, key=lambda s: (s.span.start, s.atom))


def _motion(steps: Steps) -> Motion:
    seconds = float(steps.times[-1] - steps.times[0])
    if seconds <= 0:
        return Motion()
    dx, dy = (steps.centres[-1] - steps.centres[0]) / steps.body / seconds
    return Motion(dx=float(dx), dy=float(dy), duration=seconds)
