"""Posture, arms and facing from 17 keypoints; lengths are measured in torsos."""

from __future__ import annotations

import math
from functools import cache
from importlib import resources
from typing import Protocol

import numpy as np

from oddwatch.core import KEYPOINTS, Box, Frame, Motion, Person, Pose

_K = {name: i for i, name in enumerate(KEYPOINTS)}
LOOK_MARGIN = 0.3
LONG_SIDE = 256


class Finder(Protocol):
    """What finds people: ``encoders.pose.PoseModel`` and anything with its ``detect``."""

    def detect(self, pixels: np.ndarray, long_side: int = 512) -> list[Person]: ...


def people_in_box(
    model: Finder, frame: Frame, box: Box, *, long_side: int = LONG_SIDE
) -> tuple[Person, list[Person]]:
    """The person of ``box`` with the pose found in it, and the other people seen around it.

    The pose model runs once on the enlarged crop. The person keeps ``box``; its pose is that of the found
    person who overlaps the box most (by IoU of box and of keypoint hull), or None when nobody does.
    """
    length = max(box.height, box.width)
    margin = LOOK_MARGIN * length
    area = Box(box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin)
    pixels = _padded(frame, area)
    dx, dy = np.floor(area.x0), np.floor(area.y0)
    found = [_moved(p, float(dx), float(dy)) for p in model.detect(pixels, long_side)]
    if not found:
        return Person(box), []
    fits = [max(p.box.iou(box), hull(p.pose).iou(box) if p.pose else 0.0) for p in found]
    best = int(np.argmax(fits))
    if fits[best] < 0.25:
        return Person(box), [p for p in found if p.score >= 0.2]
    chosen = found[best]
    others = [p for i, p in enumerate(found) if i != best and p.score >= 0.2 and p.box.iou(chosen.box) < 0.7]
    return Person(box, chosen.score, chosen.pose), others


def pose_in_box(model: Finder, frame: Frame, box: Box, *, long_side: int = LONG_SIDE) -> Pose | None:
    """The pose of the person in ``box``, from the pose model run on the enlarged crop; None without one."""
    return people_in_box(model, frame, box, long_side=long_side)[0].pose


def hull(pose: Pose | None, least: float = 0.15) -> Box:
    """The box around the believed keypoints, a little enlarged; empty without any."""
    if pose is None:
        return Box(0, 0, 0, 0)
    points = pose.points[pose.points[:, 2] >= least]
    if len(points) < 3:
        return Box(0, 0, 0, 0)
    x0, y0, x1, y1 = (float(v) for v in (*points[:, :2].min(0), *points[:, :2].max(0)))
    return Box(x0, y0, x1, y1).expanded(0.1)


def _padded(frame: Frame, area: Box) -> np.ndarray:
    # Edge pixels repeated: people cut by the frame are found less well against a black border.
    x0, y0, x1, y1 = (int(np.floor(v)) for v in area.as_list())
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)
    xs = np.clip(np.arange(x0, x1), 0, frame.width - 1)
    ys = np.clip(np.arange(y0, y1), 0, frame.height - 1)
    return np.ascontiguousarray(frame.pixels[ys[:, None], xs[None]])


def _moved(person: Person, dx: float, dy: float) -> Person:
    pose = person.pose.shifted(dx, dy) if person.pose else None
    return Person(person.box.shifted(dx, dy), person.score, pose, person.track)


def facing(points: np.ndarray) -> np.ndarray | None:
    """(4,) probabilities of facing camera, away, left, right (image left and right); None without shoulders.

    The order of the shoulders tells front from back, the nose against ears and shoulders tells the side,
    and the face keypoints' scores tell a face from the back of a head.
    """
    f = facing_features(points)
    if f is None:
        return None
    logits = FACING_WEIGHTS @ np.append(f, 1.0)
    odds = np.exp(logits - logits.max())
    return np.asarray(0.92 * odds / odds.sum() + 0.02, np.float32)


FACING_WEIGHTS = np.array(
    [
        # width  side  |side| face
        [4.0, 0.0, -2.0, 2.0, 0.0],
        [-4.0, 0.0, -2.0, -2.0, 0.0],
        [0.0, -6.0, 0.0, 0.0, 0.0],
        [0.0, 6.0, 0.0, 0.0, 0.0],
    ]
)


def facing_features(points: np.ndarray) -> np.ndarray | None:
    """(4,) what :func:`facing` reads: signed shoulder width, nose offset, its size, face score."""
    ls, rs = points[_K["left_shoulder"]], points[_K["right_shoulder"]]
    if min(ls[2], rs[2]) < 0.2:
        return None
    torso = torso_length(points)
    width = float(np.clip((ls[0] - rs[0]) / torso, -1, 1))
    hips = float(np.clip((points[_K["left_hip"], 0] - points[_K["right_hip"], 0]) / torso, -0.6, 0.6))
    nose, ears = points[_K["nose"]], points[[_K["left_ear"], _K["right_ear"]]]
    middle = (ls[0] + rs[0]) / 2
    by_ears = float(nose[0] - (ears[:, 0] * ears[:, 2]).sum() / max(float(ears[:, 2].sum()), 1e-3)) / torso
    by_shoulders = float(nose[0] - middle) / torso
    side = float(np.clip(by_ears * 1.5 + by_shoulders, -0.8, 0.8))
    face = float(points[[0, 1, 2], 2].mean() - 0.4)
    return np.array([width + hips, side, abs(side), face])


