"""Stills: one person caught doing something, drawn straight into memory, and twins of a normal and an odd one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oddwatch.core.errors import InputError
from oddwatch.datasets.scenes import motion as m
from oddwatch.datasets.scenes.camera import Camera
from oddwatch.datasets.scenes.captions import Family, person_captions
from oddwatch.datasets.scenes.doings import DOINGS, NORMAL, Doing, draw_doing
from oddwatch.datasets.scenes.facts import person_facts
from oddwatch.datasets.scenes.light import Lens, Sky, compress, random_lens, random_sky
from oddwatch.datasets.scenes.places import Place, make_place
from oddwatch.datasets.scenes.script import CAR_COLORS
from oddwatch.datasets.scenes.stage import Seen, Stage, State
from oddwatch.datasets.scenes.things import Thing
from oddwatch.datasets.scenes.wardrobe import Look, dress

Pixels = NDArray[np.uint8]
_SHOWN = ("bag", "ball", "dog", "bicycle")
_LIKES = tuple(k for k in NORMAL if DOINGS[k].carry is None)


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A drawn picture of one person. ``pixels`` (h, w, 3) uint8 RGB; ``box`` of the person and ``keypoints``
    (17, 3: x, y, flag 2 seen, 1 hidden, 0 outside) in its pixels; ``mask`` (h, w) bool of the visible person;
    ``parts`` (h, w) uint8 what everybody's pixels are made of (``wardrobe.MATERIAL``, 0 for no person);
    ``facts`` all that is true of the person; ``captions`` as of :func:`captions.person_captions`."""

    pixels: Pixels
    box: tuple[float, float, float, float]
    visible: float
    keypoints: NDArray[np.float32]
    mask: NDArray[np.bool_]
    parts: NDArray[np.uint8]
    facts: dict[str, Any]
    captions: dict[str, list[str]]
    abnormal: bool
    person: str
    quality: int = 100


@dataclass(frozen=True, slots=True)
class _Setting:
    place: Place
    sky: Sky
    lens: Lens
    camera: Camera
    camera_name: str
    at: tuple[float, float]


def _setting(rng: np.random.Generator, tall: float, needs: str | None) -> _Setting:
    """A place, light and camera in which somebody at ``at`` is about ``tall`` pixels high."""
    name = None
    if needs in ("car", "hide", "beside_car", "bicycle", "crash", "dog", "fence"):
        name = str(rng.choice(["street", "car park", "plaza", "park"], p=[0.5, 0.2, 0.15, 0.15]))
    place = make_place(rng, name)
    sky = random_sky(rng, place)
    camera_name = str(rng.choice(["eye", "shop", "surveillance", "roof"], p=[0.27, 0.28, 0.35, 0.1]))
    low, high, near, far = {"eye": (1.3, 1.9, 3.5, 16.0), "shop": (2.2, 2.9, 4.0, 16.0), "surveillance": (3.0, 5.0, 5.0, 18.0),
                            "roof": (6.0, 9.0, 9.0, 20.0)}[camera_name]  # fmt: skip
    if place.indoor:
        high = min(high, 2.7)
        low = min(low, high - 0.3)
    at = (0.0, 6.0)
    on_road = needs in ("car", "crash") and place.road is not None
    for _ in range(60):
        y = float(rng.uniform(near, far))
        x = float(rng.normal(0, 0.25) * y)
        if on_road and place.road is not None:
            good = place.road[0] + 0.6 < place.to_place(x, y)[0] < place.road[1] - 0.6
        else:
            good = place.walkable(x, y, 0.7)
        if good:
            at = (x, y)
            break
    height = float(rng.uniform(low, high))
    tilt = float(np.arctan2(height - 0.85, at[1]) + rng.normal(0, 0.05))
    depth = at[1] * np.cos(tilt) + (height - 0.85) * np.sin(tilt)
    camera = Camera(height, tilt, float(tall / 1.7 * depth), 0, 0, float(rng.normal(0, 0.03)), 0.0, 0.0)
    return _Setting(place, sky, random_lens(rng, sky), camera, camera_name, at)


