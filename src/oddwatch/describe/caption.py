"""Facts, told in a sentence."""

from __future__ import annotations

from oddwatch.core import Facts
from oddwatch.describe.atoms import GROUPS, INDEX

POSTURE = {"posture.standing": "standing", "posture.walking": "walking", "posture.running": "running",
           "posture.sitting": "sitting", "posture.crouching": "crouching", "posture.bending": "bending down",
           "posture.lying": "lying down", "posture.falling": "falling", "posture.jumping": "jumping",
           "posture.riding": "riding", "posture.climbing": "climbing"}  # fmt: skip
ACTION = {"action.fight": "fighting", "action.hit": "hitting", "action.push": "pushing", "action.kick": "kicking",
          "action.throw": "throwing something", "action.hit_by_vehicle": "being hit by a vehicle",
          "action.flee": "fleeing", "action.loiter": "loitering", "action.wave": "waving", "action.talk": "talking",
          "action.hug": "hugging", "action.look_down": "looking down", "action.shoot": "shooting",
          "action.drag": "dragging something", "action.stumble": "stumbling", "action.dance": "dancing",
          "action.hide": "hiding", "arms.raised": "arms raised", "arms.crossed": "arms crossed",
          "arms.hand_to_head": "a hand at the head", "arms.in_pockets": "hands in pockets"}  # fmt: skip
FACING = {
    "camera": "facing the camera",
    "away": "seen from behind",
    "left": "facing left",
    "right": "facing right",
}
PLACE = {"street": "in the street", "pavement": "on the pavement", "grass": "on grass", "plaza": "in a plaza",
         "indoor": "indoors", "corridor": "in a corridor", "stairs": "on stairs", "platform": "on a platform",
         "car_park": "in a car park", "shop": "in a shop", "room": "in a room", "water": "at the water",
         "snow": "on snow", "sand": "on sand", "trees": "among trees", "doorway": "in a doorway"}  # fmt: skip
PLURAL = frozenset(
    ("trousers", "jeans", "shorts", "leggings", "shoes", "sneakers", "boots", "sandals", "glasses")
)


def _best(facts: Facts, group: str, least: float) -> str | None:
    known = [(float(facts.p[INDEX[a]]), v) for v in GROUPS[group] if facts.known[INDEX[a := f"{group}.{v}"]]]
    p, value = max(known, default=(0.0, ""))
    return value if p >= least else None


def _article(words: str) -> str:
    if words.split()[-1] in PLURAL:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _clothes(facts: Facts, least: float) -> list[str]:
    found = []
    for region, noun in (("upper", "top"), ("lower", "trousers"), ("feet", "shoes")):
        colour, kind = _best(facts, f"{region}.color", least), _best(facts, f"{region}.type", least)
        if kind == "barefoot":
            continue
        if colour or kind:
            found.append(_article(" ".join(filter(None, (colour, kind or noun)))))
    wear = _best(facts, "head.wear", least)
    if wear:
        found.append(_article(" ".join(filter(None, (_best(facts, "head.color", least), wear)))))
    return found


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def facts_sentence(facts: Facts, least: float = 0.5) -> str:
    """One English sentence of the facts known with a probability of ``least`` or more; never names man or woman."""
    hair = _best(facts, "hair.length", max(least, 0.6))
    parts = ["A bald person" if hair == "bald" else "A person"]
    clothes = _clothes(facts, least)
    if clothes:
        parts[0] += f" in {_listed(clothes)}"
    parts += [ACTION[a] for a in ACTION if facts.known[INDEX[a]] and facts.p[INDEX[a]] >= least]
    posture = _best(facts, "posture", least)
    vehicle = _best(facts, "near", least)
    if posture == "riding" and vehicle in ("bicycle", "motorcycle"):
        parts.append(f"riding a {vehicle}")
    elif posture:
        parts.append(POSTURE[f"posture.{posture}"])
    carried = _best(facts, "carry", least)
    if carried:
        colour = _best(facts, "bag.color", least) if carried in ("bag", "backpack", "suitcase") else None
        parts.append("carrying " + _article(" ".join(filter(None, (colour, carried)))))
    facing = _best(facts, "facing", least)
    if facing:
        parts.append(FACING[facing])
    company = _best(facts, "company", max(least, 0.6))
    if company:
        parts.append({"alone": "alone", "pair": "with another person", "group": "in a group", "crowd": "in a crowd",
                      "collapsed": "beside someone who lies down"}[company])  # fmt: skip
    place = _best(facts, "place", least)
    if place:
        parts.append(PLACE[place])
    return ", ".join(parts) + "."
