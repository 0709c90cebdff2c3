"""A search as one HTML file that needs nothing else: no network, no fonts, no other files."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import jinja2
from markupsafe import Markup

from oddwatch._version import __version__
from oddwatch.core import Box, Evidence, Hit, OddwatchError, Query, Slot
from oddwatch.report.pictures import around, data_uri, fitted, opened
from oddwatch.report.wording import Word, clock, printable, visible, wall, words

log = logging.getLogger(__name__)

Picture = Callable[[Hit], tuple[bytes, float] | None]
"""``picture(hit)``: a JPEG of the whole frame the hit was seen in and JPEG pixels per frame pixel, or None."""

_FRAME_BYTES, _CROP_BYTES, _FREE_HITS = 46_000, 14_000, 20
_VERDICTS = ("matched", "contradicted", "unknown")


class SearchLike(Protocol):
    """What a search gives back. ``answer`` is "matches", "nobody matches" or "similar"; ``like``, then, names the entry that
    was compared with; ``timing`` seconds by step."""

    @property
    def query(self) -> Query: ...
    @property
    def hits(self) -> Sequence[Hit]: ...
    @property
    def answer(self) -> str: ...
    @property
    def timing(self) -> Mapping[str, float]: ...
    @property
    def like(self) -> Mapping[str, str] | None: ...


@dataclass(frozen=True, slots=True)
class Chip:
    """One of the query's words on a card: its verdict, what decided it, and whether a region shows it."""

    number: int
    words: str
    verdict: str
    slot: int | None
    box: Box | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Shot:
    """The pictures of a card, in frame pixels: the whole frame, and the part around the box."""

    frame: Markup
    width: float
    height: float
    crop: Markup | None = None
    part: Box | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """One hit as the page shows it. ``bar`` is 0–100."""

    hit: Hit
    name: str
    folder: str
    when: str
    span: str
    wall: str
    bar: float
    chips: tuple[Chip, ...]
    shot: Shot | None
    missing: str


def render(
    result: SearchLike,
    picture: Picture,
    out: Path | str,
    *,
    title: str = "",
    made: datetime | None = None,
) -> Path:
    """Write the result of a search as one HTML page.

    Pictures are scaled down and stripped of metadata: a page of 20 hits stays under 2 MB. A picture
    that cannot be had is told on its card; the page is still written.

    Args:
        result: query, hits (best first), answer and timing.
        picture: gives the frame of a hit, see :data:`Picture`.
        out: the file to write; it is replaced only when the page is whole.
        title: of the page; the sentence where empty.
        made: printed as the time of making; left out where None.

    Returns:
        The path written.

    Raises:
        OSError: the file cannot be written.
    """
    best = max((h.score for h in result.hits), default=0.0)
    share = min(1.0, _FREE_HITS / max(len(result.hits), 1))
    cards = [_card(hit, result.query, picture, best, share) for hit in result.hits]
    found = result.answer == "matches"
    style, script, policy = assets("page.css", "page.js")
    text = (
        environment()
        .get_template("search.html")
        .render(
            title=title or result.query.text or "People who look alike",
            like=result.like,
            query=result.query,
            words=words(result.query),
            found=found,
            matches=[c for c in cards if found and c.hit.match],
            nearest=[c for c in cards if not (found and c.hit.match)],
            unseen=[s.words for s in result.query.slots if not visible(s)],
            timing=_timing(result.timing),
            made=wall(made) if made else "",
            version=__version__,
            style=style,
            script=script,
            policy=policy,
        )
    )
    return write(Path(out), text)


def _card(hit: Hit, query: Query, picture: Picture, best: float, share: float) -> Card:
    shot, missing = _shot(hit, picture, share)
    source = printable(hit.source)
    folder, _, name = source.replace("\\", "/").rpartition("/")
    span = ""
    if hit.start is not None and hit.end is not None:
        span = f"{clock(hit.start)}–{clock(hit.end)}"
    bar = hit.probability if hit.probability is not None else (hit.score / best if best > 0 else 0.0)
    return Card(
        hit=hit,
        name=name or source,
        folder=folder,
        when="" if hit.time is None else clock(hit.time),
        span=span,
        wall="" if hit.wall_time is None else wall(hit.wall_time),
        bar=round(100 * min(max(bar, 0.0), 1.0), 1),
        chips=_chips(hit, query),
        shot=shot,
        missing=missing,
    )


