"""The atoms: every fact an entry can hold, in one fixed order.

A person's facts are a vector of probabilities over these atoms and a parsed sentence is a sparse weight
vector over the same atoms, so matching a sentence with a gallery of any size is one scan. Appending,
removing or renaming an atom changes ``SCHEMA_ID``, and with it which galleries can be read.
"""

from __future__ import annotations

import hashlib

COLORS = (
    "black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "beige",
)  # fmt: skip
"""The eleven basic colour terms of Berlin and Kay, and beige. Navy is blue and dark, maroon red and dark."""

TONES = ("dark", "light", "bright")

# group → values; an atom is "group.value". ``person.*`` is never seen, only read in sentences.
GROUPS: dict[str, tuple[str, ...]] = {
    "upper.color": COLORS,
    "upper.tone": TONES,
    "upper.pattern": ("plain", "striped", "patterned"),
    "upper.type": ("jacket", "coat", "shirt", "t-shirt", "sweater", "hoodie", "vest", "dress", "suit"),
    "upper.sleeves": ("long", "short", "none"),
    "lower.color": COLORS,
    "lower.tone": TONES,
    "lower.type": ("trousers", "jeans", "shorts", "skirt", "leggings"),
    "feet.color": COLORS,
    "feet.type": ("shoes", "sneakers", "boots", "sandals", "barefoot"),
    "hair.color": ("black", "brown", "blond", "grey", "red"),
    "hair.length": ("long", "short", "bald"),
    "head.wear": ("hat", "cap", "hood", "helmet", "mask", "glasses", "scarf"),
    "head.color": COLORS,
    "posture": (
        "standing", "walking", "running", "sitting", "crouching", "bending", "lying", "falling", "jumping",
        "riding", "climbing",
    ),
    "arms": ("raised", "hand_to_head", "reaching", "bent", "down", "in_pockets", "crossed"),
    "action": (
        "fight", "hit", "push", "kick", "throw", "hit_by_vehicle", "flee", "loiter", "wave", "talk", "hug",
        "carry", "look_down", "shoot", "drag", "stumble", "dance", "hide", "abandon",
    ),
    "facing": ("camera", "away", "left", "right"),
    "motion": ("still", "slow", "fast", "left", "right", "toward", "away", "drop"),
    "carry": (
        "bag", "backpack", "suitcase", "box", "umbrella", "phone", "paper", "bottle", "weapon", "child", "ball",
    ),
    "bag.color": COLORS,
    "near": ("bicycle", "motorcycle", "car", "truck", "dog", "bench", "stairs", "tree", "table", "fence"),
    "company": ("alone", "pair", "group", "crowd", "collapsed"),
    "count": ("none", "one", "two", "three", "many"),
    "place": (
        "street", "pavement", "grass", "plaza", "indoor", "corridor", "stairs", "platform", "car_park", "shop",
        "room", "water", "snow", "sand", "trees", "doorway",
    ),
    "place.color": COLORS,
    "light": ("day", "night"),
    "weather": ("rain", "snow"),
    "frame": ("left", "center", "right", "near", "far"),
    "person": ("man", "woman", "child"),
}  # fmt: skip

ATOMS: tuple[str, ...] = tuple(f"{group}.{value}" for group, values in GROUPS.items() for value in values)
INDEX: dict[str, int] = {atom: i for i, atom in enumerate(ATOMS)}
SCHEMA_ID = "atoms-" + hashlib.sha256("\n".join(ATOMS).encode()).hexdigest()[:12]


def group_of(atom: str) -> str:
    """The group of an atom: ``upper.color`` for ``upper.color.red``."""
    return atom.rpartition(".")[0]


def members(group: str) -> list[int]:
    """Positions of a group's atoms."""
    return [INDEX[f"{group}.{value}"] for value in GROUPS[group]]
