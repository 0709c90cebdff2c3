"""Things on a person: backpacks, bags, suitcases, boxes, umbrellas, phones, papers, bottles, balls, sticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from oddwatch.datasets.scenes.wardrobe import MATERIAL

if TYPE_CHECKING:
    from oddwatch.datasets.scenes.person import Figure

_M = MATERIAL


def draw_carried(fig: Figure) -> None:
    """Draw everything the look carries, in the hand or on the back."""
    for name in fig.look.facts["carrying"]:
        if name == "backpack":
            _backpack(fig)
        elif name == "bag":
            _bag(fig)
        elif name == "suitcase":
            _suitcase(fig)
        elif name == "box":
            _box(fig)
        elif name == "umbrella":
            _umbrella(fig)
        else:
            _small(fig, name)


def _slab(fig: Figure, frame: int, name: str, centre: tuple[float, float, float],
          half: tuple[float, float, float], material: int, shade: float = 1.0) -> None:  # fmt: skip
    """A box with half sizes along a body frame, drawn face by face."""
    corners = np.array([[i, j, k] for i in (-1, 1) for j in (-1, 1) for k in (-1, 1)], np.float32)
    local = corners * np.array(half, np.float32) + np.array(centre, np.float32)
    cam = local @ fig.frames[frame].T
    p, k = fig.at(name), fig.k(name)
    points = np.stack([p[0] + cam[:, 0] * k, p[1] + cam[:, 1] * k, p[2] + cam[:, 2]], -1).astype(np.float32)
    tint = {0: 0.86, 1: 1.0, 2: 1.12}
    for axis in range(3):
        normal = fig.frames[frame][:, axis]
        sign = -1 if normal[2] > 0 else 1  # the face turned toward the camera
        face = [i for i in range(8) if corners[i, axis] == sign]
        order = [face[0], face[1], face[3], face[2]]
        fig.patch.polygon(points[order], material, shade=shade * tint[axis])


def _backpack(fig: Figure) -> None:
    h, k = fig.h, fig.k("spine")
    for dz, r in ((0.105, 0.06), (0.03, 0.068)):
        a = fig.offset("spine", 1, -0.035 * h, -0.085 * h, dz * h)
        b = fig.offset("spine", 1, 0.035 * h, -0.085 * h, dz * h)
        fig.patch.capsule(a, b, r * h * k, r * h * k, _M["bag"], thick=r * h, fold=0.04)
    for side in (-1.0, 1.0):
        top = fig.offset("neck", 1, side * 0.066 * h, 0.045 * h, -0.02 * h)
        low = fig.offset("spine", 1, side * 0.08 * h, 0.058 * h, 0.05 * h)
        fig.patch.capsule(top, low, 0.011 * h * k, 0.011 * h * k, _M["bag"], thick=0.02)


def _bag(fig: Figure) -> None:
    h, cut = fig.h, fig.look.cut
    side = cut["bag_side"]
    if cut["bag_long"]:
        hip = fig.offset("pelvis", 0, side * 0.13 * h, -0.01 * h, 0.0)
        k = fig.k("pelvis")
        end = fig.offset("pelvis", 0, side * 0.135 * h, 0.0, -0.07 * h)
        fig.patch.capsule(hip, end, 0.06 * h * k, 0.068 * h * k, _M["bag"], thick=0.08, fold=0.03)
        strap = fig.offset("neck", 1, -side * 0.06 * h, 0.05 * h, -0.01 * h)
        fig.patch.capsule(strap, hip, 0.009 * h * k, 0.009 * h * k, _M["bag"], thick=0.02, bias=0.09)
        return
    s = "r" if side > 0 else "l"
    hand = fig.at(f"{s}_hand")
    k = fig.k(f"{s}_hand")
    top, low = hand.copy(), hand.copy()
    top[1] += 0.075 * h * k
    low[1] += 0.16 * h * k
    fig.patch.capsule(hand, top, 0.006 * h * k, 0.012 * h * k, _M["bag"], thick=0.02)
    fig.patch.capsule(top, low, 0.062 * h * k, 0.076 * h * k, _M["bag"], thick=0.06, fold=0.04)


def _suitcase(fig: Figure) -> None:
    h = fig.h
    s = "r" if fig.look.cut["bag_side"] > 0 else "l"
    hand, k = fig.at(f"{s}_hand"), fig.k(f"{s}_hand")
    forward = fig.frames[0][:, 1]
    back = np.array([-forward[0] * 0.3 * k, -forward[1] * 0.3 * k, -forward[2] * 0.3], np.float32)
    base = hand + back
    base[1] += 0.30 * h * k
    fig.patch.capsule(hand, base, 0.006 * h * k, 0.006 * h * k, _M["metal"], thick=0.01)
    top = base.copy()
    base[1] += 0.06 * h * k
    top[1] -= 0.12 * h * k
    fig.patch.capsule(top, base, 0.1 * h * k, 0.1 * h * k, _M["bag"], thick=0.1)


def _box(fig: Figure) -> None:
    h = fig.h
    mid = (fig.at("l_hand") + fig.at("r_hand")) / 2
    offset = mid - fig.at("spine")
    k = fig.k("spine")
    cam = np.array([offset[0] / k, offset[1] / k, offset[2]], np.float32)
    local = fig.frames[1].T @ cam
    _slab(fig, 1, "spine", (float(local[0]), float(local[1]) + 0.05 * h, float(local[2])),
          (0.1 * h, 0.075 * h, 0.08 * h), _M["item"])  # fmt: skip


def _umbrella(fig: Figure) -> None:
    h = fig.h
    s = "r" if fig.look.cut["bag_side"] > 0 else "l"
    hand, k = fig.at(f"{s}_hand"), fig.k(f"{s}_hand")
    head = fig.at("crown")
    top = hand.copy()
    top[0] += 0.35 * (head[0] - hand[0])
    top[1] = min(float(hand[1]) - 0.25 * h * k, float(head[1]) - 0.1 * h * k)
    fig.patch.capsule(hand, top, 0.006 * h * k, 0.006 * h * k, _M["metal"], thick=0.01)
    radius = 0.29 * h * k
    angle = np.linspace(np.pi, 2 * np.pi, 13)
    tilt = abs(float(fig.frames[0][2, 2]))  # seen from above the canopy is rounder
    dome = np.stack([top[0] + radius * np.cos(angle), top[1] + 0.08 * h * k + np.sin(angle) * 0.17 * h * k,
                     np.full(13, top[2] - 0.05)], -1)  # fmt: skip
    low = np.stack([top[0] + radius * np.cos(angle[::-1]),
                    top[1] + 0.08 * h * k - np.sin(angle[::-1]) * (0.02 + 0.16 * tilt) * h * k,
                    np.full(13, top[2] - 0.05)], -1)  # fmt: skip
    fig.patch.polygon(np.concatenate([dome, low]).astype(np.float32), _M["item"], shade=0.95, bias=0.3)


def _small(fig: Figure, name: str) -> None:
    h = fig.h
    s = "r" if fig.look.cut["bag_side"] > 0 else "l"
    hand, wrist, k = fig.at(f"{s}_hand"), fig.at(f"{s}_wrist"), fig.k(f"{s}_hand")
    along = hand - wrist
    if name == "phone":
        fig.patch.capsule(
            hand + along * 0.2, hand + along * 1.0, 0.022 * h * k, 0.022 * h * k, _M["item"], thick=0.05
        )
    elif name == "paper":
        w, t = 0.062 * h * k, 0.085 * h * k
        centre = hand + along * 0.7
        quad = np.array([[-w, -t, 0], [w, -t * 0.9, 0], [w, t * 0.8, 0], [-w, t, 0]], np.float32) + centre
        fig.patch.polygon(quad, _M["item"], shade=1.1, bias=0.1)
    elif name == "bottle":
        top = hand.copy()
        top[1] -= 0.07 * h * k
        fig.patch.capsule(hand + along * 0.3, top, 0.02 * h * k, 0.014 * h * k, _M["item"], thick=0.03)
    elif name == "ball":
        fig.patch.ball(hand + along * 1.2, 0.065 * h * k, _M["item"], thick=0.11)
    elif name == "stick":
        tip = hand + along * 6.5
        fig.patch.capsule(hand, tip, 0.011 * h * k, 0.018 * h * k, _M["item"], thick=0.03)
