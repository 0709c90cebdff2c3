"""Captions of people and events, told in one of two families of templates and words, from true facts only."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.datasets.scenes import words as w

Family = Literal["A", "B"]
_PRONOUN = {"man": ("he", "his"), "woman": ("she", "her"), "child": ("the child", "its")}


def _article(phrase: str) -> str:
    return (
        "an " if phrase[:1].lower() in "aeiou" and not phrase.startswith(("one", "uni")) else "a "
    ) + phrase


class Teller:
    """Words for one person's facts. ``family`` chooses templates and words; the generator varies them."""

    def __init__(
        self, rng: np.random.Generator, family: Family, facts: dict[str, Any], rarity: float = 1.0
    ) -> None:
        if family not in ("A", "B"):
            raise InputError("caption_family", f"expected 'A' or 'B', got {family!r}")
        self.rng, self.family, self.facts = rng, family, facts
        self.rarity = rarity
        self.noun = self.pick(self.say(w.WHO, facts["person"]))

    def say(
        self, table: dict[str, dict[str, tuple[str, ...]]], key: str, default: tuple[str, ...] | None = None
    ) -> tuple[str, ...]:
        """The phrases for ``key``: family B's own in a share ``rarity`` of cases, else the everyday ones."""
        plain = table["A"].get(key, default or (key,))
        if self.family == "A" or self.rng.random() >= self.rarity:
            return plain
        return table["B"].get(key, plain)

    def pick(self, options: tuple[str, ...]) -> str:
        """One of some phrases."""
        return str(options[int(self.rng.integers(len(options)))])

    def color(self, shade: str) -> str:
        """A colour word for a shade."""
        return self.pick(self.say(w.COLORS, shade))

    def garment(self, item: dict[str, Any], full: bool = False) -> str:
        """A garment with its colour, without an article; ``full`` adds pattern and sleeves."""
        kind = self.pick(self.say(w.GARMENTS, item["type"]))
        color = self.color(item["shade"])
        pattern = item.get("pattern", "plain")
        if pattern in ("striped", "checked") and (full or self.rng.random() < 0.7):
            return f"{color} {pattern} {kind}"
        if full and item.get("sleeves") in ("short", "none") and item["type"] in ("shirt", "dress", "vest"):
            return f"{'short-sleeved' if item['sleeves'] == 'short' else 'sleeveless'} {color} {kind}"
        return f"{color} {kind}"

    def upper(self, full: bool = False) -> str:
        """The upper garment with an article."""
        return _article(self.garment(self.facts["upper"], full))

    def lower(self) -> str | None:
        """The lower garment, None under a dress."""
        item = self.facts["lower"]
        if item is None:
            return None
        text = self.garment(item)
        return _article(text) if item["type"] == "skirt" else text

    def doing(self) -> str:
        """What the person does, as an -ing phrase."""
        return self.pick(self.say(w.DOINGS, self.facts["doing"], (self.facts["posture"],)))

    def place(self) -> str:
        """Where, with a preposition."""
        return self.pick(self.say(w.PLACES, self.facts["place"], (f"at the {self.facts['place']}",)))

    def carried(self) -> str | None:
        """The first thing carried that the doing does not name already."""
        told = {"carry": "box", "phone": "phone", "call": "phone"}.get(self.facts["doing"])
        items = [c for c in self.facts["carrying"] if c != told]
        if not items:
            return None
        text = self.pick(self.say(w.CARRIED, items[0]))
        bag, item = self.facts.get("bag") or {}, self.facts.get("item") or {}
        return _fix(
            text.format(
                c=self.color(bag["shade"]) if bag else "", i=self.color(item["shade"]) if item else ""
            )
        )

    def worn(self) -> str | None:
        """Something on the head or face."""
        items = self.facts["accessories"]
        if not items:
            return None
        head = self.facts.get("headwear") or {}
        text = self.pick(self.say(w.WORN, items[int(self.rng.integers(len(items)))]))
        return _fix(text.format(h=self.color(head["shade"]) if head else ""))

    def hair(self) -> str | None:
        """Hair, None when it is covered."""
        if {"hood", "hat", "helmet", "cap"} & set(self.facts["accessories"]):
            return None
        hair = self.facts["hair"]
        if hair["length"] == "bald":
            return "a bald head" if self.family == "A" else "a shaven head"
        color = {
            "blond": "fair",
            "grey": "silver",
            "red": "ginger",
            "brown": "brunette",
            "black": "raven",
        }.get(hair["color"], hair["color"])
        return f"{hair['length']} {hair['color'] if self.family == 'A' else color} hair"

    def mood(self) -> str:
        """Light or weather."""
        key = self.facts["weather"] if self.facts["weather"] != "dry" else self.facts["light"]
        rare = self.family == "B" and self.rng.random() < self.rarity
        return w.LIGHT["B" if rare else "A"][key]

    # -- sentences ----------------------------------------------------------------------------------------------

    def short(self, action: bool = True) -> str:
        """One line of 5–12 words; without ``action`` it says nothing of what the person does."""
        for _ in range(40):
            text = _clean(self._short(action))
            if 5 <= len(text.split()) <= 12:
                return text
        end = f" {self.doing()}" if action else ""
        return " ".join(_clean(f"{_article(self.noun)} in {self.upper()}{end}").split()[:12])

    def _short(self, action: bool) -> str:
        r = self.rng
        lower, carried, worn = self.lower(), self.carried(), self.worn()
        wear = self.upper()
        if lower and r.random() < 0.45:
            wear += f" and {lower}"
        tail = ""
        if r.random() < 0.35 and (carried or worn):
            tail = f" with {carried or worn}" if r.random() < 0.7 or not worn else f" with {worn}"
        place = f" {self.place()}" if r.random() < (0.5 if action else 0.8) else ""
        act = self.doing() if action else ""
        noun = _article(self.noun)
        forms: tuple[str, ...]
        if self.family == "A":
            forms = (f"{noun} in {wear}{tail} {act}{place}", f"{noun} wearing {wear} {act}{place}", f"{noun} {act}{place} in {wear}{tail}",
                     f"{noun} dressed in {wear} is {act}{place}" if action else f"{noun} dressed in {wear}{tail}{place}")  # fmt: skip
        else:
            forms = (f"{noun} clad in {wear} {act}{place}", f"{act}{place}: {noun} in {wear}" if action else f"{noun} sporting {wear}{tail}{place}",
                     f"{wear} on {noun} {act}{place}", f"somebody{place} {act}, attired in {wear}{tail}",
                     f"{noun} sporting {wear}{tail} {act}")  # fmt: skip
        return forms[int(r.integers(len(forms)))]

    def long(self, action: bool = True) -> str:
        """One or two sentences of 18–40 words."""
        for _ in range(60):
            text = _clean(self._long(action), sentence=True)
            if 18 <= len(text.split()) <= 40:
                return text
        return " ".join(text.split()[:40])

    def _long(self, action: bool) -> str:
        r = self.rng
        lower, hair, worn, carried = self.lower(), self.hair(), self.worn(), self.carried()
        shoes = self.garment(self.facts["shoes"])
        he = (
            _PRONOUN[self.facts["person"]][0]
            if self.noun in ("man", "woman", "lady", "gentleman", "bloke", "guy", "female")
            else "this one"
        )
        if he == "this one":
            he = "the person" if self.family == "A" else f"the {self.noun}"
        noun, act, place = _article(self.noun), self.doing() if action else "", self.place()
        wear = self.upper(True) + (f", {lower}" if lower else "") + f" and {shoes}"
        extras = [x for x in (hair, worn, carried) if x]
        r.shuffle(extras)
        extra = " and ".join(extras[: int(r.integers(1, 3))]) if extras else ""
        also = f" with {extra}" if extra else ""
        mood = f" {self.mood()}" if r.random() < 0.5 else ""
        alone = "No one else is close by." if self.facts["alone"] else "Other people are close by."
        if self.family == "B":
            alone = "Nobody else is nearby." if self.facts["alone"] else "Bystanders are within reach."
        close = alone if r.random() < 0.4 else ""
        if self.family == "A":
            forms = (
                f"{noun}{also} is wearing {wear}. {he} is {act} {place}{mood}. {close}"
                if action
                else f"{noun}{also} is wearing {wear}. {he} can be seen {place}{mood}. {close}",
                f"{noun} {act} {place}{mood}. {he} is dressed in {wear}{', and has ' + extra if extra else ''}. {close}",
                f"the picture shows {noun} in {wear}{also} {act} {place}{mood}. {close}",
            )
        else:
            forms = (
                f"clad in {wear}, {noun}{also} is caught {act} {place}{mood}. {close}"
                if action
                else f"clad in {wear}, {noun}{also} appears {place}{mood}. {close}",
                f"footage captures {noun} {act} {place}{mood}; the outfit comprises {wear}{', complemented by ' + extra if extra else ''}. {close}",
                f"{place}{mood}, {noun} sporting {wear}{also} is noticed{' ' + act if act else ''}. {close}",
            )
        return forms[int(r.integers(len(forms)))]