def torso_length(points: np.ndarray) -> float:
    """Shoulders to hips in pixels, at least a quarter of the pose's extent."""
    shoulders = points[[_K["left_shoulder"], _K["right_shoulder"]], :2].mean(0)
    hips = points[[_K["left_hip"], _K["right_hip"]], :2].mean(0)
    extent = float(np.ptp(points[:, :2], axis=0).max())
    return max(float(np.hypot(*(shoulders - hips))), 0.2 * extent, 1e-3)


def angle(points: np.ndarray, a: str, b: str, c: str) -> float:
    """The angle at ``b`` in degrees: 180 for a straight limb."""
    u, v = points[_K[a], :2] - points[_K[b], :2], points[_K[c], :2] - points[_K[b], :2]
    cosine = float(u @ v) / max(float(np.hypot(*u) * np.hypot(*v)), 1e-6)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def soft(value: float, at: float, width: float) -> float:
    """A logistic step: 0.5 at ``at``, rising over about four ``width``."""
    return 1 / (1 + math.exp(-min(max((value - at) / width, -30.0), 30.0)))


POSTURES = (
    "standing", "walking", "running", "sitting", "crouching", "bending", "lying", "falling", "jumping", "riding",
    "climbing",
)  # fmt: skip

_BASE = dict(
    zip(POSTURES, (0.32, 0.45, 0.04, 0.08, 0.025, 0.04, 0.03, 0.012, 0.008, 0.02, 0.006), strict=True)
)
_TRUNK_AND_LEGS = (5, 6, 11, 12, 13, 14, 15, 16)


def posture_features(points: np.ndarray) -> np.ndarray:
    """(41,) float32 what the posture network reads of keypoints (17, 3): positions about the hips in units of
    the body's size, and the angles and lengths people judge posture by. The score column is not read."""
    xy = points[:, :2].astype(np.float64)
    hips, shoulders = xy[[11, 12]].mean(0), xy[[5, 6]].mean(0)
    bones = [(5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16)]
    size = max(sum(float(np.hypot(*(xy[i] - xy[j]))) for i, j in bones) / 3.2, 1e-3)
    # The order of left and right is facing, not posture: sides are put in image order of the knees.
    order = list(range(17))
    if xy[13, 0] > xy[14, 0]:
        order = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    body = ((xy[order] - hips) / size)[[0, *range(5, 17)]].ravel()
    body = np.clip(body, -3, 3)
    torso = (shoulders - hips) / size
    knees = [angle(points, f"{s}_hip", f"{s}_knee", f"{s}_ankle") / 180 for s in ("left", "right")]
    waist = [angle(points, f"{s}_shoulder", f"{s}_hip", f"{s}_knee") / 180 for s in ("left", "right")]
    arms_bent = [angle(points, f"{s}_shoulder", f"{s}_elbow", f"{s}_wrist") / 180 for s in ("left", "right")]
    spread = np.abs(xy[15] - xy[16]) / size
    wide, high = np.ptp(xy, axis=0) / size
    lean = np.arctan2(abs(torso[0]), -torso[1])
    extra = [
        min(knees),
        max(knees),
        min(waist),
        max(waist),
        min(arms_bent),
        max(arms_bent),
        *spread,
        lean,
        wide,
        high,
    ]
    extra += [float(np.hypot(*torso)), float(xy[[15, 16], 1].mean() - hips[1]) / size]
    extra += [float(xy[[13, 14], 1].mean() - hips[1]) / size, float(xy[[15, 16], 1].max() - xy[0, 1]) / size]
    return np.concatenate([body, np.clip(extra, -4, 4)]).astype(np.float32)


