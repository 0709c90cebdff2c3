"""What somebody looks like: body, skin, hair, clothes, things worn and carried, as facts and as colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oddwatch.datasets.scenes.shades import Shade, draw_denim, draw_shade
from oddwatch.datasets.scenes.skeleton import Body

MATERIALS = ("skin", "hair", "upper", "upper2", "inner", "lower", "lower2", "shoes", "head", "bag", "dark", "item",
             "sole", "lens", "metal")  # fmt: skip
MATERIAL = {name: i + 1 for i, name in enumerate(MATERIALS)}
"""Palette positions; 0 is nothing."""

UPPERS = {"jacket": 25, "coat": 11, "shirt": 13, "t-shirt": 20, "sweater": 11, "hoodie": 10, "vest": 4, "dress": 4,
          "suit": 2}  # fmt: skip
LOWERS = {"trousers": 42, "jeans": 34, "shorts": 11, "skirt": 6, "leggings": 7}
SKINS = (
    (232, 190, 165),
    (221, 172, 142),
    (205, 153, 122),
    (176, 124, 93),
    (137, 92, 66),
    (94, 62, 46),
    (66, 44, 35),
)
HAIRS: dict[str, tuple[tuple[int, int, int], float]] = {
    "black": ((26, 23, 22), 0.42), "brown": ((70, 46, 31), 0.32), "blond": ((186, 150, 92), 0.12),
    "grey": ((150, 148, 144), 0.1), "red": ((128, 62, 32), 0.04),
}  # fmt: skip
CARRIED = ("bag", "backpack", "suitcase", "box", "umbrella", "phone", "paper", "bottle", "ball", "stick")


@dataclass(frozen=True, slots=True)
class Look:
    """One person's appearance. ``facts`` are the annotator's words, ``palette`` (16, 3) float32 sRGB by material.

    ``cut`` holds the shape numbers the figure renderer needs (sleeve, hem and trouser lengths 0–1 and so on).
    """

    body: Body
    facts: dict[str, Any]
    palette: np.ndarray
    cut: dict[str, float] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Whether the person wears or carries ``name``."""
        return name in self.facts["accessories"] or name in self.facts["carrying"]


def _pick(rng: np.random.Generator, table: dict[str, Any]) -> str:
    w = np.array([v[1] if isinstance(v, tuple) else v for v in table.values()], float)
    return str(list(table)[int(rng.choice(len(w), p=w / w.sum()))])


def _garment(shade: Shade, kind: str, **more: Any) -> dict[str, Any]:
    return {"color": shade.color, "shade": shade.word, "tone": shade.tone, "type": kind} | more


def _weathered(table: dict[str, int], cold: bool) -> dict[str, float]:
    warm = {"t-shirt", "shorts", "vest", "dress"}
    thick = {"coat", "jacket", "hoodie", "sweater"}
    return {
        k: v * ((0.12 if k in warm else 2.0 if k in thick else 1.0) if cold else 1.0)
        for k, v in table.items()
    }


