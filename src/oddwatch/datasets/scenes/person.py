"""A dressed body as capsules: which part is drawn where, how thick, and of what material."""

from __future__ import annotations

import numpy as np

from oddwatch.datasets.scenes.carried import draw_carried
from oddwatch.datasets.scenes.figure import Array, Patch, Surface
from oddwatch.datasets.scenes.skeleton import POINT
from oddwatch.datasets.scenes.wardrobe import MATERIAL, Look

_M = MATERIAL
_HIP = np.array([0.078, 0.094, 0.097, 0.092, 0.087, 0.083], np.float32)
_CHEST = np.array([0.083, 0.089, 0.098, 0.105, 0.109, 0.1, 0.048], np.float32)
_HIP_DEEP = np.array([0.07, 0.074, 0.07, 0.064, 0.06, 0.058], np.float32)
_CHEST_DEEP = np.array([0.058, 0.064, 0.071, 0.073, 0.068, 0.055, 0.032], np.float32)


class Figure:
    """Everything the part drawers share: patch points, pixels per metre, camera-axis body frames."""

    def __init__(self, patch: Patch, look: Look, points: Array, frames: Array, focal: float) -> None:
        self.patch, self.look, self.points = patch, look, points
        self.frames = frames  # (3, 3, 3): camera axes × (right, forward, up) of pelvis, chest, head
        self.h = look.body.height
        self.per_metre = focal * patch.scale / points[:, 2]

    def at(self, name: str) -> Array:
        """A skeleton point in patch pixels and depth."""
        out: Array = self.points[POINT[name]]
        return out

    def k(self, name: str) -> float:
        """Patch pixels per metre at a skeleton point."""
        return float(self.per_metre[POINT[name]])

    def offset(self, name: str, frame: int, right: float, forward: float, up: float) -> Array:
        """A point displaced in metres along a body frame (0 pelvis, 1 chest, 2 head)."""
        cam = self.frames[frame] @ np.array([right, forward, up], np.float32)
        p = self.at(name)
        k = self.k(name)
        return np.array([p[0] + cam[0] * k, p[1] + cam[1] * k, p[2] + cam[2]], np.float32)


def _pattern(fig: Figure, base: int, length: float, phase: float = 0.0) -> Surface | int:
    """A garment's own surface: stripes, checks or a print of the second colour."""
    kind, n = int(fig.look.cut["pattern"]), fig.look.cut["stripe"] * length
    if kind == 0 or kind == 3:
        return base
    second = _M["upper2"]

    def surface(t: Array, u: Array, nx: Array, ny: Array) -> np.ndarray:
        rows = np.mod(t * n + phase, 1.0) < 0.5
        if kind == 2:
            rows = rows ^ (np.mod(np.arcsin(np.clip(u, -1, 1)) * 2.2 + 0.2, 1.0) < 0.5)
        return np.where(rows, second, base).astype(np.uint8)

    return surface


def _torso_surface(fig: Figure, hem: float, phase: float, chest: bool) -> Surface:
    """Upper garment over the trunk; an open jacket shows the inner garment around the front's middle line."""
    look = fig.look
    axis = fig.at("neck") - fig.at("pelvis")
    norm = float(np.hypot(axis[0], axis[1])) + 1e-3
    forward = fig.frames[1 if chest else 0][:, 1]
    side = float((forward[0] * -axis[1] + forward[1] * axis[0]) / norm)
    front = float(-forward[2])
    plain = _pattern(fig, _M["upper"], 1.3 if chest else 1.0, phase)
    is_open, printed = look.cut["open"] > 0, int(look.cut["pattern"]) == 3

    def surface(t: Array, u: Array, nx: Array, ny: Array) -> np.ndarray:
        base = plain if isinstance(plain, int) else plain(t, u, nx, ny)
        out = np.broadcast_to(np.asarray(base, np.uint8), t.shape)
        if front > -0.2:
            depth = np.sqrt(np.maximum(1 - u * u, 0)) * front + u * side
            if is_open:
                wide = 0.955 if not chest else 0.965 - 0.03 * t
                out = np.where(depth > wide, _M["inner"], out)
            elif printed and chest:
                out = np.where((depth > 0.9) & (t > 0.25) & (t < 0.62), _M["upper2"], out)
        if chest and look.facts["upper"]["type"] in ("shirt", "suit", "t-shirt", "dress"):
            neck = np.sqrt(np.maximum(1 - u * u, 0)) * front + u * side
            out = np.where((t > 0.93) & (neck > 0.5), _M["skin"], out)
        if hem > 0:
            out = np.where(t < hem, _M["lower"], out)
        return np.asarray(out, np.uint8)

    return surface