def _car_thing(rng: np.random.Generator, at: tuple[float, float], heading: float) -> Thing:
    rgb = np.clip(np.array(CAR_COLORS[int(rng.integers(len(CAR_COLORS)))][1]) + rng.normal(0, 6), 8, 245)
    return Thing("car", at[0], at[1], heading, (float(rgb[0]), float(rgb[1]), float(rgb[2])))


def _props(rng: np.random.Generator, doing: Doing, state: State) -> tuple[list[Thing], list[str]]:
    """The things a doing needs and the words for what is near."""
    x, y, h = state.x, state.y, state.heading
    f, r = (-float(np.sin(h)), float(np.cos(h))), (float(np.cos(h)), float(np.sin(h)))

    def at(forward: float, right: float = 0.0) -> tuple[float, float]:
        return x + f[0] * forward + r[0] * right, y + f[1] * forward + r[1] * right

    red, green, blue = (float(v) for v in rng.uniform(25, 190, 3))
    color = (red, green, blue)
    prop = doing.prop
    if prop == "bench":
        return [Thing("bench", *at(0.05), h, (112 + float(rng.normal(0, 20)), 84, 56), push=0.05)], ["bench"]
    if prop == "bicycle":
        return [Thing("bicycle", x, y, h, color, float(rng.uniform(0, 6)), push=0.02)], ["bicycle"]
    if prop == "crash":
        return [
            Thing(
                "bicycle", *at(float(rng.uniform(-1.1, -0.6)), float(rng.uniform(-0.4, 0.4))), h + 0.7, color
            )
        ], ["bicycle"]
    if prop == "dog":
        coat = [(92, 66, 42), (40, 36, 34), (198, 180, 150), (150, 116, 76)][int(rng.integers(4))]
        return [Thing("dog", *at(0.35, 0.6), h, coat, float(rng.uniform(0, 6)))], ["dog"]
    if prop == "ball":
        p = at(float(rng.uniform(0.5, 1.4)), 0.25)
        return [Thing("ball", *p, 0.0, color, z=float(rng.uniform(1.5, 2.1)), size=0.8)], []
    if prop == "fence":
        return [Thing("fence", *at(0.28), h, (72, 78, 76))], ["fence"]
    if prop == "bag":
        return [
            Thing("bag", *at(-float(rng.uniform(0.8, 1.6)), 0.2), h, (float(rng.uniform(20, 150)), 50, 46))
        ], []
    away = np.array([x, y]) / (np.hypot(x, y) + 1e-6)
    side = np.array([-away[1], away[0]]) * float(rng.choice([-1.0, 1.0]))
    across = float(np.arctan2(-side[0], side[1]))
    if prop == "hide":
        q = np.array([x, y]) - away * 0.75 - side * float(rng.uniform(2.05, 2.5))
        return [_car_thing(rng, (float(q[0]), float(q[1])), across)], ["car"]
    if prop == "beside_car":
        q = np.array([x, y]) + away * 1.5 + side * float(rng.uniform(-0.8, 0.8))
        return [_car_thing(rng, (float(q[0]), float(q[1])), across)], ["car"]
    if prop == "car":
        q = np.array([x, y]) + side * 2.9
        return [_car_thing(rng, (float(q[0]), float(q[1])), float(np.arctan2(side[0], -side[1])))], ["car"]
    return [], []


def _posed(rng: np.random.Generator, name: str, look: Look, at: tuple[float, float], heading: float) -> State:
    doing, style = DOINGS[name], m.style(rng)
    pose = doing.make(rng, style)
    if doing.posture in ("walking", "standing") or doing.carry:
        for item in look.facts["carrying"]:
            pose = m.hold_side(pose, item, look.cut["bag_side"])
    lift = doing.lift if not np.isnan(doing.lift) else doing.rise if doing.rise else float("nan")
    facts = {"doing": name, "posture": doing.posture, "action": list(doing.action), "arms": list(doing.arms)}
    return State(at[0], at[1], heading, pose, lift, facts)


