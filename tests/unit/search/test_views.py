"""A hit shows the view in which the asked doing was seen."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from oddwatch.core import Box, Entry, Facts, Person, Span, View
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID
from oddwatch.describe.describer import PRIOR, evidence, pooled
from oddwatch.gallery.store import Gallery
from oddwatch.search.engine import search

STANDING, LYING = Box(10, 10, 30, 80), Box(5, 60, 75, 80)


def facts(**p: float) -> Facts:
    values, known, boxes = PRIOR.astype(np.float32).copy(), np.zeros(len(ATOMS), bool), {}
    for atom, value in p.items():
        name = atom.replace("_", ".")
        values[INDEX[name]], known[INDEX[name]] = value, True
        boxes[name] = LYING if value > 0.5 and name == "posture.lying" else STANDING
    return Facts(SCHEMA_ID, values, known, boxes)


def test_pooling_says_which_view_speaks_most():
    stands = facts(posture_lying=0.02, posture_standing=0.9)
    lies = facts(posture_lying=0.95, posture_standing=0.05)
    joint = pooled([stands, lies], np.array([1.0, 0.8]))
    assert joint.views == {"posture.lying": 1}
    assert joint.boxes["posture.lying"] == LYING and joint.boxes["posture.standing"] == STANDING


def test_the_hit_is_at_the_time_of_the_doing(tmp_path):
    joint = pooled(
        [facts(posture_lying=0.02, posture_standing=0.9), facts(posture_lying=0.97, posture_standing=0.05)],
        np.array([1.0, 0.9]),
    )
    views = (View(2.0, 50, Person(STANDING)), View(9.0, 225, Person(LYING)))
    joint.p[INDEX["upper.color.red"]], joint.known[INDEX["upper.color.red"]] = 0.95, True
    joint.boxes["upper.color.red"] = STANDING
    start = datetime(2026, 5, 1, 8, tzinfo=UTC)
    entry = Entry(
        "a-p1", "a.mp4", "person", Span(0, 12), 2.0, 50, STANDING,
        wall_time=start, views=views, facts=joint, vectors={"facts": evidence(joint)},
    )  # fmt: skip
    with Gallery.open(tmp_path / "g", encoders={"facts": SCHEMA_ID}) as gallery:
        gallery.add([entry])
        lying = search(gallery, "someone lying on the ground")[0]
        both = search(gallery, "someone in a red top lying on the ground")[0]
        standing = search(gallery, "someone standing").hits[0]
    assert (lying.time, lying.frame, lying.box) == (9.0, 225, LYING)
    assert (lying.wall_time - start).total_seconds() == 7
    assert (standing.time, standing.box) == (2.0, STANDING)
    assert lying.reason.evidence[0].box == LYING
    boxes = {e.atom: e.box for e in both.reason.evidence}
    assert both.box == LYING and boxes["posture.lying"] == LYING
    assert boxes["upper.color.red"] is None, "the red was seen in another frame"