def dress(
    rng: np.random.Generator, *, weather: str = "dry", carry: str | None = None, free_hands: bool = False
) -> Look:
    """A random person. ``weather`` ``snow`` or ``rain`` asks for warm clothes and umbrellas; ``carry`` forces one
    of ``CARRIED`` (``"none"``: nothing); ``free_hands`` leaves at most a backpack."""
    cold = weather == "snow" or (weather == "rain" and rng.random() < 0.6)
    feminine = bool(rng.random() < 0.45)
    child = bool(rng.random() < 0.05)
    height = rng.normal(1.66 if feminine else 1.77, 0.065) * (rng.uniform(0.68, 0.86) if child else 1)
    girth = float(np.clip(rng.lognormal(0.0, 0.11), 0.8, 1.4))
    body = Body(
        float(height),
        girth,
        float(rng.normal(0.94 if feminine else 1.04, 0.04)),
        float(rng.normal(1.08 if feminine else 0.97, 0.05)),
        float(rng.normal(1.0, 0.02)),
    )
    palette = np.zeros((len(MATERIALS) + 1, 3), np.float32)
    cut: dict[str, float] = {"feminine": float(feminine)}

    kind = _pick(rng, _weathered(UPPERS, cold) | ({} if feminine else {"dress": 0.0}))
    shade, rgb = draw_shade(rng, "upper")
    palette[MATERIAL["upper"]] = rgb
    inner, inner_rgb = draw_shade(rng, "upper")
    palette[MATERIAL["inner"]] = inner_rgb
    second, second_rgb = draw_shade(rng, "any")
    palette[MATERIAL["upper2"]] = second_rgb
    pattern = "plain"
    if kind in ("t-shirt", "shirt", "sweater", "dress", "hoodie") and rng.random() < 0.26:
        contrast = float(np.abs(second_rgb - rgb).sum())
        pattern = str(rng.choice(["striped", "checked", "printed"])) if contrast > 120 else "plain"
    sleeve = {"t-shirt": 0.36, "dress": float(rng.choice([0.0, 0.35, 1.95])), "vest": 0.0}.get(kind, 1.95)
    if kind == "shirt" and rng.random() < 0.35:
        sleeve = 0.5
    if kind == "vest" and rng.random() < 0.6:
        sleeve = 2.95  # long sleeves of the garment under the vest
    cut |= {
        "sleeve": sleeve,
        "open": float(kind in ("jacket", "coat", "suit", "vest") and rng.random() < 0.5),
        "hem": {"coat": float(rng.uniform(0.45, 0.95)), "dress": float(rng.uniform(0.8, 1.35))}.get(
            kind, 0.0
        ),
        "bulk": {"coat": 0.017, "jacket": 0.014, "suit": 0.01, "hoodie": 0.013, "sweater": 0.008}.get(
            kind, 0.003
        ),
        "pattern": float(("plain", "striped", "checked", "printed").index(pattern)),
        "stripe": float(rng.uniform(4, 10)),
    }
    sleeves = "none" if sleeve < 0.1 else "short" if sleeve < 0.8 else "long"
    upper = _garment(
        shade, kind, sleeves=sleeves, pattern=pattern, second=second.word if pattern != "plain" else None
    )
    upper["inner"] = inner.color if cut["open"] else None

    low = (
        "skirt"
        if kind == "dress"
        else _pick(rng, _weathered(LOWERS, cold) | ({} if feminine else {"skirt": 0.0}))
    )
    low_shade, low_rgb = draw_denim(rng) if low == "jeans" else draw_shade(rng, "lower", 0.18)
    if kind == "suit":
        low, low_shade, low_rgb = "trousers", shade, rgb * np.float32(0.97)
    palette[MATERIAL["lower"]] = low_rgb
    cut["leg"] = {"shorts": float(rng.uniform(0.65, 1.0)), "skirt": 0.0}.get(low, 2.5)
    cut["tight"] = float(rng.uniform(0.82, 0.95) if low in ("leggings", "jeans") and feminine else
                         0.84 if low == "leggings" else rng.uniform(0.97, 1.2))  # fmt: skip
    cut["skirt"] = float(rng.uniform(0.55, 1.4)) if low == "skirt" and kind != "dress" else 0.0
    lower: dict[str, Any] | None = _garment(low_shade, low)
    bare = bool(rng.random() < 0.55)
    if kind == "dress":
        lower = None
        palette[MATERIAL["lower"]] = palette[MATERIAL["upper"]]
    cut["tights"] = float((kind == "dress" or low == "skirt") and (cold or not bare))
    palette[MATERIAL["lower2"]] = (30, 28, 32)

    shoe_shade, shoe_rgb = draw_shade(rng, "shoes", 0.08)
    shoe = str(rng.choice(["sneakers", "shoes", "boots", "sandals"], p=[0.45, 0.33, 0.19, 0.03]))
    palette[MATERIAL["shoes"]] = shoe_rgb
    palette[MATERIAL["sole"]] = (
        (205, 203, 198) if shoe == "sneakers" and rng.random() < 0.6 else shoe_rgb * 0.7
    )
    cut["boot"] = float(rng.uniform(0.35, 0.6)) if shoe == "boots" else 0.0

    palette[MATERIAL["skin"]] = np.array(
        SKINS[int(rng.choice(7, p=[0.22, 0.24, 0.18, 0.13, 0.1, 0.08, 0.05]))]
    )
    palette[MATERIAL["skin"]] += rng.normal(0, 6, 3)
    hair = _pick(rng, HAIRS)
    palette[MATERIAL["hair"]] = np.clip(np.array(HAIRS[hair][0]) + rng.normal(0, 9), 8, 240)
    length = ("long" if rng.random() < 0.7 else "short") if feminine else _pick(
        rng, {"short": 0.82, "bald": 0.12, "long": 0.06})  # fmt: skip
    cut["long_hair"] = float(rng.uniform(0.6, 1.5)) if length == "long" else 0.0
    cut["tail"] = float(length == "long" and rng.random() < 0.3)
    cut["bald"] = float(length == "bald")
    cut["beard"] = float(not feminine and not child and rng.random() < 0.25)
    facts: dict[str, Any] = {
        "upper": upper,
        "lower": lower,
        "shoes": _garment(shoe_shade, shoe),
        "hair": {"color": hair, "length": length},
        "accessories": [],
        "carrying": [],
        "person": "child" if child else "woman" if feminine else "man",
    }
    _accessories(rng, facts, palette, cut, kind, cold)
    _carried(rng, facts, palette, cut, carry, weather, free_hands)
    palette[MATERIAL["dark"]] = (24, 22, 24)
    palette[MATERIAL["metal"]] = (150, 152, 156)
    return Look(body, facts, np.clip(palette, 4, 252).astype(np.float32), cut)


