"""From what a model said to a value of the schema, or to UNKNOWN with the reason. Never raises on an answer."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from oddwatch.core import UNKNOWN, Unknown
from oddwatch.language import lenient

UNSURE = re.compile(
    r"\W*(unknown|unclear|unsure|undecidable|not sure|not visible|cannot (tell|say|see)|can't (tell|say|see)"
    r"|n/?a|null|none|\?+)\W*",
    re.I,
)
LEAD = re.compile(r"^\s*(?:[-*•]\s+|\(?\d{1,3}\s*[.):]\s*)", re.M)
INLINE = re.compile(r"[\s,;]+(?=\(?\d{1,3}[.)]\s)")
LABEL = re.compile(
    r"^(?:\w[\w ]{0,30}?)?[<\[(]?(?:VERB|COLOR|COLOUR|slot|blank|answer)s?\s*\d*[>\])]?\s*[:=]\s*", re.I
)
MOST_ITEMS = 1000


class YesNo(BaseModel):
    """A question of yes or no; where the model offers token probabilities, ``Answer.yes`` holds them."""

    answer: Literal["yes", "no"]


def listing(count: int, name: str = "Fills") -> type[BaseModel]:
    """Schema of a list ``items`` of exactly ``count`` strings; an item may be ``UNKNOWN``."""
    items: Any = (list[str], Field(min_length=count, max_length=count))
    made: type[BaseModel] = create_model(name, __config__=ConfigDict(title=f"{name}{count}"), items=items)
    return made


def known(text: str) -> str | Unknown:
    """``text`` without quotes and full stops around it; UNKNOWN for an empty one or any wording of "cannot tell"."""
    text = text.strip().strip("\"'`“”‘’.,;*").strip()
    return UNKNOWN if not text or UNSURE.fullmatch(text) else text[:500]


def items(text: str, count: int) -> tuple[str | Unknown, ...]:
    """Exactly ``count`` entries of a list however a model wrote it: JSON, numbered or dashed lines, commas,
    semicolons (search spec A-8). Missing ones, those cut off and "cannot tell" are UNKNOWN; surplus ones go."""
    found = [known(part) for part in _parts(text)][:count]
    return (*found, *(UNKNOWN,) * (count - len(found)))


def _parts(text: str) -> list[str]:
    for value in lenient.values(text):
        listed = _flat(value)
        if listed is not None:
            return listed[:MOST_ITEMS]
    text = re.sub(r"^```.*$", "", lenient.spoken(text), flags=re.M).strip().strip("[](){}")
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if LEAD.match(line)]
    if len(marked) == 1 and len(INLINE.split(marked[0])) > 1:
        parts = [LEAD.sub("", part) for part in INLINE.split(marked[0])]
    elif marked:
        # Prose before and after a numbered list is no part of it.
        parts = [LEAD.sub("", line, count=1) for line in marked]
    elif len(lines) > 1 and not any(re.search(r"[;,]", line) for line in lines):
        parts = lines
    else:
        parts = re.split(r"\s*[;,|\n]\s*", text)
    return [LABEL.sub("", LEAD.sub("", part)) for part in parts if part.strip()][:MOST_ITEMS]


def _flat(value: Any) -> list[str] | None:
    """The strings of a list, of an object's only list, or of an object of plain values; None for anything else."""
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list)]
        value = lists[0] if len(lists) == 1 else list(value.values())
    if not isinstance(value, list):
        return None
    flat = []
    for part in value:
        if isinstance(part, dict) and part:
            # {"slot": 1, "word": "falling"}: the word is the last plain string.
            words = [v for v in part.values() if isinstance(v, str)]
            part = words[-1] if words else None
        flat.append("" if part is None or isinstance(part, (list, dict)) else str(part))
    return flat


def read(text: str, schema: type[BaseModel]) -> tuple[Any, str]:
    """(a value of ``schema``, "") or (UNKNOWN, what was wrong with the answer, for the model to mend).

    Takes JSON in any of the forms of :mod:`oddwatch.language.lenient`. Where the schema has one field only, its
    bare value will do: a list however written, a number, a word. Ranges, lengths and types are the schema's.
    """
    problem = "no JSON was found in the answer"
    for value in lenient.values(text):
        for form in _forms(value, schema):
            found, said = _valid(form, schema)
            if found is not UNKNOWN:
                return found, ""
            problem = said
    bare = _bare(text, schema)
    if bare is not None:
        found, said = _valid(bare, schema)
        return found, said
    return UNKNOWN, problem


