"""Facts of a drawn person: the annotator's words, in plain field names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from oddwatch.datasets.scenes.camera import Camera
from oddwatch.datasets.scenes.doings import DOINGS
from oddwatch.datasets.scenes.light import Sky
from oddwatch.datasets.scenes.places import Place
from oddwatch.datasets.scenes.stage import Seen, State
from oddwatch.datasets.scenes.wardrobe import Look

if TYPE_CHECKING:
    from oddwatch.datasets.scenes.scene import Scene


def facing(state: State, camera: Camera) -> str:
    """Where a person's front points in the picture: camera, away, left or right."""
    fx, fy = -float(np.sin(state.heading)), float(np.cos(state.heading))
    norm = float(np.hypot(state.x, state.y)) + 1e-6
    toward = -(fx * state.x + fy * state.y) / norm
    across = (fx * state.y - fy * state.x) / norm
    if toward > 0.7:
        return "camera"
    if toward < -0.7:
        return "away"
    return "right" if across > 0 else "left"


def where(place: Place, x: float, y: float) -> str:
    """The place in a witness's word at a world point: pavement, street, grass, plaza, corridor, platform, car park."""
    surface = place.surface_at(x, y)
    if place.name == "street":
        return "street" if surface == "asphalt" else "pavement"
    if place.name == "park":
        return "grass" if surface == "grass" else "park path"
    return place.name


def person_facts(
    look: Look, state: State, place: Place, sky: Sky, camera: Camera, camera_name: str,
    company: int = 0, near: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Everything true of a person at a moment. ``company``: other people within two metres."""
    doing = DOINGS.get(state.facts.get("doing", ""))
    f = look.facts
    return {
        "upper": f["upper"],
        "lower": f["lower"],
        "shoes": f["shoes"],
        "hair": f["hair"],
        "headwear": f.get("headwear"),
        "accessories": f["accessories"],
        "carrying": f["carrying"],
        "bag": f.get("bag"),
        "item": f.get("item"),
        "person": f["person"],
        "doing": state.facts.get("doing"),
        "posture": state.facts.get("posture"),
        "action": state.facts.get("action", []),
        "arms": state.facts.get("arms", []),
        "motion": doing.motion if doing else "still",
        "facing": facing(state, camera),
        "alone": company == 0,
        "company": ("alone", "pair", "group")[min(company, 2)],
        "near": list(near),
        "place": where(place, state.x, state.y),
        "setting": place.name,
        "light": sky.time,
        "weather": sky.weather if not place.indoor else "dry",
        "camera": camera_name,
    }


def seen_record(
    scene: Scene, one: Seen, look: Look, state: State, drawn: list[tuple[Seen, Look, State]]
) -> dict[str, Any]:
    """One person's annotation in a frame."""
    company = sum(
        1 for other, _, s in drawn if other is not one and np.hypot(s.x - state.x, s.y - state.y) < 2.0
    )
    near = []
    for thing in scene.script.things:
        reach = 2.6 if thing.kind == "car" else 1.2
        if (
            thing.kind in ("car", "bicycle", "bench", "tree", "fence")
            and np.hypot(thing.x - state.x, thing.y - state.y) < reach
        ):
            near.append(thing.kind)
    if state.facts.get("doing") == "cycle":
        near.append("bicycle")
    if state.facts.get("doing") == "walk_dog":
        near.append("dog")
    facts = person_facts(
        look,
        state,
        scene.place,
        scene.sky,
        scene.camera,
        scene.camera_name,
        company,
        tuple(sorted(set(near))),
    )
    return {
        "track": one.track,
        "box": [round(v, 1) for v in one.box],
        "visible": one.visible,
        "keypoints": one.keypoints.round(1).tolist(),
        "facts": facts,
    }
