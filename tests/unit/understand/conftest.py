"""Records made by hand: a street on which somebody falls, another runs off, and a third stands by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from oddwatch.core import Box, Facts, Motion, Span
from oddwatch.describe.atoms import ATOMS, GROUPS, INDEX, SCHEMA_ID
from oddwatch.understand.record import Record, Spell, Steps, make


def facts(**said: str) -> Facts:
    """Facts with the named values at 0.9 and the rest of their groups at 0.05; ``upper_color="red"``."""
    p, known = np.full(len(ATOMS), 0.05, np.float32), np.zeros(len(ATOMS), bool)
    for name, value in said.items():
        group = name.replace("_", ".")
        for other in GROUPS[group]:
            known[INDEX[f"{group}.{other}"]] = True
        if value != "nothing":
            p[INDEX[f"{group}.{value}"]] = 0.9
    return Facts(SCHEMA_ID, p, known, {"upper.color." + said["upper_color"]: Box(100, 100, 120, 130)})


def steps(
    start: float, end: float, x: float, to: float | None = None, size: tuple[float, float] = (30, 100)
) -> Steps:
    """Four looks a second at somebody whose centre goes from ``x`` to ``to``."""
    times = np.arange(start, end + 1e-6, 0.25)
    centre = np.linspace(x, x if to is None else to, len(times))
    w, h = size
    return Steps(
        times,
        np.stack([centre - w / 2, np.full_like(times, 150), centre + w / 2, np.full_like(times, 150 + h)], 1),
    )


def spell(atom: str, start: float, end: float, at: Steps, p: float = 0.9) -> Spell:
    """A spell seen in its middle."""
    middle = (start + end) / 2
    return Spell(atom, Span(start, end), p, middle, at.box(middle))


def street(**more: Mapping[int, object]) -> Record:
    """1 (red jacket) walks, falls at 8 s and lies to the end at 20 s; 2 (blue shirt) stands near, pushes 1 at 7.5 s and
    runs off; 3 (green coat, a backpack) stands far away all the time."""
    own = {1: steps(0, 20, 100, 140), 2: steps(0, 12, 160, 500), 3: steps(2, 20, 560)}
    spells = {
        1: [spell("posture.walking", 0, 8, own[1]), spell("posture.falling", 8, 9, own[1]), spell("posture.lying", 9, 20, own[1])],
        2: [spell("posture.standing", 0, 7.5, own[2]), spell("action.push", 7, 8, own[2]), spell("posture.running", 8.5, 12, own[2])],
        3: [spell("posture.standing", 2, 20, own[3])],
    }  # fmt: skip
    # Until the push, 2 stands beside 1.
    own[2].boxes[own[2].times < 8.5] = own[1].boxes[own[1].times < 8.5] + np.array([40.0, 0, 40, 0])
    looks = {
        1: facts(upper_color="red", upper_type="jacket", lower_type="jeans", lower_color="blue", head_wear="nothing", carry="nothing"),
        2: facts(upper_color="blue", upper_type="shirt", lower_type="shorts", lower_color="black", head_wear="cap", carry="nothing"),
        3: facts(upper_color="green", upper_type="coat", lower_type="trousers", lower_color="grey", head_wear="nothing", carry="backpack"),
    }  # fmt: skip
    scene = facts(upper_color="nothing", light="night")
    motions = {1: Motion(dx=0.02), 2: Motion(dx=0.4, duration=12), 3: Motion()}
    times = np.arange(0, 20.01, 0.25).tolist()
    return make("street.mp4", Span(0, 20), (640, 360), own, looks, motions=motions, spells=spells, scene=scene, times=times,
                **more)  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture
def clip() -> Record:
    return street()