def _chips(hit: Hit, query: Query) -> tuple[Chip, ...]:
    """The reason's words by verdict, each joined with the evidence behind it; one phrase is one chip, though
    several slots of it may have evidence of their own."""
    said = [(text, verdict) for verdict in _VERDICTS for text in getattr(hit.reason, verdict)]
    named = {text for text, _ in said}
    said += dict.fromkeys((e.words, e.verdict) for e in hit.reason.evidence if e.words not in named)
    chips = []
    for number, (text, verdict) in enumerate(sorted(said, key=lambda s: _VERDICTS.index(s[1]))):
        proofs = [e for e in hit.reason.evidence if e.words == text and e.verdict == verdict]
        proof = next((e for e in proofs if e.box is not None), proofs[0] if proofs else None)
        chips.append(_chip(number, text, verdict, query, proof))
    return tuple(chips)


def _chip(number: int, text: str, verdict: str, query: Query, proof: Evidence | None) -> Chip:
    slot = _slot_of(text, query)
    if proof is None:
        return Chip(number, text, verdict, slot, None)
    # Only what was seen has a place; a region under an unknown word would claim otherwise.
    box = proof.box if verdict != "unknown" else None
    note = "" if verdict == "unknown" else _note(proof, None if slot is None else query.slots[slot])
    return Chip(number, text, verdict, slot, box, note)


def _slot_of(text: str, query: Query) -> int | None:
    said = text.lower()
    for number, slot in enumerate(query.slots):
        words = slot.words.lower()
        if words and (said == words or said.endswith(" " + words)):  # "not a hat" stands for the slot "hat"
            return number
    return None


def _note(proof: Evidence, slot: Slot | None) -> str:
    """How sure the words are held true; for a word contradicted by something else, what was seen."""
    if proof.probability is None:
        return ""
    if slot is not None and proof.atom is not None and proof.atom not in slot.atoms:
        return f"saw {proof.atom.rpartition('.')[2].replace('_', ' ')} {_percent(proof.probability)}"
    return _percent(1 - proof.probability if slot is not None and slot.negated else proof.probability)


def _shot(hit: Hit, picture: Picture, share: float) -> tuple[Shot | None, str]:
    subject = printable(hit.source)
    try:
        given = picture(hit)
        if given is None:
            return None, "no picture kept"
        jpeg, scale = given
        whole = opened(jpeg, subject)
    except (OddwatchError, OSError) as error:
        log.warning("no picture for %s: %s", subject, error)
        return None, printable(str(error))
    width, height = whole.width / scale, whole.height / scale
    frame = Markup(data_uri(fitted(whole, int(_FRAME_BYTES * share), 960)))
    if hit.box is None:
        return Shot(frame, width, height), ""
    part = around(hit.box, width, height)
    edges = [round(v * scale) for v in part.as_list()]
    if edges[2] - edges[0] < 2 or edges[3] - edges[1] < 2:
        return Shot(frame, width, height), ""
    part = Box(*(v / scale for v in edges))
    person = whole.crop((edges[0], edges[1], edges[2], edges[3]))
    crop = Markup(data_uri(fitted(person, int(_CROP_BYTES * share), 360)))
    return Shot(frame, width, height, crop, part), ""


def _timing(timing: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), f"{1000 * seconds:.0f} ms") for name, seconds in timing.items()]


def _percent(value: float) -> str:
    """0–1 as a percentage that never rounds to certainty."""
    if 0 < value < 0.01:
        return "<1 %"
    if 0.99 < value < 1:
        return ">99 %"
    return f"{100 * value:.0f} %"


def _pretty(atom: str) -> str:
    group, _, value = atom.rpartition(".")
    return f"{group.replace('.', ' ')}: {value.replace('_', ' ')}" if group else value.replace("_", " ")


def _asset(name: str) -> str:
    return (resources.files("oddwatch.report") / "assets" / name).read_text(encoding="utf-8")


@cache
def assets(*names: str) -> tuple[Markup, Markup, str]:
    """Style and script of the assets ``names`` (.css joined, .js joined), and a policy that allows these two by hash and
    nothing else."""
    style = "".join(_asset(name) for name in names if name.endswith(".css"))
    script = "".join(_asset(name) for name in names if name.endswith(".js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Markup(style), Markup(script), policy


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def environment() -> jinja2.Environment:
    """Where templates come from; everything put into them is escaped."""
    made = jinja2.Environment(
        autoescape=True, finalize=_shown, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(_asset),
    )  # fmt: skip
    made.filters.update(percent=_percent, pretty=_pretty)
    return made


def write(out: Path, text: str) -> Path:
    """Write aside and rename, so that a page is never half there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=out.parent, prefix=".report-", suffix=".html")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(out)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return out


__all__ = [
    "Card",
    "Chip",
    "Picture",
    "SearchLike",
    "Shot",
    "Word",
    "assets",
    "environment",
    "render",
    "write",
]