def _cross(
    fig: Figure, frame: int, wide: Array, deep: Array, p: Array, q: Array, k: float
) -> tuple[Array, float]:
    """Half width seen across the part (patch px) of an elliptical trunk, and its half depth along the view (m)."""
    axis = q - p
    norm = float(np.hypot(axis[0], axis[1])) + 1e-3
    n = np.array([-axis[1] / norm, axis[0] / norm], np.float32)
    right, forward = fig.frames[frame][:, 0], fig.frames[frame][:, 1]
    across_r, across_f = float(right[:2] @ n), float(forward[:2] @ n)
    if norm < 0.35 * k * 0.1 * fig.h:  # looking along the trunk: its cross-section fills the view
        across_r, across_f = 1.0, 0.7
    seen = np.sqrt((wide * across_r) ** 2 + (deep * across_f) ** 2)
    thick = float(np.hypot(wide.mean() * right[2], deep.mean() * forward[2]))
    return (seen * k).astype(np.float32), max(thick, 0.05)


def _trunk(fig: Figure) -> None:
    body, cut, h = fig.look.body, fig.look.cut, fig.h
    bulk = cut["bulk"] + 0.004
    pelvis, spine, neck = fig.at("pelvis"), fig.at("spine"), fig.at("neck")
    low = fig.offset("pelvis", 0, 0.0, 0.0, -0.026 * h)
    g, hips, sh = body.girth, body.hips, body.shoulders
    waist = 0.94 if cut["feminine"] else 1.0 + 0.35 * max(g - 1.05, 0)
    k = fig.k("pelvis")
    wide = _HIP * h * hips * (0.6 + 0.4 * g) * np.linspace(1, waist, 6, dtype=np.float32) + bulk
    deep = _HIP_DEEP * h * g + bulk
    profile, thick = _cross(fig, 0, wide, deep, low, spine, k)
    hem = 0.0 if cut["hem"] or fig.look.facts["upper"]["type"] not in ("shirt", "t-shirt", "suit") else 0.22
    if fig.look.facts["upper"]["type"] in ("vest", "sweater", "jacket", "hoodie"):
        hem = 0.05
    fig.patch.capsule(
        low, spine, 0, 0, _torso_surface(fig, hem, 0.0, False), profile=profile, thick=thick, fold=0.05
    )
    k = fig.k("spine")
    neck = fig.offset("neck", 1, 0.0, 0.0, -0.018 * h)
    wide = _CHEST * h * (0.5 * sh + 0.5) * (0.65 + 0.35 * g) + bulk
    wide[0] *= waist
    deep = _CHEST_DEEP * h * g + bulk
    profile, thick = _cross(fig, 1, wide, deep, spine, neck, k)
    fig.patch.capsule(
        spine, neck, 0, 0, _torso_surface(fig, 0.0, 0.3, True), profile=profile, thick=thick, fold=0.045
    )
    # The girdle joins trunk and arms, so that shoulders slope instead of ending in two balls.
    left, right, r = fig.at("l_shoulder"), fig.at("r_shoulder"), 0.034 * h * (0.6 + 0.4 * g) + bulk * 0.7
    plain = _pattern(fig, _M["upper"], 0.5, 0.2)
    fig.patch.capsule(left, right, r * k, r * k, plain, thick=r * 0.9, bias=-0.02)
    if cut["hem"] > 0 or cut["skirt"] > 0:
        _skirt(fig, pelvis)