def _fix(text: str) -> str:
    """Right article before a vowel, single blanks."""
    text = " ".join(text.split())
    return _article(text[2:]) if text.startswith("a ") else text


def _clean(text: str, sentence: bool = False) -> str:
    text = (
        " ".join(text.split())
        .replace(" ,", ",")
        .replace(" .", ".")
        .replace(" ;", ";")
        .replace("..", ".")
        .strip(" ,:")
    )
    if not sentence:
        return text
    parts = [p.strip() for p in text.split(". ") if p.strip(" .")]
    out = ". ".join(p[0].upper() + p[1:] for p in parts)
    return out if out.endswith(".") else out + "."


def person_captions(
    facts: dict[str, Any],
    rng: np.random.Generator,
    family: Family = "A",
    count: int = 1,
    rarity: float = 1.0,
) -> dict[str, list[str]]:
    """``count`` short (5–12 words) and long (18–40) captions of a person's facts, and ``plain`` ones of both
    lengths without action words. Family B takes its own rare word in a share ``rarity`` of cases; its templates are
    always its own.

    Raises InputError for an unknown family.
    """
    out: dict[str, list[str]] = {"short": [], "long": [], "plain": []}
    for _ in range(count):
        teller = Teller(rng, family, facts, rarity)
        out["short"].append(teller.short())
        out["long"].append(teller.long())
        out["plain"] += [teller.short(False), teller.long(False)]
    return out


_EVENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {
        "fall": ("a {p} falls to the ground {place}",), "lie": ("a {p} is lying on the ground {place}",),
        "fight": ("two people are fighting {place}",), "hit": ("a {p} is attacked and falls {place}",),
        "bicycle collision": ("a bicycle hits a {p} {place}",), "car collision": ("a car hits a {p} {place}",),
        "climb": ("a {p} climbs over a fence {place}",), "throw": ("a {p} throws stones {place}",),
        "hide": ("a {p} hides behind a car {place}",), "loiter": ("a {p} waits around and walks up and down {place}",),
        "crowd escape": ("a crowd suddenly runs away {place}",), "vehicle on the pavement": ("a car drives where people walk {place}",),
        "abandoned bag": ("a {p} leaves a bag behind {place}",),
    },
    "B": {
        "fall": ("a {p} tumbles {place}",), "lie": ("a {p} sprawls motionless {place}",), "fight": ("a brawl between two rivals {place}",),
        "hit": ("a {p} is assaulted and toppled {place}",), "bicycle collision": ("a cyclist knocks over a {p} {place}",),
        "car collision": ("an automobile strikes a {p} {place}",), "climb": ("a {p} clambers over a barrier {place}",),
        "throw": ("a {p} hurls missiles {place}",), "hide": ("a {p} lurks behind a vehicle {place}",),
        "loiter": ("a {p} prowls aimlessly {place}",), "crowd escape": ("a throng scatters in panic {place}",),
        "vehicle on the pavement": ("an automobile intrudes among pedestrians {place}",), "abandoned bag": ("a {p} deserts luggage {place}",),
    },
}  # fmt: skip


def event_caption(kind: str, facts: dict[str, Any], rng: np.random.Generator, family: Family = "A") -> str:
    """One line about an event around the person of ``facts``."""
    teller = Teller(rng, family, facts)
    who = teller.noun + (f" in {teller.upper()}" if rng.random() < 0.6 else "")
    return _clean(_fix(teller.pick(_EVENTS[family][kind]).format(p=who, place=teller.place())))