@cache
def _network() -> dict[str, np.ndarray]:
    with (
        resources.files("oddwatch.describe").joinpath("data/posture.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as data,
    ):
        return {name: np.asarray(data[name], np.float32) for name in data.files}


def posture(points: np.ndarray, box: Box, motion: Motion | None = None) -> dict[str, float]:
    """Probability of each posture word, from keypoints (17, 3) in pixels, the box and the track's motion.

    A small network fitted on simulated skeletons seen from all sides (``benchmarks/posture_fit.py``), weighted by how
    common each posture is; words people use for one another share (a walker seen from the front may be
    standing, one who falls is soon lying).
    """
    net = _network()
    x = (posture_features(points) - net["mean"]) / net["std"]
    for layer in ("0", "2"):
        x = np.maximum(net[f"{layer}_weight"] @ x + net[f"{layer}_bias"], 0)
    logits = net["4_weight"] @ x + net["4_bias"]
    # Simulated skeletons are cleaner than found ones: a temperature keeps the odds modest.
    odds = np.exp((logits - logits.max()) / TEMPERATURE) * np.array([_BASE[w] for w in POSTURES]) ** 0.5
    sure = float(np.clip(points[list(_TRUNK_AND_LEGS), 2] / 0.35, 0, 1).mean()) ** 2
    share = odds / odds.sum()
    p = {w: sure * float(v) + (1 - sure) * _BASE[w] for w, v in zip(POSTURES, share, strict=True)}
    up = p["standing"] + p["walking"]
    told = dict(p)
    told["walking"] = min(0.95, 0.7 * p["walking"] + 0.35 * up)
    told["standing"] = 0.6 * p["standing"] + 0.1 * up
    told["falling"] = min(0.9, p["falling"] + 0.3 * p["lying"])
    told["lying"] = min(0.95, p["lying"] + 0.35 * p["falling"])
    told["crouching"] = min(0.95, p["crouching"] + 0.15 * p["bending"])
    told["bending"] = min(0.95, p["bending"] + 0.25 * p["crouching"])
    return told if motion is None else moved(told, motion)


TEMPERATURE = 1.3


def moved(p: dict[str, float], motion: Motion) -> dict[str, float]:
    """Posture probabilities ``p`` with what the track's motion says about them."""
    if motion.duration < 0.5:
        return p
    go = soft(motion.speed, 0.25, 0.06)
    run = soft(motion.top_speed, 1.5, 0.25)
    up = p["standing"] + p["walking"] + p["running"]
    q = dict(p)
    q["standing"] = 0.5 * p["standing"] + 0.5 * up * (1 - go) * 0.9
    q["walking"] = 0.4 * p["walking"] + 0.6 * up * go * (1 - 0.7 * run)
    q["running"] = 0.5 * p["running"] + 0.5 * up * run
    q["falling"] = max(p["falling"], 0.8 * soft(motion.drop, 0.7, 0.12))
    q["lying"] = max(p["lying"], 0.85 * soft(motion.lying, 0.8, 0.2))
    return q


def by_speed(p: dict[str, float], go: float, speed: float, slow: float) -> dict[str, float]:
    """Posture probabilities ``p`` with standing, walking and running told apart by how sure somebody goes (``go``, 0–1) and
    by body heights a second at that instant and over a longer time (``slow``): who sits and travels rides, who travels fast
    does not lie."""
    told, run = dict(p), soft(speed, 1.2, 0.2)
    up = told["standing"] + told["walking"] + told["running"]
    told["standing"], told["walking"], told["running"] = up * (1 - go), up * go * (1 - run), up * run
    rides = told["sitting"] * soft(slow, 0.5, 0.1)
    told["riding"], told["sitting"] = min(told["riding"] + rides, 0.95), told["sitting"] - rides
    told["lying"] *= 1 - soft(speed, 0.7, 0.15)
    return told


def arms(points: np.ndarray) -> tuple[dict[str, float], bool]:
    """Probability of each arm word and whether a whole arm was seen."""
    torso = torso_length(points)
    head = points[[0, 3, 4], :2].mean(0)
    p = dict.fromkeys(("raised", "hand_to_head", "reaching", "bent", "down"), 0.0)
    seen, hanging = False, []
    for side in ("left", "right"):
        s, e, w = (points[_K[f"{side}_{j}"]] for j in ("shoulder", "elbow", "wrist"))
        if min(s[2], e[2], w[2]) < 0.2:
            continue
        seen = True
        bend = angle(points, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist")
        above = float(s[1] - w[1]) / torso
        near = float(np.hypot(*(w[:2] - head))) / torso
        out = float(abs(w[0] - s[0])) / torso
        to_head = soft(-near, -0.38, 0.05)
        p["hand_to_head"] = max(p["hand_to_head"], 0.75 * to_head)
        p["raised"] = max(p["raised"], 0.85 * soft(above, 0.12, 0.08) * (1 - 0.5 * to_head))
        p["reaching"] = max(
            p["reaching"], 0.7 * soft(out, 0.7, 0.08) * soft(bend, 130, 10) * soft(above, -0.75, 0.1)
        )
        p["bent"] = max(p["bent"], 0.75 * soft(-bend, -105, 10) * soft(above, -0.75, 0.1))
        hanging.append(soft(-above, 0.75, 0.08) * soft(bend, 135, 10))
    p["down"] = 0.8 * float(np.mean(hanging)) if hanging else 0.0
    return p, seen


def looks_down(points: np.ndarray) -> float | None:
    """0–1: how far the nose is below the ears, in upright people whose face is seen; None where it is not."""
    nose, ears = points[0], points[[3, 4]]
    if nose[2] < 0.3 or ears[:, 2].max() < 0.3:
        return None
    best = ears[int(ears[:, 2].argmax())]
    return soft(float(nose[1] - best[1]) / torso_length(points), 0.12, 0.025)