def _partner(rng: np.random.Generator, doing: Doing, state: State) -> tuple[int, Look, State] | None:
    if doing.partner is None:
        return None
    gap = doing.gap * float(rng.uniform(0.95, 1.12))
    turn = state.heading + (float(rng.uniform(1.2, 1.9)) if doing.partner in ("flee", "kneel") else 0.0)
    at = (state.x - float(np.sin(turn)) * gap, state.y + float(np.cos(turn)) * gap)
    heading = state.heading if doing.partner == "flee" else turn + np.pi
    look = dress(rng, carry="none")
    return 2, look, _posed(rng, doing.partner, look, at, float(heading))


def _window(camera: Camera, boxes: np.ndarray, margin: float) -> tuple[int, int, int, int]:
    lo, hi = boxes[:2], boxes[2:]
    pad = margin * (hi - lo)
    pad = np.maximum(pad, 0.5 * margin * (hi - lo).max())
    x0, y0 = np.floor(lo - pad).astype(int)
    x1, y1 = np.ceil(hi + pad).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def _draw(setting: _Setting, rng: np.random.Generator, name: str, look: Look, margin: float, family: Family,
          person: str, others: float) -> Still | None:  # fmt: skip
    from oddwatch.datasets.scenes.skeleton import solve

    doing, camera = DOINGS[name], setting.camera
    state = _posed(rng, name, look, setting.at, float(rng.uniform(0, 2 * np.pi)))
    people: list[tuple[int, Look, State]] = [(1, look, state)]
    partner = _partner(rng, doing, state)
    if partner is not None:
        people.append(partner)
    company = len(people) - 1
    things, near = _props(rng, doing, state)
    while rng.random() < others and len(people) < 5:
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(1.1, 4.5)
        at = (state.x + float(far * np.cos(angle)), state.y + float(far * np.sin(angle)))
        extra = draw_doing(rng, False)
        if (
            at[1] > 2
            and setting.place.walkable(*at, 0.3)
            and DOINGS[extra].prop is None
            and DOINGS[extra].partner is None
        ):
            wear = dress(rng, weather=setting.sky.weather, carry=DOINGS[extra].carry)
            people.append(
                (len(people) + 1, wear, _posed(rng, extra, wear, at, float(rng.uniform(0, 2 * np.pi))))
            )
            company += far < 2.0
    joints, _ = solve([look.body], state.pose[None], np.array([state.heading], np.float32),
                      np.array([[state.x, state.y]], np.float32), np.array([state.lift], np.float32))  # fmt: skip
    flat = camera.project(joints[0])
    if flat[:, 2].min() < 0.8:
        return None
    k = 0.05 * camera.focal / float(flat[0, 2])
    lo, hi = flat[:, :2].min(0) - k, flat[:, :2].max(0) + k
    told = [(t.x, t.y, t.z + up) for t in things if t.kind in _SHOWN for up in (0.0, 0.4)]
    told += [(p.x, p.y, up) for _, _, p in people[1 : 1 + (partner is not None)] for up in (0.1, 1.0)]
    if told:  # what the captions speak of belongs in the picture
        spots = camera.project(np.array(told, np.float32))[:, :2]
        lo, hi = np.minimum(lo, spots.min(0) - k), np.maximum(hi, spots.max(0) + k)
    window = _window(camera, np.concatenate([lo, hi]), margin)
    area = (window[2] - window[0]) * (window[3] - window[1])
    coarse = 1 if area < 24_000 else 2 if area < 120_000 else 3
    stage = Stage(setting.place, setting.sky, camera, setting.lens, rng, things, window, 90.0, coarse)
    image, seen = stage.draw(people, (), int(rng.integers(2**31)))
    one = next((s for s in seen if s.track == 1), None)
    if one is None or one.visible < 0.3:
        return None
    facts = person_facts(
        look, state, setting.place, setting.sky, camera, setting.camera_name, company, tuple(near)
    )
    return _still(stage, one, image, facts, person, doing.abnormal, rng, family)


