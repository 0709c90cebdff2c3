"""Noun phrases to slots: people and their company, garments and colours, hair, things, places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from oddwatch.core import Slot
from oddwatch.describe.atoms import COLORS, INDEX
from oddwatch.describe.lexicon import PERSON_CLASSES, lexicon
from oddwatch.describe.sentence.phrases import Colour, NounPhrase, noun_phrase
from oddwatch.describe.sentence.tables import COLOURED, HAIR, WEIGHT, kind_of
from oddwatch.describe.sentence.words import Unit

HEAD_COLOURED = frozenset(("head.wear.hat", "head.wear.cap", "head.wear.hood", "head.wear.helmet"))
"""Head wear whose colour ``head.color`` is; not that of glasses, masks and scarves."""


@dataclass(slots=True)
class State:
    """Where the reader is: who is spoken of, the verb and preposition in force, and how far a denial reaches."""

    other: bool = False
    subject: NounPhrase | None = None
    topic: NounPhrase | None = None
    verb: Unit | None = None
    passive: bool = False
    relation: str = ""
    denied: bool = False
    denier: str = ""
    garment: str = ""
    verb_slot: int | None = None
    copula: bool = False


@dataclass(slots=True)
class NounReader:
    """The slots read so far and how noun phrases add to them; the clauses are read by :class:`Reader`."""

    text: str
    units: list[Unit]
    slots: list[Slot] = field(default_factory=list)
    unread: list[Unit] = field(default_factory=list)
    moment: bool | None = None
    people: int = 0
    state: State = field(default_factory=State)
    nobody: list[tuple[int, int]] = field(default_factory=list)
    others_clothes: list[NounPhrase] = field(default_factory=list)

    def _frame(self, marker: str, np: NounPhrase) -> bool:
        """Replace the verb's atoms where the table knows this verb with this object."""
        s = self.state
        if s.verb is None or np.head is None:
            return False
        for target, atoms in lexicon().frames.get((s.verb.lemma, marker), ()):
            child = np.head.sense is not None and np.head.sense.meanings[:1] == ({"person.child": 1.0},)
            if target in ("*", np.cls, np.head.lemma) or (target == "child" and child):
                self._replace_verb(atoms)
                return True
        return False

    def _replace_verb(self, atoms: Mapping[str, float]) -> None:
        s = self.state
        assert s.verb is not None
        if s.verb_slot is not None and s.verb_slot < len(self.slots):
            old = self.slots[s.verb_slot]
            self.slots[s.verb_slot] = Slot(
                old.words,
                kind_of(atoms),
                atoms,
                old.negated,
                old.about,
                old.start,
                old.end,
                WEIGHT[kind_of(atoms)],
            )
        else:
            s.verb_slot = len(self.slots)
            self._add(s.verb.start, s.verb.end, atoms, "body")

    def _emit_sense(self, unit: Unit) -> None:
        sense = unit.sense
        if sense is None:
            return
        for atoms in sense.meanings:
            if any(atom.startswith(".") for atom in atoms):
                self._pattern(unit, atoms)
                continue
            flip = self.state.denied != sense.negated
            self._add(unit.start, unit.end, atoms, sense.about, negated=flip)
            if unit.cls == "hold":
                self.slots[-1] = replace(self.slots[-1], weight=0.4)
        if not sense.meanings and unit.cls in ("busy", "verb") and unit.tag in ("V", "N"):
            self._add(unit.start, unit.end, {}, "body", kind="action", weight=0.3)

    def _add(
        self, start: int, end: int, atoms: Mapping[str, float], about: str, *, kind: str | None = None,
        negated: bool | None = None, weight: float | None = None,
    ) -> None:  # fmt: skip
        kind = kind or kind_of(atoms)
        denied = self.state.denied if negated is None else negated
        about = {
            "dress": "upper",
            "full": "body",
            "none": "object",
            "part": "object",
            "bag": "bag",
            "object": "object",
            "hair": "head",
        }.get(about, about)
        slot = Slot(self.text[start:end], kind, dict(atoms), denied, about, start, end,
                    WEIGHT[kind] if weight is None else weight)  # fmt: skip
        if not any(o.words == slot.words and o.start == start and o.atoms == slot.atoms for o in self.slots):
            self.slots.append(slot)

    def _noun_phrase(self, np: NounPhrase, first: int, after: int) -> None:
        s = self.state
        self._unread_in(np)
        if np.det == "no":
            s.denied = True
        self._modifier_states(np)
        cls = np.cls
        if np.head is None:
            self._headless(np, after)
        elif cls in PERSON_CLASSES:
            self._person(np)
        elif cls == "garment":
            self._garment(np)
        elif cls == "hair" or cls == "hairlen":
            self._hair(np)
        elif cls in (
            "bag",
            "carried",
            "camera",
            "object",
            "vehicle",
            "animal",
            "near",
            "anything",
            "nothing",
            "accessory",
        ):
            self._thing(np)
        elif cls in ("place", "ground"):
            self._place(np)
        elif cls in ("pattern", "part"):
            self._part(np)
        elif cls in ("bodypart", "quiet"):
            s.topic = np
            if np.colours and cls == "quiet" and s.subject is not None:
                self._colour_only(np)
        elif np.head is not None and np.head.sense is not None and np.head.tag == "N":
            self._emit_sense(np.head)
        elif np.head is not None and np.colours:
            self._colours(np, "", 1.0)
        if np.det == "no":
            s.denied = False

    def _unread_in(self, np: NounPhrase) -> None:
        self.unread.extend(u for u in (*np.mods, *np.nouns) if u.sense is None and u.tag.endswith("X"))

    def _modifier_states(self, np: NounPhrase) -> None:
        """Modifiers that say something by themselves: "a masked man", "a running child", "two fallen bikes"."""
        s = self.state
        before = s.denied
        for unit in np.mods:
            if (
                unit.sense is None
                or s.other
                or unit.cls in ("adjpattern", "adjsleeve", "adjlong", "adjshort", "tone")
            ):
                continue
            if unit.tag == "VMOD":
                if np.cls in PERSON_CLASSES or unit.cls == "abandon":
                    self._emit_sense(unit)
            elif unit.tag == "ADV" or (unit.cls == "haircol" and np.cls in PERSON_CLASSES):
                self._emit_sense(unit)
        for unit in np.nouns[:-1]:
            if np.cls in PERSON_CLASSES and unit.cls in ("hairlen",):
                self._emit_sense(unit)
        s.denied = before

    def _headless(self, np: NounPhrase, after: int) -> None:
        """Colours or modifiers without a noun: "in black", "is blue", "with long sleeves", "a red and a blue bag"."""
        s = self.state
        for unit in np.mods:
            if unit.cls in ("adjsleeve", "adjpattern"):
                self._emit_bound(unit, s.garment or "upper")
            elif unit.cls == "haircol":
                self._emit_sense(unit)
            elif unit.cls in ("adjlong", "adjshort") and s.topic is not None and s.topic.cls == "hair":
                self._hair_length(unit)
        if not np.colours:
            return
        shared = self._shared_head(np, after)
        if shared is not None:
            np.head = shared
            self._noun_phrase(np, 0, 0)
            return
        if s.topic is not None and s.topic.cls in ("garment", "hair") and (s.copula or s.relation == "of"):
            np.head = s.topic.head
            self._colours(np, s.topic.head.sense.about if s.topic.head and s.topic.head.sense else "", 1.0)
            return
        self._colour_only(np)

    def _shared_head(self, np: NounPhrase, after: int) -> Unit | None:
        if not np.det or after + 1 >= len(self.units) or self.units[after].low not in ("and", "or", ","):
            return None
        follows = noun_phrase(self.units, after + 1)
        return follows[0].head if follows and follows[0].colours and follows[0].det else None

    def _colour_only(self, np: NounPhrase) -> None:
        """A person "in black": above and below the waist alike."""
        if self.state.other:
            self._colours(np, "", 0.5)
            return
        if (
            self.state.relation in ("in", "wear", "dressed in", "clad in", "have", "with")
            or self.state.copula
        ):
            self._colours(np, "full", 0.7)

    def _person(self, np: NounPhrase) -> None:
        s = self.state
        assert np.head is not None and np.head.sense is not None
        cls = np.cls
        another = np.det in ("another",) or any(m.low in ("other", "another", "second") for m in np.mods)
        first = self.people == 0
        object_of = s.verb is not None or (s.relation not in ("", "of") and not first)
        if s.denied and first and s.subject is not None and cls != "nobody":
            return  # "a car without a driver": nothing here sees who is not in it
        if cls == "nobody" or (s.denied and first):
            self._nobody(np, first)
            return
        if (object_of or another) and not (first and self._introduces()):
            self._companion(np, another)
            return
        if first and s.verb is not None:
            self._frame("by" if s.passive and s.relation == "by" else s.relation, np)
        if first or s.relation == "of":
            self._count(np)
        elif (
            s.subject is not None
            and s.subject.cls in PERSON_CLASSES
            and s.relation == ""
            and s.verb is None
            and not s.copula
            and s.topic is s.subject
        ):
            self._add(np.start, np.end, {"company.pair": 1.0, "company.group": 0.5}, "scene")
            s.other = np.det in ("a", "an", "one")
        if cls == "person" and not s.other and (first or np.det in ("the", "this")):
            for atoms in np.head.sense.meanings:
                self._add(np.head.start, np.head.end, atoms, "body", negated=False)
        if not s.other:
            s.subject = np
        s.topic, s.relation, s.verb = np, "", None
        self.people += 1
        if np.colours and not s.other and np.head.low and cls == "person":
            self._colours(np, "", 0.3)

    def _nobody(self, np: NounPhrase, first: bool) -> None:
        after = next((u for u in self.units if u.start >= np.end), None)
        self.state.denied = False
        if not first or (after is not None and after.low == "else"):
            self._add(np.start, np.end, {"company.alone": 1.0}, "scene", negated=False)
            return
        self._add(np.start, np.end, {"count.none": 1.0}, "scene", negated=False)
        self.nobody.append((np.start, np.end))
        self.moment = True

    def _introduces(self) -> bool:
        """Whether the first person named is the one asked for though a verb precedes: "the image shows a man",
        "a bus hits a man", "dressed in red, a man", "a fight between two men"; not "pushing a man", whose pusher goes without saying."""
        s = self.state
        thing = s.subject is not None and s.subject.cls not in PERSON_CLASSES
        return (
            s.verb is None
            or thing
            or s.verb.cls in ("lightverb", "have", "wear")
            or s.relation in ("between", "of", "among")
        )

    def _count(self, np: NounPhrase) -> None:
        assert np.head is not None and np.head.sense is not None
        n, unit, cls = np.number, np.number_unit, np.cls
        plural = (np.head.form == "s" or cls == "people") and not self._singular_follows(np)
        if cls in ("group2", "group3", "groupn"):
            for atoms in np.head.sense.meanings:
                self._add(np.head.start, np.head.end, atoms, "scene", negated=False)
            self.moment = cls != "group2" if self.moment is None else self.moment
            return
        if n == 2 and unit:
            self._add(unit.start, unit.end, {"company.pair": 1.0, "count.two": 1.0}, "scene")
        elif n == 3 and unit:
            self._add(unit.start, unit.end, {"company.group": 1.0, "count.three": 1.0}, "scene")
        elif n is not None and n > 3 and unit:
            self._add(
                unit.start, unit.end, {"company.group": 1.0, "count.many": 1.0, "company.crowd": 0.6}, "scene"
            )
        elif n is None and plural:
            self._add(np.head.start, np.head.end, {"company.group": 1.0, "company.crowd": 0.7, "company.pair": 0.7,
                                                   "count.many": 0.8, "count.two": 0.7, "count.three": 0.8}, "scene")  # fmt: skip
        if self.moment is None:
            self.moment = bool((n or 0) >= 3 or (n is None and plural))

    def _singular_follows(self, np: NounPhrase) -> bool:
        """ "The girls is wearing": the verb says that the plural is a slip."""
        after = next((u for u in self.units if u.start >= np.end), None)
        return after is not None and after.low in ("is", "has", "was", "wears", "stands", "appears", "isn")

    def _companion(self, np: NounPhrase, another: bool) -> None:
        """A second person: company for the first; what follows describes the second."""
        s = self.state
        assert np.head is not None and np.head.sense is not None
        marker = "by" if s.passive and s.relation == "by" else s.relation
        self._frame("" if marker in ("hold", "wear", "have") else marker, np)
        plural = np.head.form == "s" or np.cls in ("people", "groupn", "group3") or (np.number or 1) > 1
        child = np.head.sense.meanings[:1] == ({"person.child": 1.0},)
        atoms = (
            {"company.group": 1.0, "company.crowd": 0.7}
            if plural
            else {"company.pair": 1.0, "company.group": 0.5}
        )
        if child and s.verb is not None and s.verb.cls == "hold":
            self._add(np.start, np.end, {"carry.child": 1.0}, "object")
        else:
            self._add(np.start, np.end, atoms, "scene")
        s.other, s.topic, s.relation, s.verb, s.denied = True, np, "", None, False
        self.people += 1
        if self.moment is None:
            self.moment = False

    def _garment(self, np: NounPhrase) -> None:
        s = self.state
        assert np.head is not None and np.head.sense is not None
        about = np.head.sense.about
        region = {"dress": "upper", "full": "upper"}.get(about, about)
        half = 0.5 if s.denied and np.colours else 1.0
        if s.relation == "over" and s.garment == region and s.topic is not None and s.topic.cls == "garment":
            half *= 0.5  # "a jacket over a shirt": little of the shirt is seen
        if s.other or (s.relation == "hold" and not s.denied):
            # Another's clothes, or clothes that are carried and not worn: no atom holds them.
            whose = "other" if s.other else "object"
            for colour in np.colours:
                self._add(colour.start, colour.end, {}, whose, kind="color", weight=0.5)
            self._add(np.head.start, np.head.end, {}, whose, kind="garment", weight=0.4)
            if s.other:
                self.others_clothes.append(np)
            s.topic = np
            return
        s.garment = region
        coloured = about != "head" or any(atom in HEAD_COLOURED for m in np.head.sense.meanings for atom in m)
        self._colours(np, about if coloured else "", half)
        for unit in np.mods:
            self._emit_bound(unit, region)
        for unit in np.nouns[:-1]:
            if (
                unit.cls == "garment"
                and unit.sense is not None
                and unit.sense.about == region
                and unit.cls == np.cls
            ):
                for atoms in unit.sense.meanings:
                    self._add(unit.start, unit.end, atoms, region, weight=0.4)
        for atoms in np.head.sense.meanings or ({},):
            kind = "accessory" if region == "head" else "garment"
            self._add(np.head.start, np.head.end, atoms, region, kind=kind, weight=WEIGHT[kind] * half)
        if (
            not np.colours
            and not np.det
            and s.topic is not None
            and s.topic.cls == "garment"
            and s.topic.colours
        ):
            previous = NounPhrase(np.start, np.end, colours=s.topic.colours, head=np.head)
            if (
                not s.denied
                and self._joined_by_and(np)
                and region in ("feet", "lower")
                and " " not in np.head.lemma
            ):
                self._colours(previous, about, 0.3, words=np.head)
        s.topic = np

    def _joined_by_and(self, np: NounPhrase) -> bool:
        before = [u for u in self.units if u.end <= np.start]
        return len(before) > 1 and before[-1].low == "and" and s_end(self.state.topic) == before[-2].end

    def _emit_bound(self, unit: Unit, region: str) -> None:
        """Sleeves and patterns of a garment; length words of a garment are read and not seen."""
        sense = unit.sense
        if sense is None:
            return
        if unit.cls == "adjsleeve" and region in ("upper", "head"):
            for atoms in sense.meanings:
                self._add(unit.start, unit.end, atoms, "upper", kind="garment", weight=0.5)
        elif unit.cls in ("adjpattern", "pattern"):
            if region == "upper":
                for atoms in sense.meanings:
                    self._pattern(unit, atoms)
            else:
                self._add(unit.start, unit.end, {}, region or "object", kind="garment", weight=0.3)

    def _pattern(self, unit: Unit, atoms: Mapping[str, float]) -> None:
        real = {f"upper{atom}": w for atom, w in atoms.items()}
        self._add(unit.start, unit.end, real, "upper", kind="garment", weight=0.5)

    def _colours(self, np: NounPhrase, about: str, scale: float, words: Unit | None = None) -> None:
        regions = {"full": ("upper", "lower"), "dress": ("upper", "lower")}.get(about, (about,))
        share = scale * (0.6 if len(np.colours) > 1 else 1.0) * (0.7 if about == "full" else 1.0)
        for colour in np.colours:
            for region in regions:
                weight = share * (0.4 if about == "dress" and region == "lower" else 1.0)
                self._colour(colour, region, weight, words)

    def _colour(self, colour: Colour, region: str, weight: float, words: Unit | None = None) -> None:
        start, end = (words.start, words.end) if words else (colour.start, colour.end)
        group = COLOURED.get(region)
        if region == "hair":
            atoms: dict[str, float] = {}
            terms = {f"{colour.tone} hair": 1.0} if colour.tone_only else colour.terms
            for term, w in terms.items():
                for name, part in HAIR.get(term, {}).items():
                    atoms[f"hair.color.{name}"] = max(atoms.get(f"hair.color.{name}", 0), w * part)
            self._add(start, end, atoms, "head", kind="hair", weight=0.5 * weight)
            return
        atoms = {f"{group}.{t}": round(w, 3) for t, w in colour.terms.items() if t in COLORS} if group else {}
        place = 0.4 if region == "scene" else 1.0
        if atoms or not colour.tone:
            self._add(
                start, end, atoms, region or "object", kind="color", weight=weight * place if group else 0.4
            )
        if colour.tone and region in ("upper", "lower"):
            self._add(
                start, end, {f"{region}.tone.{colour.tone}": 1.0}, region, kind="color", weight=0.4 * weight
            )

    def _hair(self, np: NounPhrase) -> None:
        s = self.state
        assert np.head is not None and np.head.sense is not None
        s.topic = np
        if s.other:
            return
        self._colours(np, "hair", 1.0)
        for unit in (*np.mods, *np.nouns[:-1]):
            if unit.cls in ("adjlong", "adjshort"):
                self._hair_length(unit)
            elif unit.cls in ("haircol", "hairlen"):
                self._emit_sense(unit)
        if np.cls == "hairlen":
            self._emit_sense(np.head)

    def _hair_length(self, unit: Unit) -> None:
        value = (
            {"hair.length.long": 1.0}
            if unit.cls == "adjlong"
            else {"hair.length.short": 1.0, "hair.length.bald": 0.2}
        )
        self._add(unit.start, unit.end, value, "head", kind="hair")

    def _thing(self, np: NounPhrase) -> None:
        s = self.state
        assert np.head is not None and np.head.sense is not None
        sense, cls = np.head.sense, np.cls
        if cls in ("anything", "nothing"):
            if (s.denied or cls == "nothing") and (
                s.relation in ("hold", "in", "have", "with") or s.verb is None
            ):
                every = {a: 1.0 for a in INDEX if a.startswith("carry.")}
                self._add(np.start, np.end, every, "object", negated=True)
            return
        subject = s.subject is None and self.people == 0 and s.verb is None
        marker = "" if s.relation in ("hold", "wear", "have") else s.relation
        framed = bool(self._frame(marker, np)) if s.verb is not None else False
        if subject and s.relation in ("", "of", "with"):
            s.subject = np
            self.moment = True if self.moment is None else self.moment
        kind = "accessory" if cls == "accessory" else "object"
        if s.other and s.relation in ("wear", "have", "with", "in"):
            self._add(np.head.start, np.head.end, {}, "other", kind=kind, weight=0.3)
            return
        self._colours(np, "bag" if cls == "bag" else "", 1.0 if not s.denied else 0.5)
        for atoms in sense.meanings or ({},):
            weight = WEIGHT[kind] if atoms else 0.3
            self._add(
                np.head.start,
                np.head.end,
                atoms,
                sense.about,
                kind=kind,
                weight=weight * (0.7 if framed else 1.0),
            )
        s.topic = np

    def _place(self, np: NounPhrase) -> None:
        s = self.state
        assert np.head is not None and np.head.sense is not None
        if s.verb is not None:
            self._frame(s.relation, np)
        if np.colours and not s.denied:
            self._colours(np, "scene", 1.0)
        for unit in np.mods + np.nouns[:-1]:
            if unit.cls == "place":
                self._emit_sense(unit)
        for atoms in np.head.sense.meanings:
            self._add(np.head.start, np.head.end, atoms, "scene", negated=s.denied != np.head.sense.negated)
        if np.head.lemma in ("ground", "floor") and s.relation == "on" and s.verb is None and not s.other:
            # A person who does nothing but be on the ground is down; one who sits or fights there is not.
            person = self.people and s.topic is not None and s.topic.cls in PERSON_CLASSES
            if person:
                self._add(np.head.start, np.head.end, {"posture.lying": 1.0, "posture.sitting": 0.5}, "body")
        s.topic = np
        if self.people == 0 and s.subject is None and s.relation == "":
            self.moment = True if self.moment is None else self.moment

    def _part(self, np: NounPhrase) -> None:
        """Stripes, logos, sleeves, collars: of the garment spoken of last."""
        s = self.state
        assert np.head is not None
        if s.other or (not s.garment and np.head.lemma in ("image", "picture", "number", "text")):
            return
        region = s.garment or "upper"
        for unit in np.mods:
            self._emit_bound(unit, region)
        if np.cls == "pattern":
            self._emit_bound(np.head, region)
        elif np.head.sense is not None and np.head.low.startswith("sleeve"):
            for unit in np.mods:
                if unit.cls in ("adjlong", "adjshort"):
                    atom = "upper.sleeves.long" if unit.cls == "adjlong" else "upper.sleeves.short"
                    self._add(unit.start, np.end, {atom: 1.0}, "upper", kind="garment", weight=0.5)
        if np.colours and not s.denied:
            self._colours(np, region if region in COLOURED else "", 0.3)

    def claim_clothes(self) -> None:
        """Clothes said of another, where nothing is said of the subject's: a description of one person tells that
        person's clothes more often, so they become the subject's at half weight."""
        mine = any(s.about in ("upper", "lower") and s.kind in ("color", "garment") for s in self.slots)
        if mine or not self.others_clothes:
            return
        for np in self.others_clothes:
            self.slots = [s for s in self.slots if not (s.about == "other" and np.start <= s.start < np.end)]
            first, self.state = len(self.slots), State(subject=self.state.subject)
            self._garment(np)
            self.slots[first:] = [replace(s, weight=round(0.5 * s.weight, 3)) for s in self.slots[first:]]


def s_end(np: NounPhrase | None) -> int:
    """Where a phrase ends, −1 for none."""
    return np.end if np else -1
