"""A stage: one place, camera and light, into which people and things are drawn with exact annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from oddwatch.datasets.scenes.camera import Array, Camera
from oddwatch.datasets.scenes.figure import Patch
from oddwatch.datasets.scenes.light import Lens, Pixels, Sky, expose, fall_weather, light_ground
from oddwatch.datasets.scenes.person import draw_person
from oddwatch.datasets.scenes.places import Place
from oddwatch.datasets.scenes.skeleton import COCO, POINT, solve
from oddwatch.datasets.scenes.things import Thing, draw_thing
from oddwatch.datasets.scenes.wardrobe import Look

Window = tuple[int, int, int, int]


@dataclass(slots=True)
class State:
    """What one person does at one moment. ``x``, ``y`` world metres, ``heading`` radians (0 away from the camera),
    ``pose`` (24,), ``lift`` as in :func:`skeleton.solve`; ``facts`` the momentary words (posture, action, arms…)."""

    x: float
    y: float
    heading: float
    pose: Array
    lift: float = float("nan")
    facts: dict[str, Any] = field(default_factory=dict)
    bicycle: float | None = None


@dataclass(slots=True)
class Seen:
    """A drawn person: box (x0, y0, x1, y1) of the whole figure inside the picture, visible share of the figure,
    COCO keypoints (17, 3: x, y, flag 2 seen, 1 hidden, 0 outside), and the mask of its visible pixels."""

    track: int
    box: tuple[float, float, float, float]
    visible: float
    keypoints: Array
    height_px: float
    depth: float
    points: Array
    id: int = 0


_BONES = [(POINT[a], POINT[b], r) for a, b, r in (
    ("pelvis", "spine", 0.14), ("spine", "neck", 0.15), ("neck", "crown", 0.08), ("l_shoulder", "l_elbow", 0.05),
    ("r_shoulder", "r_elbow", 0.05), ("l_elbow", "l_wrist", 0.04), ("r_elbow", "r_wrist", 0.04),
    ("l_hip", "l_knee", 0.08), ("r_hip", "r_knee", 0.08), ("l_knee", "l_ankle", 0.055), ("r_knee", "r_ankle", 0.055),
    ("l_heel", "l_toe", 0.045), ("r_heel", "r_toe", 0.045),
)]  # fmt: skip


class Stage:
    """A place under a sky seen by a camera, with fixed things in it.

    ``fine``: people below that many pixels are drawn at twice the size.
    ``coarse`` casts the place at that fraction of the resolution.
    ``window`` draws only that part of the picture (x0, y0, x1, y1); annotations stay in full-picture pixels.
    """

    def __init__(
        self,
        place: Place,
        sky: Sky,
        camera: Camera,
        lens: Lens,
        rng: np.random.Generator,
        things: Sequence[Thing] = (),
        window: Window | None = None,
        fine: float = 78.0,
        coarse: int = 1,
    ) -> None:
        self.place, self.sky, self.camera, self.lens = place, sky, camera, lens
        self.window: Window = window or (0, 0, camera.width, camera.image_height)
        self.fine = fine
        self.background: Pixels = self._cast(rng, coarse)
        self.things = sorted(things, key=lambda t: -camera.depth_of(t.x, t.y))
        self.sprites: list[tuple[Window, Pixels, NDArray[np.uint8], float]] = []
        for thing in self.things:
            self._shade_thing(self.background, thing)
            sprite = self._sprite(thing)
            if sprite is not None:
                self._blend(self.background, *sprite[:3])
                self.sprites.append(sprite)
        self.ids: NDArray[np.uint8] = np.zeros(self.background.shape[:2], np.uint8)
        self._materials: dict[int, NDArray[np.uint8]] = {}
        self._drawn: list[tuple[Window, NDArray[np.bool_], int]] = []

    def _cast(self, rng: np.random.Generator, coarse: int) -> Pixels:
        """The bare place under its sky; ``coarse`` > 1 casts one ray per that many pixels and interpolates."""
        camera, window, place = self.camera, self.window, self.place
        if coarse > 1:
            small = tuple(int(np.floor(v / coarse)) for v in window)
            k = 1.0 / coarse
            lens = camera.moved(focal=camera.focal * k, cx=camera.cx * k, cy=camera.cy * k)
            box = (small[0], small[1], small[2] + 1, small[3] + 1)
            cast, dist = place.cast(lens, box, self.sky.night)
            lit = light_ground(cast, dist, lens, self.sky, place, box, rng)
            wide = cv2.resize(np.clip(lit, 0, 255).astype(np.uint8), None, fx=coarse, fy=coarse)
            x, y = window[0] - box[0] * coarse, window[1] - box[1] * coarse
            return np.ascontiguousarray(wide[y : y + window[3] - window[1], x : x + window[2] - window[0]])
        cast, dist = place.cast(camera, window, self.sky.night)
        return np.clip(light_ground(cast, dist, camera, self.sky, place, window, rng), 0, 255).astype(
            np.uint8
        )

    # -- pieces -----------------------------------------------------------------------------------------------

    def _sprite(self, thing: Thing) -> tuple[Window, Pixels, NDArray[np.uint8], float] | None:
        light = self.sky.on_person(self.camera, thing.x, thing.y)
        drawn = draw_thing(thing, self.camera, light, self.window)
        return None if drawn is None else (*drawn, self.camera.depth_of(thing.x, thing.y))

    def _shade_thing(self, image: Pixels, thing: Thing) -> None:
        if thing.footprint is None:
            return
        foot = self.camera.project(thing.footprint_points())
        if foot[:, 2].min() < 0.3:
            return
        self._shadow(image, [np.round((foot[:, :2] - self.window[:2]) * 8).astype(np.int32)], [], 0.42,
                     float(self.camera.focal / foot[:, 2].mean()) * 0.1)  # fmt: skip

    def _shadow(self, image: Pixels, polygons: list[NDArray[np.int32]], lines: list[tuple[NDArray[np.int32], int]],
                strength: float, blur: float) -> None:  # fmt: skip
        """Darken polygons and thick lines (window pixels × 8) with a soft edge."""
        stack = np.concatenate([*polygons, *(p for p, _ in lines)]) // 8
        pad = int(3 * blur) + max([w for _, w in lines], default=0) + 3
        h, w = image.shape[:2]
        x0, y0 = max(int(stack[:, 0].min()) - pad, 0), max(int(stack[:, 1].min()) - pad, 0)
        x1, y1 = min(int(stack[:, 0].max()) + pad, w), min(int(stack[:, 1].max()) + pad, h)
        if x0 >= x1 or y0 >= y1:
            return
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        shift = np.array([x0 * 8, y0 * 8], np.int32)
        for polygon in polygons:
            cv2.fillPoly(mask, [polygon - shift], 255, cv2.LINE_AA, 3)
        for points, width in lines:
            a, b = points - shift
            cv2.line(mask, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), 255, width, cv2.LINE_AA, 3)
        if blur > 0.4:
            size = 2 * max(1, round(min(blur, 12.0) * 0.9)) + 1
            mask = cv2.blur(cv2.blur(mask, (size, size)), (size, size))
        roi = image[y0:y1, x0:x1]
        factor = (255 - mask.astype(np.float32) * strength).astype(np.uint8)
        cv2.multiply(roi, cv2.cvtColor(factor, cv2.COLOR_GRAY2RGB), roi, 1 / 255)

    @staticmethod
    def _blend_roi(image: Pixels, box: Window, origin: tuple[int, int]) -> Pixels:
        x0, y0, x1, y1 = box
        return image[y0 - origin[1] : y1 - origin[1], x0 - origin[0] : x1 - origin[0]]

    def _blend(self, image: Pixels, box: Window, rgb: Pixels, alpha: NDArray[np.uint8]) -> None:
        roi = self._blend_roi(image, box, (self.window[0], self.window[1]))
        a = alpha.astype(np.uint16)[..., None]
        roi[:] = ((roi * (255 - a) + rgb * a + 127) // 255).astype(np.uint8)

    def _person_shadow(self, image: Pixels, joints: Array) -> None:
        sun = self.sky.sun
        if sun is not None:
            k = joints[:, 2:3] / max(sun[2], 0.2)
            flat = joints[:, :2] - k * np.array(sun[:2], np.float32)
            strength, soft = 0.5, 0.02
        else:
            flat = joints[:, :2]
            strength, soft = 0.3, 0.09
        ground = np.concatenate([flat, np.zeros((len(flat), 1), np.float32)], 1)
        p = self.camera.project(ground)
        if p[:, 2].min() < 0.5:
            return
        k_px = self.camera.focal / float(p[:, 2].mean())
        xy = np.round((p[:, :2] - self.window[:2]) * 8).astype(np.int32)
        lines = [(xy[[i, j]], max(1, int(2 * r * k_px * 0.8))) for i, j, r in _BONES]
        self._shadow(image, [], lines, strength, soft * k_px)
        if sun is not None:  # a darker touch where the body meets the ground
            low = [(xy0, w) for xy0, w in self._contact(joints, k_px)]
            if low:
                self._shadow(image, [], low, 0.3, 0.05 * k_px)

    def _contact(self, joints: Array, k_px: float) -> list[tuple[NDArray[np.int32], int]]:
        ground = joints.copy()
        ground[:, 2] = 0
        p = self.camera.project(ground)
        xy = np.round((p[:, :2] - self.window[:2]) * 8).astype(np.int32)
        return [
            (xy[[i, j]], max(1, int(1.6 * r * k_px)))
            for i, j, r in _BONES
            if max(joints[i, 2], joints[j, 2]) < 0.35
        ]

    # -- a frame ----------------------------------------------------------------------------------------------

    def draw(
        self,
        people: Sequence[tuple[int, Look, State]],
        things: Sequence[Thing] = (),
        seed: int = 0,
        finish: bool = True,
    ) -> tuple[Pixels, list[Seen]]:
        """One frame (h, w, 3) uint8 and the people seen in it; ``seed`` moves noise and rain.

        People outside the picture or behind the camera are left out.
        """
        image = self.background.copy()
        self.ids[:] = 0
        self._drawn.clear()
        drawn: list[tuple[float, Window, Pixels, NDArray[np.uint8], int]] = []
        seen: list[Seen] = []
        if people:
            self._draw_people(image, people, drawn, seen)
        for thing in things:
            self._shade_thing(image, thing)
            sprite = self._sprite(thing)
            if sprite is not None:
                drawn.append((sprite[3] + thing.push, *sprite[:3], 0))
        for box, rgb, alpha, depth in self.sprites:
            if any(d[0] > depth and _meet(d[1], box) for d in drawn):
                drawn.append((depth, box, rgb, alpha, 0))
        full: dict[int, int] = {}
        for _, box, rgb, alpha, number in sorted(drawn, key=lambda d: -d[0]):
            self._blend(image, box, rgb, alpha)
            solid = alpha > 127
            self._blend_roi(self.ids, box, (self.window[0], self.window[1]))[solid] = number
            self._drawn.append((box, solid, number))
            if number:
                full[number] = int(solid.sum())
        counts = np.bincount(self.ids.ravel(), minlength=256)
        for one in seen:
            one.visible = round(
                min(float(counts[one.id] / max(full.get(one.id, 0), 1)) * one.visible, 1.0), 3
            )
            self._flag(one)
        seen = [one for one in seen if one.visible > 0.02]
        if finish:
            fall_weather(image, self.sky.weather, seed * 2 + 1, max(0.5, image.shape[0] / 360))
            image = expose(image, self.lens, seed)
        return image, seen

    def _draw_people(
        self,
        image: Pixels,
        people: Sequence[tuple[int, Look, State]],
        drawn: list[tuple[float, Window, Pixels, NDArray[np.uint8], int]],
        seen: list[Seen],
    ) -> None:
        camera = self.camera
        axes = camera.axes()
        states = [s for _, _, s in people]
        joints, frames = solve(
            [look.body for _, look, _ in people],
            np.stack([s.pose for s in states]),
            np.array([s.heading for s in states], np.float32),
            np.array([[s.x, s.y] for s in states], np.float32),
            np.array([s.lift for s in states], np.float32),
        )
        pixels = camera.project(joints)
        turned = np.einsum("ij,nkjl->nkil", axes, frames)
        for i, (track, look, state) in enumerate(people):
            p = pixels[i]
            if p[:, 2].min() < 0.6:
                continue
            k = camera.focal / float(p[0, 2])
            pad = 0.16 * k + 2
            if {"umbrella", "suitcase", "stick"} & set(look.facts["carrying"]):
                pad = 0.85 * k
            lo, hi = p[:, :2].min(0) - pad, p[:, :2].max(0) + pad
            box = (max(int(lo[0]), self.window[0]), max(int(lo[1]), self.window[1]),
                   min(int(hi[0]) + 1, self.window[2]), min(int(hi[1]) + 1, self.window[3]))  # fmt: skip
            if box[2] - box[0] < 3 or box[3] - box[1] < 3:
                continue
            self._person_shadow(image, joints[i])
            tall = 1.7 * k
            patch = Patch(
                box,
                2 if tall < self.fine else 1,
                self.sky.on_person(camera, state.x, state.y),
            )
            draw_person(patch, look, p, turned[i], camera.focal)
            rgb, alpha = patch.finish(look.palette)
            ys, xs = np.nonzero(alpha > 100)
            if len(xs) < 6:
                continue
            number = len(seen) + 1
            self._materials[number] = patch.material[:: patch.scale, :: patch.scale]
            outline = (float(box[0] + xs.min()), float(box[1] + ys.min()), float(box[0] + xs.max() + 1),
                       float(box[1] + ys.max() + 1))  # fmt: skip
            size = (hi - lo) - 2 * pad
            inside = np.minimum(hi - pad, self.window[2:]) - np.maximum(lo + pad, self.window[:2])
            share = float(np.prod(np.clip(inside / np.maximum(size, 1), 0, 1)))
            drawn.append((float(camera.depth_of(state.x, state.y)), box, rgb, alpha, number))
            seen.append(Seen(track, outline, share, p[list(COCO)].copy(), tall, float(p[0, 2]), p, number))

    def _flag(self, one: Seen) -> None:
        """Replace the depth column of the keypoints by COCO's visibility flag."""
        k = one.keypoints
        order = k[:, 2].copy()
        x = np.clip((k[:, 0] - self.window[0]).astype(int), 0, self.ids.shape[1] - 1)
        y = np.clip((k[:, 1] - self.window[1]).astype(int), 0, self.ids.shape[0] - 1)
        inside = (
            (k[:, 0] >= self.window[0])
            & (k[:, 0] < self.window[2])
            & (k[:, 1] >= self.window[1])
            & (k[:, 1] < self.window[3])
        )
        # Hidden by something else, or on the far side of the own body.
        near = self.ids[y, x] == one.id
        behind = order > one.depth + 0.13
        k[:, 2] = np.where(inside, np.where(near & ~behind, 2, 1), 0)

    def mask(self, one: Seen) -> NDArray[np.bool_]:
        """The visible pixels (h, w) of a person in the last drawn frame."""
        out: NDArray[np.bool_] = self.ids == one.id
        return out

    def parts(self) -> NDArray[np.uint8]:
        """(h, w) what each pixel of the people in the last drawn frame is made of: ``wardrobe.MATERIAL``, 0 elsewhere."""
        out = np.zeros_like(self.ids)
        for box, solid, number in self._drawn:
            roi = self._blend_roi(out, box, (self.window[0], self.window[1]))
            roi[solid] = self._materials[number][solid] if number else 0
        return out


def _meet(a: Window, b: Window) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