def _skirt(fig: Figure, pelvis: Array) -> None:
    """Skirts, dresses and coat tails: a cone from the hips toward the knees, as wide as the legs are apart."""
    look, h = fig.look, fig.h
    cut = look.cut
    upper = cut["hem"] > 0
    reach = cut["hem"] if upper else cut["skirt"]
    left, right = fig.at("l_knee"), fig.at("r_knee")
    if reach > 1:
        f = (reach - 1) * 0.8
        left = left + (fig.at("l_ankle") - left) * f
        right = right + (fig.at("r_ankle") - right) * f
    end = pelvis + ((left + right) / 2 - pelvis) * min(reach, 1.0)
    gap = float(np.hypot(*(left - right)[:2])) / 2 * min(reach, 1.0)
    k = fig.k("pelvis")
    r0 = (0.1 * h * look.body.hips * (0.6 + 0.4 * look.body.girth) + cut["bulk"]) * k
    if upper and look.facts["upper"]["type"] == "dress":
        r1 = gap + (0.075 + 0.03 * cut["hem"]) * h * k
    elif upper:
        r1 = gap + 0.07 * h * k
    else:
        r1 = gap + 0.075 * h * k
    material = _pattern(fig, _M["upper"] if upper else _M["lower"], 1.3) if upper else _M["lower"]
    bend = float(np.hypot(*(end - pelvis)[:2]))
    if bend < 0.12 * h * k * min(reach, 1.0):
        return  # thighs point at the camera or are folded up: the cone would hide the body
    facing = -float(fig.frames[0][2, 1])
    if cut["open"] and upper and facing > 0.5:
        inner = _M["lower"]
        plain = material

        def surface(t: Array, u: Array, nx: Array, ny: Array) -> np.ndarray:
            base = plain if isinstance(plain, int) else plain(t, u, nx, ny)
            return np.where(np.abs(u) < 0.1 + 0.16 * t, inner, base).astype(np.uint8)

        fig.patch.capsule(pelvis, end, r0, r1, surface, thick=0.13, fold=0.07, flat=True)
        return
    fig.patch.capsule(pelvis, end, r0, r1, material, thick=0.14, fold=0.08, flat=True)


def _legs(fig: Figure) -> None:
    look, h = fig.look, fig.h
    g, cut = 0.55 + 0.45 * look.body.girth, look.cut
    fit, leg = cut["tight"], cut["leg"]
    loose = 0.0 if leg < 0.2 else 0.006
    under = _M["lower2"] if cut["tights"] else _M["skin"]

    def cloth(first: float, boot: float) -> Surface | int:
        """Trousers up to ``leg`` (thigh 0–1, shin 1–2), below it skin or tights, boots at the end."""
        if leg >= first + 1 and boot <= 0:
            return _M["lower"]
        if leg <= first and boot <= 0:
            return under

        def surface(t: Array, u: Array, nx: Array, ny: Array) -> np.ndarray:
            out = np.where(t + first < leg, _M["lower"], under)
            return (
                np.where(t > 1 - boot, _M["shoes"], out).astype(np.uint8)
                if boot > 0
                else out.astype(np.uint8)
            )

        return surface

    for s in ("l", "r"):
        hip, knee, ankle = fig.at(f"{s}_hip"), fig.at(f"{s}_knee"), fig.at(f"{s}_ankle")
        kh, kk, ka = fig.k(f"{s}_hip"), fig.k(f"{s}_knee"), fig.k(f"{s}_ankle")
        r_hip, r_knee, r_ankle = 0.05 * h * g, 0.034 * h * g, 0.023 * h * g
        if leg > 0.2:
            r_hip, r_knee = (r_hip + loose) * min(fit, 1.08), (r_knee + loose) * fit
        r_low = (0.03 * h * g + loose) * fit if leg > 1.5 else r_ankle
        fig.patch.capsule(hip, knee, r_hip * kh, r_knee * kk, cloth(0.0, 0.0), thick=r_hip, fold=0.05)
        r_calf = max(r_knee * 0.97, 0.033 * h * g)
        fig.patch.capsule(knee, ankle, 0, 0, cloth(1.0, cut["boot"]), thick=r_calf, fold=0.06, profile=np.array(
            [r_knee * kk, r_calf * float((kk + ka) / 2), r_low * ka, max(r_low * 0.97, r_ankle) * ka], np.float32))  # fmt: skip
        heel, toe = fig.at(f"{s}_heel"), fig.at(f"{s}_toe")
        size = 0.02 * h
        fig.patch.capsule(heel, toe, size * ka * 1.05, size * ka * 0.82, _M["shoes"], thick=size)
        down = 0.008 * h * ka * abs(float(fig.frames[0][1, 2]))
        low = np.array([0, down, 0.02], np.float32)
        fig.patch.capsule(heel + low, toe + low, size * ka, size * ka * 0.8, _M["sole"], thick=size)


