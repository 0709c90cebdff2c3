"""The describer: a person in a frame to typed facts with probabilities, the picture half of the search.

``p(atom)`` is the probability that a person describing the picture would accept the word; facts that cannot
be seen in a picture are left unknown, never guessed as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from oddwatch.core import Box, Facts, Frame, ImageEncoder, InputError, Motion, Person, Tokens
from oddwatch.describe import body, clothes, company, scene
from oddwatch.describe.atoms import ATOMS, GROUPS, INDEX, SCHEMA_ID, group_of, members
from oddwatch.describe.features import gains, only
from oddwatch.describe.heads import Crop, LightHeads, crop
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.regions import Painter, canvas

__all__ = ["PRIOR", "Describer", "Sheet", "evidence"]


def evidence(facts: Facts) -> np.ndarray:
    """(A,) float32 what is searched: ``known * clip(logit p − logit prior, −4, 4)``."""
    return gains(facts)


class Sheet:
    """Facts being filled in: every atom starts unknown, at its prior."""

    def __init__(self) -> None:
        self.p: np.ndarray = PRIOR.astype(np.float32).copy()
        self.known: np.ndarray = np.zeros(len(ATOMS), bool)
        self.boxes: dict[str, Box] = {}

    def set(self, atom: str, p: float, box: Box | None = None) -> None:
        """``atom`` is known with probability ``p`` (kept within 0.005–0.98), seen in ``box``."""
        i = INDEX[atom]
        self.p[i], self.known[i] = min(max(p, 0.005), 0.98), True
        if box is not None:
            self.boxes[atom] = box

    def facts(self) -> Facts:
        """What was filled in."""
        return Facts(SCHEMA_ID, self.p, self.known, self.boxes)


class Describer:
    """Describes people and moments.

    Every fact is first read from pixels, keypoints and motion by hand-built rules; ``heads`` then weigh them
    with what small networks see: ``"packaged"`` (the default), a :class:`heads.LightHeads`, a folder that ``oddwatch
    train heads`` wrote, or None for the rules alone. ``patch_encoder`` encodes a person's crop when its tokens
    are not given; without either, the heads judge by the pose alone. Raises ModelError for heads that cannot be read.
    """

    def __init__(
        self,
        patch_encoder: ImageEncoder | None = None,
        heads: LightHeads | str | Path | None = "packaged",
        threads: int | None = None,
    ) -> None:
        if heads == "packaged":
            heads = LightHeads.load()
        elif isinstance(heads, (str, Path)):
            heads = LightHeads.load(heads)
        self.heads: LightHeads | None = heads
        self.patch_encoder, self.threads = patch_encoder, threads
        self._last: tuple[Frame, scene.Light] | None = None

    def encode(self, looks: Sequence[tuple[Frame, Person]]) -> Tokens | None:
        """Tokens of people's crops in one batch, as the ``tokens`` of the other calls; None where they would not be
        used (no encoder, no heads, nobody)."""
        if self.patch_encoder is None or self.heads is None or not looks:
            return None
        return self.patch_encoder.encode([crop(frame, person) for frame, person in looks])

    def _light_of(self, frame: Frame) -> scene.Light:
        # The people of one frame are described one after another: its light is looked at once.
        last = self._last
        if last is None or last[0] is not frame:
            last = (frame, scene.light_of(frame))
            self._last = last
        return last[1]

    def describe(
        self,
        frame: Frame,
        person: Person,
        *,
        others: Sequence[Person] = (),
        motion: Motion | None = None,
        tokens: Tokens | None = None,
    ) -> Facts:
        """The facts of ``person`` (its box is believed; no detector is run), beside ``others`` in the frame.

        ``tokens`` are those of the person's crop (``heads.crop``, N = 1) where it was encoded already.
        """
        if tokens is None:
            tokens = self.encode([(frame, person)])
        return self._describe(frame, person, others, motion, None if tokens is None else only(tokens, 0))

    def _describe(
        self, frame: Frame, person: Person, others: Sequence[Person], motion: Motion | None, seen: Crop | None
    ) -> Facts:
        heads = self.heads
        parts = None if heads is None or seen is None else heads.parts(frame, person, seen)
        facts = self.by_hand(frame, person, others, parts)
        if heads is not None:
            facts = heads.refine(person, others, facts, seen, parts)
        return facts if motion is None else _with_motion(facts, motion)

    def by_hand(
        self, frame: Frame, person: Person, others: Sequence[Person] = (), parts: np.ndarray | None = None
    ) -> Facts:
        """The hand-built facts alone, without motion; ``parts`` (256, P) as of ``LightHeads.parts``."""
        sheet = Sheet()
        place = canvas(frame, person, parts)
        painter = Painter(place)
        light = self._light_of(frame)
        toward = body.facing(place.points)
        clothes.fill(sheet, place, painter, light, float(toward[1]) if toward is not None else 0.0)
        _fill_body(sheet, person)
        company.fill(sheet, person, others)
        scene.fill(sheet, frame, person, light)
        return sheet.facts()

    def describe_track(
        self,
        views: Sequence[tuple[Frame, Person, Sequence[Person]]],
        motion: Motion | None = None,
        tokens: Tokens | None = None,
    ) -> Facts:
        """The facts of one person seen in several views (frame, person, others), pooled.

        ``tokens`` are those of the crops of the first N views; without any, the first view's crop is encoded.
        Log odds are averaged with weights of view quality. What a person wears is the mean of what is seen; what
        they do is as sure as its surest moment, a little less. Raises InputError without a view.
        """
        if not views:
            raise InputError("views", "expected at least one view of the person")
        if tokens is None:
            tokens = self.encode([views[0][:2]])
        encoded = 0 if tokens is None else len(tokens.cls)
        every = [
            self._describe(
                frame, person, others, motion, only(tokens, i) if tokens is not None and i < encoded else None
            )
            for i, (frame, person, others) in enumerate(views)
        ]
        # A look whose crop was not encoded says less of the same things.
        weights = np.array(
            [quality(v[1]) * (1.0 if i < encoded or not encoded else 0.5) for i, v in enumerate(views)]
        )
        return pooled(every, weights)

    def describe_moment(
        self,
        frame: Frame,
        people: Sequence[Person],
        motion: Motion | None = None,
        facts: Sequence[Facts] | None = None,
    ) -> Facts:
        """The facts of a whole picture with ``people`` in it: what any of them wears or does (as sure as the surest),
        how many they are, the place and the light.

        ``facts`` are those of the people where they are described already; otherwise they are described here, by
        their poses and colours alone.
        """
        sheet = Sheet()
        every = list(facts) if facts is not None else self._people(frame, people)
        if every:
            known = np.stack([f.known for f in every])
            p = np.where(known, np.stack([f.p for f in every]), -1.0)
            best = p.argmax(0)
            sheet.known = np.asarray(known.any(0), bool)
            sheet.p = np.where(sheet.known, p.max(0), sheet.p).astype(np.float32)
            for i in np.flatnonzero(sheet.known):
                box = every[int(best[i])].boxes.get(ATOMS[int(i)])
                if box is not None:
                    sheet.boxes[ATOMS[int(i)]] = box
        scene.fill_moment(sheet, frame, people, self._light_of(frame))
        if motion is not None:
            _fill_motion(sheet, motion)
        return sheet.facts()

    def _people(self, frame: Frame, people: Sequence[Person]) -> list[Facts]:
        largest = sorted(people, key=lambda p: -p.box.area)[:MOST_PEOPLE]
        return [self._describe(frame, p, [q for q in people if q is not p], None, None) for p in largest]


MOST_PEOPLE = 12
"""Most people of a moment that are described one by one: the largest."""

_DOING = np.array(
    [group_of(a) in ("posture", "arms", "action", "company", "facing", "motion") for a in ATOMS]
)


def quality(person: Person) -> float:
    """0.05–1: how good a look at ``person`` is, from size, detector score and how much of the pose is seen."""
    size = min(person.box.height / 120, 1.0)
    seen = 0.3 if person.pose is None else float((person.pose.points[5:, 2] >= 0.2).mean())
    return float(np.clip(size * (0.3 + 0.7 * seen) * (0.4 + 0.6 * person.score), 0.05, 1))


def pooled(every: Sequence[Facts], weights: np.ndarray) -> Facts:
    """One person's facts from several looks, weighted (N,); ``views`` and boxes are those of the look that says most:
    for what is done the surest one, for what is worn the best one."""
    p = np.clip(np.stack([f.p for f in every]).astype(np.float64), 1e-3, 1 - 1e-3)
    known = np.stack([f.known for f in every])
    w = weights[:, None] * known
    total = w.sum(0)
    logit = np.log(p / (1 - p))
    mean = (w * logit).sum(0) / np.maximum(total, 1e-9)
    peak = np.where(known & (weights[:, None] >= 0.5 * weights.max()), logit, -9).max(0)
    joint = np.where(_DOING & (peak > mean), 0.5 * mean + 0.5 * peak, mean)
    sheet = Sheet()
    sheet.known = np.asarray(known.any(0), bool)
    sheet.p = np.where(sheet.known, 1 / (1 + np.exp(-joint)), sheet.p).astype(np.float32)
    said = np.where(
        known, np.where(_DOING, np.where(weights[:, None] >= 0.5 * weights.max(), logit, -9), w), -99
    )
    best = said.argmax(0)
    views = {ATOMS[int(i)]: int(best[i]) for i in np.flatnonzero(sheet.known)}
    sheet.boxes = {a: every[v].boxes[a] for a, v in views.items() if a in every[v].boxes}
    facts = sheet.facts()
    return Facts(facts.schema, facts.p, facts.known, facts.boxes, {a: v for a, v in views.items() if v})


def _fill_body(sheet: Sheet, person: Person) -> None:
    if person.pose is None:
        return
    points = person.pose.points
    box = person.box
    trunk = points[[5, 6, 11, 12], 2]
    if (trunk >= 0.2).sum() >= 3:
        for name, p in body.posture(points, box).items():
            sheet.set(f"posture.{name}", p, box)
        toward = body.facing(points)
        if toward is not None:
            for name, p in zip(("camera", "away", "left", "right"), toward, strict=True):
                sheet.set(f"facing.{name}", float(p), box)
    words, seen = body.arms(points)
    if seen:
        for name, p in words.items():
            sheet.set(f"arms.{name}", 0.02 + p, box)
        sheet.set("action.wave", 0.01 + 0.4 * words["raised"], box)
        # A hand at the ear is a telephone about half of the time.
        sheet.set("carry.phone", 0.04 + 0.4 * words["hand_to_head"], box)
    running = float(sheet.p[INDEX["posture.running"]])
    if sheet.known[INDEX["posture.running"]]:
        sheet.set("action.flee", 0.01 + 0.35 * running, box)
    down = body.looks_down(points)
    if down is not None:
        sheet.set("action.look_down", 0.04 + 0.5 * down, box)


def beside(person: Person, others: Sequence[Person], motion: Motion) -> Facts:
    """What movement and the ``others`` in the frame alone say of motion and company; the rest unknown."""
    sheet = Sheet()
    company.fill(sheet, person, others)
    _fill_motion(sheet, motion)
    facts = sheet.facts()
    return Facts(facts.schema, facts.p, facts.known & _BESIDE)


BESIDE = ("motion", "company", "count")
"""Groups of atoms that :func:`beside` tells of."""
_BESIDE = np.array([group_of(atom) in BESIDE for atom in ATOMS])


def _with_motion(facts: Facts, motion: Motion) -> Facts:
    """``facts`` with the posture as the track's motion has it, and the motion's own words."""
    sheet = Sheet()
    sheet.p, sheet.known, sheet.boxes = facts.p.copy(), facts.known.copy(), dict(facts.boxes)
    if all(sheet.known[i] for i in members("posture")):
        told = {word: float(sheet.p[INDEX[f"posture.{word}"]]) for word in GROUPS["posture"]}
        for word, p in body.moved(told, motion).items():
            sheet.set(f"posture.{word}", p)
    _fill_motion(sheet, motion)
    return sheet.facts()


def _fill_motion(sheet: Sheet, motion: Motion) -> None:
    if motion.duration < 0.4:
        return
    soft = body.soft
    sheet.set("motion.still", 0.9 * soft(-motion.speed, -0.12, 0.03))
    sheet.set("motion.slow", 0.7 * soft(motion.speed, 0.1, 0.03) * soft(-motion.speed, -0.6, 0.1))
    sheet.set("motion.fast", 0.9 * soft(motion.top_speed, 1.3, 0.2))
    sheet.set("motion.left", 0.9 * soft(-motion.dx, 0.15, 0.04))
    sheet.set("motion.right", 0.9 * soft(motion.dx, 0.15, 0.04))
    sheet.set("motion.toward", 0.8 * soft(motion.dy, 0.12, 0.04))
    sheet.set("motion.away", 0.8 * soft(-motion.dy, 0.12, 0.04))
    if motion.duration >= 8:
        sheet.set("action.loiter", 0.02 + 0.5 * soft(motion.still, 10, 3) * soft(motion.duration, 15, 4))
    sheet.set("motion.drop", 0.9 * soft(motion.drop, 0.7, 0.12))