def _still(stage: Stage, one: Seen, image: Pixels, facts: dict[str, Any], person: str, abnormal: bool,
           rng: np.random.Generator, family: Family) -> Still:  # fmt: skip
    x0, y0 = stage.window[:2]
    keypoints = one.keypoints.copy()
    keypoints[:, 0] -= x0
    keypoints[:, 1] -= y0
    box = (one.box[0] - x0, one.box[1] - y0, one.box[2] - x0, one.box[3] - y0)
    captions = person_captions(facts, rng, family)
    return Still(
        image,
        box,
        one.visible,
        keypoints,
        stage.mask(one),
        stage.parts(),
        facts,
        captions,
        abnormal,
        person,
        stage.lens.quality,
    )


def person_still(
    seed: int,
    index: int,
    *,
    doing: str | None = None,
    tall: float | None = None,
    margin: float = 0.35,
    caption_family: Family = "A",
    others: float = 0.3,
    jpeg: bool = True,
) -> Still:
    """Person ``index`` of the series ``seed``: a random person in a random place doing ``doing`` (or something).

    ``tall`` is the height in pixels of a standing person (default log-uniform 40–300), ``margin`` the border as a
    share of the person's box, ``others`` the chance of each further person. Raises InputError for an unknown doing.
    """
    if doing is not None and doing not in DOINGS:
        raise InputError("doing", f"unknown doing {doing!r}", f"one of {', '.join(DOINGS)}")
    for attempt in range(12):
        rng = np.random.default_rng([seed, index, 303, attempt])
        name = doing or draw_doing(rng, bool(rng.random() < 0.45))
        size = tall or float(np.exp(rng.uniform(np.log(40), np.log(300))))
        setting = _setting(rng, size, DOINGS[name].prop)
        need = DOINGS[name].carry
        look = dress(rng, weather=setting.sky.weather if not setting.place.indoor else "dry", carry=need,
                     free_hands=DOINGS[name].free)  # fmt: skip
        still = _draw(setting, rng, name, look, margin, caption_family, f"s{seed}_{index:06d}", others)
        if still is not None:
            return _through_jpeg(still) if jpeg else still
    raise InputError("seed, index", f"no person could be placed for {seed}, {index}", "use another index")


def _through_jpeg(still: Still) -> Still:
    return Still(compress(still.pixels, still.quality), still.box, still.visible, still.keypoints, still.mask, still.parts, still.facts,
                 still.captions, still.abnormal, still.person, still.quality)  # fmt: skip


def twin_pair(
    seed: int,
    index: int,
    *,
    tall: float | None = None,
    margin: float = 0.35,
    caption_family: Family = "A",
    jpeg: bool = True,
) -> tuple[Still, Still]:
    """A normal and an anomalous still of the same person, clothing, place, light and camera (as in PAB)."""
    for attempt in range(12):
        rng = np.random.default_rng([seed, index, 404, attempt])
        odd, plain = draw_doing(rng, True), str(rng.choice(_LIKES))
        size = tall or float(np.exp(rng.uniform(np.log(50), np.log(260))))
        setting = _setting(rng, size, DOINGS[odd].prop)
        look = dress(rng, weather="snow" if setting.sky.weather == "snow" else "dry",
                     carry="backpack" if rng.random() < 0.15 else "none")  # fmt: skip
        pair = [
            _draw(setting, rng, name, look, margin, caption_family, f"t{seed}_{index:06d}", 0.15)
            for name in (plain, odd)
        ]
        if pair[0] is not None and pair[1] is not None:
            one, two = pair[0], pair[1]
            return (_through_jpeg(one), _through_jpeg(two)) if jpeg else (one, two)
    raise InputError("seed, index", f"no twins could be placed for {seed}, {index}", "use another index")


def stills(seed: int, count: int, start: int = 0, **options: Any) -> Iterator[Still]:
    """``count`` stills of the series ``seed`` from ``start``; ``options`` as of :func:`person_still`."""
    for index in range(start, start + count):
        yield person_still(seed, index, **options)