def _arms(fig: Figure) -> None:
    look, h = fig.look, fig.h
    g, cut = 0.6 + 0.4 * look.body.girth, look.cut
    bulk, sleeve = cut["bulk"] * 0.7, cut["sleeve"]
    under = sleeve > 2  # a long-sleeved garment below a vest
    cloth = _M["inner"] if under else _M["upper"]
    length = 1.95 if under else sleeve

    def surface(first: float) -> Surface | int:
        if length <= first:
            return _M["skin"]
        plain = cloth if under else _pattern(fig, cloth, 1.2, first * 0.4)
        if length >= first + 1:
            return plain

        def mixed(t: Array, u: Array, nx: Array, ny: Array) -> np.ndarray:
            base = plain if isinstance(plain, int) else plain(t, u, nx, ny)
            return np.where(t + first < length, base, _M["skin"]).astype(np.uint8)

        return mixed

    for s in ("l", "r"):
        a, e, w, hand = (fig.at(f"{s}_{n}") for n in ("shoulder", "elbow", "wrist", "hand"))
        ka, ke, kw = (fig.k(f"{s}_{n}") for n in ("shoulder", "elbow", "wrist"))
        extra = bulk if sleeve > 0.1 or under else 0.0
        r0, r1, r2 = (
            0.033 * h * g + extra,
            0.026 * h * g + extra,
            0.019 * h * g + (extra if length > 1.5 else 0),
        )
        fig.patch.capsule(a, e, r0 * ka, r1 * ke, surface(0.0), thick=r0, fold=0.05)
        fig.patch.capsule(e, w, r1 * ke, r2 * kw, surface(1.0), thick=r1, fold=0.05)
        tip = hand + (hand - w) * 0.45
        fig.patch.capsule(w, tip, 0.0175 * h * kw, 0.016 * h * kw, _M["skin"], thick=0.025)


def _head_surface(fig: Figure) -> Surface:
    look = fig.look
    right, forward, up = fig.frames[2][:, 0], fig.frames[2][:, 1], fig.frames[2][:, 2]
    bald, beard = look.cut["bald"] > 0, look.cut["beard"] > 0
    fine = fig.k("head") * 0.05 * fig.h > 5.0
    worn = look.facts["accessories"]
    glasses, mask = "glasses" in worn, "mask" in worn
    cap = "cap" in worn or "hat" in worn or "helmet" in worn
    line = 0.28 if "helmet" in worn else 0.38 if look.cut.get("beanie") else 0.46
    hood = "hood" in worn

    def surface(t: Array, u: Array, nx: Array, ny: Array) -> np.ndarray:
        nz = -np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0))
        # The part's round ends bend the normal; t adds the straight stretch between them.
        b = nx * up[0] + ny * up[1] + nz * up[2] + (t - 0.5) * 0.55
        c = nx * forward[0] + ny * forward[1] + nz * forward[2]
        a = nx * right[0] + ny * right[1] + nz * right[2]
        out = np.full(t.shape, _M["skin"], np.uint8)
        hair = (c < 0.12 - 0.3 * (b < -0.35)) & (b > -0.75) | (b > 0.62 - 0.1 * c)
        if not bald:
            out[hair] = _M["hair"]
        if fine:
            eyes = (c > 0.2) & (np.abs(b - 0.12) < 0.075) & (np.abs(np.abs(a) - 0.36) < 0.13)
            brow = (c > 0.2) & (np.abs(b - 0.3) < 0.04) & (np.abs(np.abs(a) - 0.36) < 0.17)
            mouth = (c > 0.3) & (np.abs(b + 0.52) < 0.05) & (np.abs(a) < 0.24)
            out[eyes | mouth] = _M["dark"]
            out[brow] = _M["hair"]
        if beard:
            out[(c > 0.05) & (b < -0.38)] = _M["hair"]
        if mask:
            out[(c > 0.1) & (b < -0.12)] = _M["item"]
        if glasses:
            out[(c > 0.05) & (np.abs(b - 0.12) < 0.14) & (np.abs(a) > 0.06)] = _M["lens"]
        if cap:
            out[b > line] = _M["head"]
        if hood:
            out[(c < 0.55) | (b > 0.55)] = _M["head"]
        return out

    return surface


