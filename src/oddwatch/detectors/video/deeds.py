"""What people do that is seldom usual anywhere: told from how they stand, not from what this camera has seen.

A memory tells that a posture was not seen before, not that it is a fall. Here the odds that somebody lies, or climbs, over
the last moment (:mod:`oddwatch.describe.acts`) count against the odds by which they are expected, in decades as other cues do.
"""

from __future__ import annotations

import numpy as np

from oddwatch.core import Box, Person, Pose
from oddwatch.describe.acts import Acts
from oddwatch.detectors.video.cues import Seen
from oddwatch.detectors.video.notes import Notes

DEEDS = {"lying": "posture.lying", "climbing": "posture.climbing"}
"""Name → what it is told by."""
EXPECTED = 0.03
"""Probability that says nothing: that of people who walk and stand is seldom above."""


def deeds(notes: Notes) -> tuple[Seen, dict[str, np.ndarray]]:
    """The people at each look who have a track and a posture (``vectors`` are empty), and of each deed the decades (K,) by
    which its odds are above :data:`EXPECTED`, 0 or more."""
    objects, acts = notes.objects, Acts(company=False)
    rows: list[int] = []
    odds: list[list[float]] = []
    followed = np.flatnonzero(objects.person & (objects.track >= 0))
    edges = np.searchsorted(objects.frame[followed], np.stack([notes.looked, notes.looked + 1]))
    for frame, first, last in zip(notes.looked, *edges, strict=True):
        own = followed[first:last].tolist()
        acts.look(float(notes.times[frame]), [_person(notes, row) for row in own])
        for row in own:
            likely = acts.postures(int(objects.track[row]))
            if likely:
                rows.append(row)
                odds.append([likely[atom] / (1 - likely[atom]) for atom in DEEDS.values()])
    found = np.array(rows, np.int64)
    none = np.full(len(found), -1)
    decades = np.log10(np.reshape(odds, (len(found), len(DEEDS))) * (1 - EXPECTED) / EXPECTED)
    seen = Seen(objects.frame[found], np.empty((len(found), 0)), found, none)
    return seen, dict(zip(DEEDS, np.maximum(decades, 0.0).T, strict=True))


def _person(notes: Notes, row: int) -> Person:
    objects, pose = notes.objects, notes.objects.pose[row]
    known = Pose(pose) if np.isfinite(pose).all() else None
    box = Box(*(float(v) for v in objects.box[row]))
    return Person(box, float(objects.score[row]), known, int(objects.track[row]))
