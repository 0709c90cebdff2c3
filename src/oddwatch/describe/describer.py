"""The describer: a person in a frame to typed facts with probabilities, the picture half of the search.

``p(atom)`` is the probability that a person describing the picture would accept the word; facts that cannot
be seen in a picture are left unknown, never guessed as 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oddwatch.core import Box, Facts, Frame, Motion, Person
from oddwatch.describe import body, clothes, company, scene
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.priors import PRIOR
from oddwatch.describe.regions import Painter, canvas

__all__ = ["PRIOR", "Describer", "Sheet", "evidence"]


def evidence(facts: Facts) -> np.ndarray:
    """(A,) float32 what is searched: ``known * clip(logit p − logit prior, −4, 4)``."""
    p = np.clip(facts.p.astype(np.float64), 1e-4, 1 - 1e-4)
    prior = PRIOR.astype(np.float64)
    gain = np.log(p / (1 - p)) - np.log(prior / (1 - prior))
    return (np.clip(gain, -4, 4) * facts.known).astype(np.float32)


class Sheet:
    """Facts being filled in: every atom starts unknown, at its prior."""

    def __init__(self) -> None:
        self.p = PRIOR.astype(np.float32).copy()
        self.known = np.zeros(len(ATOMS), bool)
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

    ``patch_encoder`` and ``heads`` plug in learned heads over picture tokens; without them every fact is read
    from pixels, keypoints and motion by hand-built rules.
    """

    def __init__(
        self, patch_encoder: object | None = None, heads: str | None = None, threads: int | None = None
    ) -> None:
        self.patch_encoder, self.heads, self.threads = patch_encoder, heads, threads

    def describe(
        self, frame: Frame, person: Person, *, others: Sequence[Person] = (), motion: Motion | None = None
    ) -> Facts:
        """The facts of ``person`` (its box is believed; no detector is run), beside ``others`` in the frame."""
        sheet = Sheet()
        place = canvas(frame, person)
        painter = Painter(place)
        light = scene.light_of(frame)
        toward = body.facing(place.points)
        clothes.fill(sheet, place, painter, light, float(toward[1]) if toward is not None else 0.0)
        _fill_body(sheet, person, motion)
        company.fill(sheet, frame, person, others)
        scene.fill(sheet, frame, person, light)
        if motion is not None:
            _fill_motion(sheet, motion)
        return sheet.facts()


def _fill_body(sheet: Sheet, person: Person, motion: Motion | None) -> None:
    if person.pose is None:
        return
    points = person.pose.points
    box = person.box
    trunk = points[[5, 6, 11, 12], 2]
    if (trunk >= 0.2).sum() >= 3:
        for name, p in body.posture(points, box, motion).items():
            sheet.set(f"posture.{name}", p, box)
        toward = body.facing(points)
        if toward is not None:
            for name, p in zip(("camera", "away", "left", "right"), toward, strict=True):
                sheet.set(f"facing.{name}", float(p), box)
    words, seen = body.arms(points)
    if seen:
        for name, p in words.items():
            sheet.set(f"arms.{name}", 0.02 + p, box)


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
    sheet.set("motion.drop", 0.9 * soft(motion.drop, 0.7, 0.12))