def _valid(value: Any, schema: type[BaseModel]) -> tuple[Any, str]:
    try:
        return schema.model_validate(_folded(value, schema)), ""
    except ValidationError as error:
        # Where and what only: the values are the model's own words and stay out of the next prompt.
        said = [f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:5]]
        return UNKNOWN, "; ".join(said)[:500]
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        # A schema's own validator.
        return UNKNOWN, f"not a valid answer ({type(error).__name__})"


def _folded(value: Any, schema: type[BaseModel]) -> Any:
    """``value`` with choices in the schema's own spelling: "Yes." for yes."""
    if not isinstance(value, dict):
        return value
    changed = dict(value)
    for name, field in schema.model_fields.items():
        said = value.get(name)
        if get_origin(field.annotation) is Literal and isinstance(said, str):
            plain = said.strip().strip(".!\"'").casefold()
            changed[name] = next((c for c in get_args(field.annotation) if str(c).casefold() == plain), said)
    return changed


def _forms(value: Any, schema: type[BaseModel]) -> list[Any]:
    """The value as it is, out of a one-item wrapping, and under the schema's only field."""
    forms = [value]
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        forms.append(value[0])
    if isinstance(value, dict) and len(value) == 1:
        inner = next(iter(value.values()))
        forms += [inner] if isinstance(inner, dict) else []
    name, count = _only_field(schema), _count(schema)
    if name is not None:
        if count is not None:
            flat = _flat(value)
            if isinstance(value, dict) and not any(isinstance(v, list) for v in value.values()):
                # Plain values under other names: one each, or it is something else.
                flat = flat if len(value) == count else None
            return [] if flat is None else [{name: _filled([known(f) for f in flat], count)}]
        elif not isinstance(value, dict):
            forms.append({name: value})
    return forms


def _bare(text: str, schema: type[BaseModel]) -> Any:
    """What a plain answer means under a schema of one field, or None."""
    name, said = _only_field(schema), lenient.spoken(text)
    if name is None or not said:
        return None
    kind, count = schema.model_fields[name].annotation, _count(schema)
    if count is not None:
        if any(True for _ in lenient.values(text)) or not looks_like_list(said, count):
            return None
        return {name: _filled(list(items(text, count)), count)}
    if kind in (int, float):
        numbers = re.findall(r"-?\d+(?:\.\d+)?", said[:2000])
        return {name: numbers[0]} if len(numbers) == 1 else None
    first = re.match(r"\W*([\w-]+)", said)
    if kind is bool or get_origin(kind) is Literal:
        return {name: first.group(1)} if first else None
    return None


def looks_like_list(text: str, count: int) -> bool:
    """Whether ``text`` reads as entries rather than as prose: short parts, of a list of ``count``; a single word will
    do for "unknown", or where it is numbered."""
    parts = _parts(text)
    if len(parts) == 1 and count > 1 and known(parts[0]) is not UNKNOWN and not LEAD.match(text):
        return False
    return bool(parts) and len(parts) <= 2 * count + 2 and all(len(p.split()) <= 4 for p in parts[:count])


def _filled(found: list[str | Unknown], count: int) -> list[str]:
    words = ["UNKNOWN" if isinstance(f, Unknown) else f for f in found[:count]]
    return words + ["UNKNOWN"] * (count - len(words))


def _only_field(schema: type[BaseModel]) -> str | None:
    return next(iter(schema.model_fields)) if len(schema.model_fields) == 1 else None


def _count(schema: type[BaseModel]) -> int | None:
    """The exact length of the schema's only field, where it is a list of strings of one length."""
    name = _only_field(schema)
    if name is None or schema.model_fields[name].annotation != list[str]:
        return None
    limits = {
        kind: getattr(part, kind)
        for part in schema.model_fields[name].metadata
        for kind in ("min_length", "max_length")
        if hasattr(part, kind)
    }
    least, most = limits.get("min_length"), limits.get("max_length")
    return most if least == most else None