def _accessories(
    rng: np.random.Generator,
    facts: dict[str, Any],
    palette: np.ndarray,
    cut: dict[str, float],
    kind: str,
    cold: bool,
) -> None:
    worn: list[str] = facts["accessories"]
    roll = rng.random()
    shade, rgb = draw_shade(rng, "upper")
    for name, below in (
        ("hat", 0.08 + 0.16 * cold),
        ("cap", 0.2 + 0.14 * cold),
        ("helmet", 0.25 + 0.12 * cold),
    ):
        if roll < below:
            worn.append(name)
            break
    if not worn and kind == "hoodie" and rng.random() < 0.35:
        worn.append("hood")
        shade, rgb = (
            Shade(facts["upper"]["shade"], facts["upper"]["color"], (0, 0, 0)),
            palette[MATERIAL["upper"]],
        )
    if worn:
        facts["headwear"] = {"type": worn[0], "color": shade.color, "shade": shade.word}
        palette[MATERIAL["head"]] = rgb
        cut["beanie"] = float(worn[0] == "hat" and (cold or rng.random() < 0.5))
    if rng.random() < 0.14:
        worn.append("glasses")
        palette[MATERIAL["lens"]] = (22, 22, 26)
    if rng.random() < (0.35 if cold else 0.05):
        worn.append("scarf")
    if rng.random() < 0.05:
        worn.append("mask")
    palette[MATERIAL["item"]] = (206, 218, 226) if "mask" in worn else draw_shade(rng, "any")[1]


def _carried(
    rng: np.random.Generator, facts: dict[str, Any], palette: np.ndarray, cut: dict[str, float],
    carry: str | None, weather: str, free_hands: bool,
) -> None:  # fmt: skip
    held: list[str] = facts["carrying"]
    if carry is None:
        if rng.random() < 0.24:
            held.append("backpack")
        table = {
            "none": 0.6,
            "bag": 0.2,
            "suitcase": 0.05,
            "box": 0.03,
            "phone": 0.05,
            "paper": 0.03,
            "bottle": 0.04,
        }
        table["umbrella"] = 0.9 if weather == "rain" else 0.12 if weather == "snow" else 0.015
        pick = "none" if free_hands else _pick(rng, table)
        if pick != "none":
            held.append(pick)
    elif carry != "none":
        held.append(carry)
    shade, rgb = draw_shade(rng, "bag")
    facts["bag"] = (
        {"color": shade.color, "shade": shade.word} if {"bag", "backpack", "suitcase"} & set(held) else None
    )
    palette[MATERIAL["bag"]] = rgb
    if {"umbrella", "ball"} & set(held):
        color, item = draw_shade(rng, "any")
        palette[MATERIAL["item"]] = item
        facts["item"] = {"color": color.color, "shade": color.word}
    elif "box" in held:
        palette[MATERIAL["item"]] = np.array((166, 126, 84)) + rng.normal(0, 9, 3)
        facts["item"] = {"color": "brown", "shade": "brown"}
    elif "paper" in held:
        palette[MATERIAL["item"]] = (232, 232, 228)
    elif {"phone", "stick"} & set(held):
        palette[MATERIAL["item"]] = (28, 27, 30) if "phone" in held else (92, 66, 44)
    elif "bottle" in held:
        palette[MATERIAL["item"]] = (120, 170, 190)
    cut["bag_side"] = float(rng.choice([-1.0, 1.0]))
    cut["bag_long"] = float(rng.random() < 0.5)