def _head(fig: Figure) -> None:
    look, h = fig.look, fig.h
    worn, cut, k = look.facts["accessories"], look.cut, fig.k("head")
    head, neck = fig.at("head"), fig.at("neck")
    low, high = fig.offset("head", 2, 0, 0.004 * h, -0.02 * h), fig.offset("head", 2, 0, 0, 0.02 * h)
    fig.patch.capsule(neck, head, 0.033 * h * k, 0.03 * h * k, _M["skin"], thick=0.05)
    grow = 1.14 if "hood" in worn else 1.16 if "helmet" in worn else 1.05 if "hat" in worn else 1.0
    r = 0.0445 * h * (grow if cut["bald"] == 0 or worn else 0.98)
    fig.patch.capsule(low, high, 0, 0, _head_surface(fig), thick=r, profile=np.array(
        [r * k * 0.86 / max(grow, 1), r * k, r * k * 1.03], np.float32))  # fmt: skip
    nose = fig.at("nose")
    if "hood" not in worn:
        fig.patch.ball(nose, 0.0085 * h * k, _M["item"] if "mask" in worn else _M["skin"], thick=0.015)
        for s in ("l_ear", "r_ear"):
            covered = cut["long_hair"] > 0 and not cut["tail"]
            fig.patch.ball(fig.at(s), 0.011 * h * k, _M["hair"] if covered else _M["skin"], thick=0.015)
    if cut["long_hair"] > 0 and "hood" not in worn:
        back, reach = fig.offset("head", 2, 0, -0.022 * h, 0.0), 0.075 * cut["long_hair"] * h
        end = fig.offset("neck", 1, 0, -0.052 * h, 0.05 * h - reach)
        if cut["tail"]:
            fig.patch.capsule(back, end, 0.022 * h * k, 0.013 * h * k, _M["hair"], thick=0.03)
        else:
            fig.patch.capsule(back, end, 0.047 * h * k, 0.04 * h * k, _M["hair"], thick=0.04, fold=0.05)
    if "hat" in worn and not cut.get("beanie"):
        brim = fig.offset("head", 2, 0, 0, 0.03 * h)
        _disc(fig, brim, 0.082 * h, _M["head"])
    if "cap" in worn:
        root, tip = (
            fig.offset("head", 2, 0, 0.03 * h, 0.027 * h),
            fig.offset("head", 2, 0, 0.078 * h, 0.018 * h),
        )
        fig.patch.capsule(root, tip, 0.026 * h * k, 0.022 * h * k, _M["head"], thick=0.01)
    if "scarf" in worn:
        ring = fig.offset("neck", 1, 0, 0.012 * h, 0.012 * h)
        fig.patch.capsule(ring, fig.offset("neck", 1, 0, 0.01 * h, 0.035 * h), 0.05 * h * k, 0.043 * h * k,
                          _M["upper2"], thick=0.06, fold=0.1)  # fmt: skip
    if look.facts["upper"]["type"] == "hoodie" and "hood" not in worn:
        lump = fig.offset("neck", 1, 0, -0.035 * h, 0.0)
        fig.patch.capsule(lump, fig.offset("neck", 1, 0, -0.045 * h, -0.03 * h), 0.045 * h * k, 0.04 * h * k,
                          _M["upper"], thick=0.045, fold=0.08)  # fmt: skip


def _disc(fig: Figure, centre: Array, radius: float, material: int) -> None:
    """A flat disc square to the head's up axis."""
    k = fig.k("head")
    angle = np.linspace(0, 2 * np.pi, 15, dtype=np.float32)[:-1]
    ring = np.outer(np.cos(angle), fig.frames[2][:, 0]) + np.outer(np.sin(angle), fig.frames[2][:, 1])
    points = np.stack([centre[0] + ring[:, 0] * radius * k, centre[1] + ring[:, 1] * radius * k,
                       centre[2] + ring[:, 2] * radius], -1)  # fmt: skip
    fig.patch.polygon(points.astype(np.float32), material, shade=0.85, bias=0.06)


def draw_person(patch: Patch, look: Look, points: Array, frames: Array, focal: float) -> None:
    """Draw one person.

    ``points`` (28, 3) picture pixels and depth (m); ``frames`` (3, 3, 3) body frames in camera axes;
    ``focal`` in picture pixels.
    """
    fig = Figure(patch, look, patch.place(points), frames, focal)
    _trunk(fig)
    _legs(fig)
    _arms(fig)
    _head(fig)
    draw_carried(fig)
