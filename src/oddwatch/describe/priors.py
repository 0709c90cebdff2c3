"""How often each word is accepted of a person in street pictures: what evidence is measured against.

Round figures, the author's estimates for street and surveillance footage: dark and grey clothes are common, strong
colours are not, a describer accepts more words than one. They come from no data set.
"""

from __future__ import annotations

import numpy as np

from oddwatch.describe.atoms import ATOMS, COLORS, INDEX

_BY_GROUP: dict[str, dict[str, float]] = {
    "upper.color": dict.fromkeys(COLORS, 0.05) | {"black": 0.3, "white": 0.2, "grey": 0.2, "blue": 0.2, "red": 0.1},
    "lower.color": dict.fromkeys(COLORS, 0.02) | {"black": 0.4, "blue": 0.3, "grey": 0.2, "brown": 0.1, "beige": 0.1, "white": 0.05},
    "feet.color": dict.fromkeys(COLORS, 0.03) | {"black": 0.4, "white": 0.3, "brown": 0.15, "grey": 0.15, "blue": 0.05},
    "bag.color": dict.fromkeys(COLORS, 0.05) | {"black": 0.4, "brown": 0.1, "grey": 0.1, "blue": 0.1},
    "head.color": dict.fromkeys(COLORS, 0.05) | {"black": 0.3, "white": 0.1, "grey": 0.1},
    "place.color": dict.fromkeys(COLORS, 0.05) | {"grey": 0.5, "white": 0.2, "black": 0.15, "green": 0.15, "brown": 0.15},
    "upper.tone": {"dark": 0.4, "light": 0.25, "bright": 0.1},
    "lower.tone": {"dark": 0.5, "light": 0.2, "bright": 0.05},
    "upper.pattern": {"plain": 0.75, "striped": 0.08, "patterned": 0.12},
    "upper.type": {
        "jacket": 0.3, "coat": 0.15, "shirt": 0.4, "t-shirt": 0.25, "sweater": 0.15, "hoodie": 0.1, "vest": 0.03,
        "dress": 0.05, "suit": 0.05,
    },
    "upper.sleeves": {"long": 0.6, "short": 0.33, "none": 0.05},
    "lower.type": {"trousers": 0.6, "jeans": 0.33, "shorts": 0.17, "skirt": 0.07, "leggings": 0.06},
    "feet.type": {"shoes": 0.75, "sneakers": 0.3, "boots": 0.1, "sandals": 0.08, "barefoot": 0.01},
    "hair.color": {"black": 0.5, "brown": 0.25, "blond": 0.07, "grey": 0.08, "red": 0.02},
    "hair.length": {"long": 0.25, "short": 0.65, "bald": 0.04},
    "head.wear": {
        "hat": 0.07, "cap": 0.06, "hood": 0.03, "helmet": 0.02, "mask": 0.02, "glasses": 0.12, "scarf": 0.04,
    },
    "posture": {
        "standing": 0.35, "walking": 0.5, "running": 0.05, "sitting": 0.07, "crouching": 0.03, "bending": 0.05,
        "lying": 0.03, "falling": 0.02, "jumping": 0.02, "riding": 0.03, "climbing": 0.01,
    },
    "arms": {
        "raised": 0.06, "hand_to_head": 0.06, "reaching": 0.08, "bent": 0.3, "down": 0.55, "in_pockets": 0.06,
        "crossed": 0.03,
    },
    "facing": {"camera": 0.33, "away": 0.3, "left": 0.25, "right": 0.25},
    "motion": {
        "still": 0.25, "slow": 0.3, "fast": 0.1, "left": 0.3, "right": 0.3, "toward": 0.2, "away": 0.2, "drop": 0.02,
    },
    "company": {"alone": 0.4, "pair": 0.3, "group": 0.3, "crowd": 0.1, "collapsed": 0.02},
    "count": {"none": 0.05, "one": 0.3, "two": 0.25, "three": 0.15, "many": 0.3},
    "light": {"day": 0.8, "night": 0.15},
    "frame": {"left": 0.33, "center": 0.4, "right": 0.33, "near": 0.3, "far": 0.3},
    "carry": {
        "bag": 0.3, "backpack": 0.15, "suitcase": 0.03, "box": 0.02, "umbrella": 0.02, "phone": 0.05,
        "paper": 0.04, "bottle": 0.02, "weapon": 0.01, "child": 0.01, "ball": 0.01,
    },
    "person": {"man": 0.55, "woman": 0.4, "child": 0.06},
}  # fmt: skip

_REST = 0.05


def _prior() -> np.ndarray:
    p = np.full(len(ATOMS), _REST, np.float32)
    for group, values in _BY_GROUP.items():
        for value, share in values.items():
            p[INDEX[f"{group}.{value}"]] = share
    p.setflags(write=False)
    return p


PRIOR: np.ndarray = _prior()
"""(A,) float32 base rates in the order of ATOMS."""
