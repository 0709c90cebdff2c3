"""Clauses: what each phrase is attached to, what is denied, and the slots that follow.

Readings chosen where English is ambiguous:

* "red hat and shoes": the colour belongs to the hat; the shoes get it as a weak slot (weight 0.3).
* "not wearing a red jacket": colour and jacket are both denied, at half weight: the two together are denied.
* the words after "beside / with / next to another person" describe that other person (no atom holds them)
  until a comma, a new clause, or the sentence's end.
* one or two people as the subject ask for person entries, three or more, a crowd, a vehicle, a thing or nobody
  for moments.
"""

from __future__ import annotations

from oddwatch.describe.sentence.finish import deny_after, under_layers
from oddwatch.describe.sentence.nouns import NounReader, State
from oddwatch.describe.sentence.phrases import noun_phrase
from oddwatch.describe.sentence.words import Unit


class Reader(NounReader):
    """Reads tagged units into slots."""

    def read(self) -> None:
        """Fill ``slots``, ``unread`` and ``moment``."""
        at = 0
        while at < len(self.units):
            at = self._step(at)
        self.claim_clothes()
        self.slots = under_layers(deny_after(self.slots, self.text.lower(), self.nobody))

    def _step(self, at: int) -> int:
        unit, s = self.units[at], self.state
        if unit.tag == "NEG":
            if unit.low == "none":
                return at + 1
            s.denied, s.denier = True, unit.low
            if unit.low in ("without",):
                s.relation = "with"
                s.verb = None
            return at + 1
        if unit.tag in ("PUNCT", "CC"):
            return self._joint(at)
        if unit.tag == "P":
            return self._preposition(at)
        if unit.tag in ("V", "VX"):
            return self._verb(at)
        if unit.tag == "AUX":
            return self._auxiliary(at)
        if unit.tag == "PRO":
            if unit.low in ("he", "she", "they", "it", "who"):
                s.other = s.other if unit.low == "who" else False
                s.relation, s.verb, s.denied = "", None, False
                self.people = max(self.people, 1)
            return at + 1
        if unit.tag == "ADV":
            self._adverb(unit)
            return at + 1
        if unit.tag in ("ADVX",):
            return at + 1
        phrase = noun_phrase(self.units, at)
        if phrase is None or phrase[1] <= at:
            return at + 1
        denied = self.state.denied
        self._noun_phrase(phrase[0], at, phrase[1])
        if denied and not self._denial_goes_on(phrase[1]):
            self.state.denied = False
        return phrase[1]

    def _denial_goes_on(self, at: int) -> bool:
        """Whether a list goes on under a denial: "without a hat, gloves or a scarf", but not "no hat and a scarf"."""
        rest = self.units[at : at + 10]
        if not rest:
            return False
        if rest[0].low in ("or", "nor"):
            return True
        if rest[0].low in ("and", "&"):
            return self.state.denier != "no"
        if rest[0].low != ",":
            return rest[0].tag in ("V", "VX") and rest[0].form in ("ing", "ed")
        for unit in rest[1:]:
            if unit.low in ("or", "nor"):
                return True
            if unit.tag in ("V", "VX", "P", "AUX", "PRO") or unit.low in ".;" or unit.low == "and":
                return False
        return False

    def _joint(self, at: int) -> int:
        """Punctuation and conjunctions: lists go on, clauses end."""
        unit, s = self.units[at], self.state
        after = self.units[at + 1] if at + 1 < len(self.units) else None
        if unit.low in ".;!?\n":
            self.state = State(subject=s.subject)
        elif unit.low in ("but", "while", "whereas", "then", "yet"):
            s.denied, s.other, s.relation, s.verb = False, False, "", None
        elif unit.low == "nor":
            s.denied = True
        elif unit.low in (",", "and", "&", "as"):
            listing = after is not None and (
                after.tag in ("N", "COL", "TONE", "ADJ", "DET", "NUM", "CC", "NX", "ADJX", "POSS")
            )
            if not listing:
                s.denied = False
                s.other = s.other and unit.low == "and" and after is not None and after.tag == "P"
                if after is not None and after.tag in ("V", "VX", "AUX"):
                    s.other = False
        elif unit.low == ":":
            s.relation, s.verb = "", None
        return at + 1

    def _preposition(self, at: int) -> int:
        s = self.state
        s.relation, s.copula = self.units[at].lemma if self.units[at].lemma != "towards" else "toward", False
        if s.relation in ("like", "as", "for"):
            s.verb = None
        return at + 1

    def _auxiliary(self, at: int) -> int:
        s, low = self.state, self.units[at].low
        if low in ("have", "has", "had", "having"):
            s.relation, s.verb, s.copula = "have", None, False
        elif low.startswith(("is", "are", "was", "were", "be", "being", "ai")):
            s.copula = True
            s.relation, s.verb = "", None
        return at + 1

    def _verb(self, at: int) -> int:
        unit, s = self.units[at], self.state
        before = self.units[at - 1] if at else None
        after = self.units[at + 1] if at + 1 < len(self.units) else None
        if unit.tag == "VX":
            self.unread.append(unit)
        s.passive = unit.form == "ed" and (
            (before is not None and before.tag in ("AUX", "ADV", "NEG", "ADVX"))
            or (after is not None and after.low == "by")
        )
        s.verb, s.relation, s.verb_slot, s.copula = unit, "", None, False
        if unit.cls == "wear":
            s.relation = "wear"
        elif unit.cls in ("hold", "use"):
            s.relation = "hold" if unit.cls == "hold" else ""
        elif unit.cls == "have":
            s.relation = "have"
        if unit.sense is None:
            return at + 1
        if (not s.other or unit.cls == "abandon") and not (
            unit.cls == "hold"
            and (s.denied or s.passive or (s.topic is not None and s.topic.cls == "garment"))
        ):
            s.verb_slot = len(self.slots) if unit.sense.meanings else None
            self._emit_sense(unit)
        if unit.cls not in ("wear", "hold", "have", "lightverb", "use") and s.denied:
            if not (after is not None and after.tag in ("DET", "N", "NEG")):
                s.denied = False
        elif unit.cls == "lightverb" and after is not None and after.tag in ("V", "ADJ", "COL"):
            s.copula = True
        if unit.cls == "lightverb" and unit.lemma in ("look like", "resemble"):
            s.copula = False
        if s.subject is not None and s.subject.cls in ("vehicle",):
            self._frame("subj", s.subject)
        return at + 1

    def _adverb(self, unit: Unit) -> None:
        if unit.sense is None or (self.state.other and unit.sense.about not in ("scene",)):
            return
        about_scene = unit.cls == "frame" and self.state.topic is not None
        if about_scene and self.state.topic and self.state.topic.cls in ("near", "place", "ground"):
            return  # "with trees in the background" places the trees
        if unit.cls == "light":
            self.state.relation = ""
        self._emit_sense(unit)
        self.state.denied = False
