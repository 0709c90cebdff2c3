"""A describer that never errs: the annotated facts in place of the seen ones.

What is lost here is lost by the sentence and the matching, not by the eye; the rows say how far a better
describer alone could bring the search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from oddwatch.bench.subjects import Gallery, Language, bare, gallery_of
from oddwatch.core import Facts, InputError
from oddwatch.describe.atoms import ATOMS, INDEX, SCHEMA_ID, group_of, members

SURE = 0.95
NOT_SAID = ("", "unknown", "none")
LEADS = {
    "posture": "", "action": "", "arms": "", "motion": "", "carrying": "carrying ", "accessories": "with ",
    "near": "near a ", "facing": "facing ", "place": "", "setting": "", "light": "", "weather": "",
}  # fmt: skip
"""Field of an annotation → the words before it in a phrase."""


def phrases(facts: Mapping[str, Any]) -> list[str]:
    """Annotated facts as short phrases that the sentence parser reads, one fact each."""
    said = []
    for worn in ("upper", "lower", "shoes", "hair", "headwear"):
        inner = facts.get(worn)
        if isinstance(inner, Mapping):
            words = [str(inner.get(k) or "") for k in ("color", "type")]
            known = " ".join(w for w in words if w and w.lower() not in NOT_SAID)
            tail = f"{known} hair" if worn == "hair" and "hair" not in known else known
            said.append(f"a person with {tail}" if known else "")
    for key, lead in LEADS.items():
        value = facts.get(key)
        values = value if isinstance(value, (list, tuple)) else [value]
        said += [f"a person {lead}{v}" for v in values if isinstance(v, str) and v.lower() not in NOT_SAID]
    if isinstance(facts.get("alone"), bool):
        said.append("a person alone" if facts["alone"] else "a person with another person")
    return [s for s in said if s]


def true_facts(facts: Mapping[str, Any], language: Language) -> Facts:
    """The annotation as facts: every atom a phrase names is held true, the rest of its group false, what no
    phrase speaks of is unknown."""
    p, known = np.full(len(ATOMS), 1 - SURE, dtype=np.float32), np.zeros(len(ATOMS), dtype=bool)
    for phrase in phrases(facts):
        try:
            slots = language.parse(phrase).slots
        except InputError:
            continue
        for slot in slots:
            for atom, weight in slot.atoms.items():
                known[members(group_of(atom))] = True
                if not slot.negated:
                    p[INDEX[atom]] = max(float(p[INDEX[atom]]), SURE * min(weight, 1.0))
    return Facts(SCHEMA_ID, p, known)


def true_gallery(
    gallery: Gallery, language: Language, evidence: Callable[[Facts], np.ndarray]
) -> Gallery | None:
    """The gallery with annotated facts; None unless every record has them."""
    records: Sequence[Any] = gallery.records
    if not all(r.facts for r in records):
        return None
    entries = [bare(true_facts(r.facts, language)) for r in records]
    return gallery_of(records, entries, range(len(records)), evidence)
