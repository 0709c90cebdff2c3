"""Kinds of anomalies as people name them: seven for a home camera (the categories of SmartHome-Bench), in our own words.

``DETAILS`` is what a language model is told of each kind. ``WORDS`` are what stands in for the model where there is none:
a caption that holds one speaks of an anomaly.
"""

from __future__ import annotations

DETAILS: dict[str, str] = {
    "security": "Normal: residents and visitors come and go, deliveries, parked cars. Anomalous: breaking in, stealing, damaging "
    "things, fighting, weapons, masked strangers, someone trying doors or staying for long without a reason.",
    "wildlife": "Normal: small harmless animals pass by. Anomalous: a dangerous animal near the house or people, an animal that "
    "attacks or destroys something.",
    "baby": "Normal: a baby sleeps, plays or is cared for. Anomalous: a baby falls, climbs out, is stuck, cries alone, or is treated "
    "roughly.",
    "kid": "Normal: children play, walk, ride or do homework. Anomalous: a child falls, is hurt, fights, climbs somewhere dangerous, or "
    "plays with fire or sharp things.",
    "pet": "Normal: pets eat, sleep, walk and play. Anomalous: a pet attacks, destroys things, vomits, is stuck or escapes.",
    "senior": "Normal: elderly people walk, sit, cook or rest. Anomalous: an elderly person falls, lies on the floor, cannot get up, is "
    "treated roughly or robbed.",
    "other": "Normal: everyday life, weather, passing traffic. Anomalous: fire, smoke, explosions, floods, accidents, vehicles that crash "
    "or run someone over, things that fall down, anything else that is dangerous.",
}  # fmt: skip

WORDS: dict[str, tuple[str, ...]] = {
    "security": (
        "breaking", "stealing", "robbing", "shoplifting", "smashing", "vandalizing", "vandalism", "graffiti", "burglar", "thief",
        "intruder", "robber", "fighting", "punching", "hitting", "kicking", "pushing", "shoving", "beating", "stabbing", "shooting",
        "threatening", "attacking", "wrestling", "chasing", "fleeing", "weapon", "gun", "pistol", "rifle", "knife", "loitering",
        "trespassing", "climbing", "hiding",
    ),
    "wildlife": ("bear", "snake", "coyote", "wolf", "cougar", "alligator", "biting"),
    "baby": ("crying", "choking"),
    "kid": ("bleeding", "injured", "injury", "hurt"),
    "pet": ("vomiting", "growling", "destroying"),
    "senior": (
        "falling", "fallen", "lying", "collapsing", "collapsed", "stumbling", "slipping", "tripping", "unconscious", "fainting",
        "robbery",
    ),
    "other": (
        "fire", "flame", "smoke", "burning", "explosion", "exploding", "flood", "accident", "crash", "crashing", "collision",
        "colliding", "overturned", "arson", "panic", "screaming", "emergency", "danger",
    ),
}  # fmt: skip


def all_words() -> tuple[str, ...]:
    """The words of every kind."""
    return tuple(word for words in WORDS.values() for word in words)


def as_text() -> str:
    """The taxonomy as a language model reads it."""
    return "\n".join(f"{kind}: {detail}" for kind, detail in DETAILS.items())
