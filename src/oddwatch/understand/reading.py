"""A question, read: what kind of answer it wants, about whom, when, and whether a picture could tell at all.

The kind comes from the words a question begins with; who and what it is about is read by the sentence parser of the search,
so questions know the words that searches know. Topics no picture shows (names, speech, motives, what is hidden or out of
view) are refused here, with the reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from oddwatch.core import Span

Kind = Literal["yes-no", "count", "long", "when", "colour", "light", "place", "where", "garment", "carried",
               "doing", "why", "severity", "who", "direction", "open"]  # fmt: skip

BLIND: dict[str, str] = {
    "who somebody is": r"\b(sur|nick)?names?\b|\bnamed\b|\bcalled\b(?! (the|an?) )|\bhow old\b|\bage\b|\bborn\b|\bbirthday\b|\bjobs?\b|"
    r"\boccupation\b|\bprofession\b|\bfor a living\b|\bnationality\b|\bmarried\b|\breligion\b|\bidentity\b|"
    r"\bwho exactly\b|\brelated\b|\bfriends?\b|\bsiblings?\b|\bbrothers?\b|\bsisters?\b|\bfamily\b|\bparents?\b|\bwife\b|\bhusband\b|"
    r"\bchildren (does|do|has|have)\b|\baddress\b|\bsalary\b|\bstudents?\b|\bfamous\b",
    "what is heard": r"\bsa(y|ys|id|ying)\b|\bspeaks?\b|\bspoken?\b|\bspeaking\b|\bshout(s|ed|ing)?\b|\bscream(s|ed|ing)?\b|\bwhisper\w*\b|"
    r"\butter\w*\b|\bwords\b|\bsounds?\b|\bnois[ey]\w*\b|\bmusic\b|\bhear[ds]?\b|\bvoices?\b|\blanguages?\b|\baccent\b|"
    r"\btalk(s|ed|ing)? about\b|\bsing(s|ing)?\b|\bsongs?\b|\bloud(er|est|ly)?\b|\bconversation\b|\bcry for\b|\bask(s|ed)?\b|\btell(s|ing)?\b",
    "what somebody thinks or feels": r"\bthink(s|ing)?\b|\bthoughts?\b|\bintend\w*\b|\bintentions?\b|\bmotives?\b|\bplan(s|ned|ning)?\b|\bfeel(s|ing)?s?\b|"
    r"\bangry\b|\bhappy\b|\bsad\b|\bafraid\b|\bscared\b|\bnervous\b|\bregret\w*\b|\bwant(s|ed)?\b|\bhop(e|es|ed|ing)\b|\bbeliev\w*\b|"
    r"\bknow(s|n)?\b|\bdecid\w*\b|\bremember\w*\b|\bmood\b|\bemotions?\b|\bon purpose\b|\bgoing through\b|\bmind\b|\bdrunk\b|\btired\b|"
    r"\bhungry\b|\bguilty\b|\bpersonality\b|\blike to\b|\btrying to\b|\bpain\b|\bill\b|\bbored\b",
    "what is hidden": r"\binside (the|his|her|their|a)\b|\bcontain\w*\b|\bcontents?\b|\bin (the|his|her|their) (\w+ )?(bag|backpack|box|pockets?|suitcase)\b|"
    r"\btemperature\b|\bhow (cold|hot|warm)\b|\bsmell\w*\b|\btaste\w*\b|\bprice\b|\bcosts?\b|\bexpensive\b|\bcheap\b|\bbrand\b|"
    r"\bnumber ?plate\b|\blicen[cs]e\b|\bregistration\b|\bunderwear\b|\beyes?\b|\bmessage\b|\bon (the|his|her|their) (\w+ )?screen\b|\bwritten\b|"
    r"\bweigh(s|t)?\b|\bhow heavy\b|\btattoo\b|\bserial\b|\bpassword\b|\bphone number\b|\bin real life\b|\bhealth\b",
    "what is out of view": r"\bbehind the camera\b|\boff.?screen\b|\bout of (view|sight|frame|the picture)\b|\baround the corner\b|"
    r"\bhospital\b|\bambulance\b|\b(call|calls|called|phone|phoned) (the )?police\b|\blives?\b|\blived\b|\bown(s|ed|er)?\b|\bbelongs?\b|"
    r"\bbought\b|\bbuy\b|\bpa(y|id)\b|\bcome from\b|\bcame from\b|\btaken to\b|\bwork(s|ed)? (for|at|as)\b|\bnext door\b|\bin the next room\b|"
    r"\bfilmed (it|this)\b.*\bwho\b|\bwho (filmed|recorded|took)\b|\bcountry\b|\bcity\b|\btown\b",
    "another time": r"\byesterday\b|\btomorrow\b|\b(the|a) (day|week|month|year|night|morning) (before|after)\b|\blast (week|month|year|night)\b|"
    r"\bnext (day|week|month|year)\b|\bthis (morning|afternoon|evening)\b|\b(once|after|when|before) the (recording|video|clip|footage|film)\b|"
    r"\bin the (future|past)\b|\bwhich (year|month|date)\b|\bwhat (year|month|date)\b|\bused to\b|\bthe following (day|week)\b|\bago\b",
}  # fmt: skip
"""What no record of pictures holds → the words that ask for it."""

_BLIND = {topic: re.compile(words) for topic, words in BLIND.items()}

KINDS: tuple[tuple[Kind, str], ...] = (
    ("severity", r"^(how (severe|bad|serious|dangerous|grave)|what is the severity)"),
    ("count", r"how many(?! seconds)|\bthe number of\b|\bhow much people\b"),
    ("long", r"^(for )?how (long|many seconds)|\bfor how long\b|\bhow long\b"),
    ("when", r"^(when\b|(at|in|on|from|since) (what|which) (time|second|moment|point|minute)|what (is|was) the (moment|time|second)|"
             r"(which|what) second|since when)"),
    ("colour", r"\b(what|which) colou?rs?\b|\bcolou?r of\b"),
    ("light", r"\bday or\b|\bnight or\b|\bdaylight or\b|\btime of (the )?day\b|\bdark or\b|\blight or dark\b"),
    ("place", r"^(where (was|is|are|were) (this|it|that|the (video|clip|footage|film|scene))|(in |at )?(what|which) (kind|sort|type) of (place|location|area)|"
              r"where does (this|it) (happen|take place))"),
    ("where", r"^(where|whereabouts|(in|on|at) (what|which) (part|side|half|corner|area)|(what|which) (part|side|half|corner))"),
    ("direction", r"^(in |to )?(what|which) (direction|way)\b"),
    ("why", r"^(why|what (is|was) the (cause|reason)|what (causes|caused)|how come)"),
    ("garment", r"^(what|which)\b.*\b(wear|wears|wearing|wore|worn|clad|dressed)\b|\b(what|which) (kind of )?(garment|clothes|clothing)"),
    ("carried", r"^what\b.*\b(carry|carries|carrying|carried|hold|holds|holding)\b"),
    ("doing", r"^what\b.*\b(do|does|did|doing|happen|happens|happened|happening|up to|going on|follows|followed|took place|takes place)\b"),
    ("who", r"^(who|whom|which (person|people|man|woman|one))\b"),
    ("yes-no", r"^(is|are|was|were|does|do|did|has|have|had|can|could|will|would)\b"),
)  # fmt: skip
"""Kinds by the words that ask for them; the first that fits counts."""

_KINDS = tuple((kind, re.compile(words)) for kind, words in KINDS)

POLITE = re.compile(
    r"^(please,? |(can|could|would) you (please )?(tell|show) (me|us) (whether |if |about )?|tell me (whether |if )?|do you know (whether |if )?|"
    r"i (want|would like) to know (whether |if )?|would you say (that )?|do you (think|believe) (that )?|is it (true|right) that )"
)
_SHORT = (("what's", "what is"), ("who's", "who is"), ("where's", "where is"), ("when's", "when is"), ("how's", "how is"),
          ("there's", "there is"), ("isn't", "is not"), ("aren't", "are not"), ("doesn't", "does not"), ("don't", "do not"),
          ("didn't", "did not"), ("wasn't", "was not"), ("hasn't", "has not"), ("’", "'"))  # fmt: skip

_NUMBER = r"(\d+(?:\.\d+)?)"
_UNIT = r"\s*(?:seconds?|secs?|s)\b(?: mark\b)?"
AT = re.compile(
    rf"\b(?:at|around|about|after exactly)?\s*(?:the )?{_NUMBER}{_UNIT}(?: (?:in|into)(?: the \w+)?\b)?|\b(?:at |in |around )?second {_NUMBER}\b"
)
CLOCK = re.compile(r"\b(?:at|around)?\s*(\d{1,3}):(\d\d)\b")
MINUTES = re.compile(rf"\b(?:at|around|after)?\s*{_NUMBER}\s*minutes?\b(?: (?:in|into)(?: the \w+)?\b)?")
BETWEEN = re.compile(
    rf"\b(?:between|from)\s+{_NUMBER}(?:{_UNIT})?\s*(?:and|to|until|till)\s+{_NUMBER}(?:{_UNIT})?"
)
PART = re.compile(
    r"\b(?:in|during|within|for) the (first|last) (\d+(?:\.\d+)?|half|third)\b(?: of the \w+)?"
    + rf"(?:{_UNIT})?"
)
ENDS = re.compile(r"\bat the (very )?(beginning|start|end)\b(?: of the \w+)?")
AFTER = re.compile(r",? ?\b(after (that|this|it)|afterwards?|next|then|subsequently|later)\b")
BEFORE = re.compile(r",? ?\b(before (that|this|it)|beforehand|earlier|previously|just before|first)\b")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as understood: the ``kind`` of answer, the ``words`` left to read, the stretch of time it names
    (seconds of the clip), whether it asks for what came ``before`` or ``after``, and the ``blind`` topic if it has one."""

    text: str
    kind: Kind
    words: str
    within: Span | None = None
    turn: Literal["", "before", "after"] = ""
    blind: str = ""


def read(question: str, span: Span) -> Asked:
    """Read ``question`` about a clip whose looks fill ``span`` seconds."""
    words = " ".join(question.strip().lower().split()).rstrip("?!. ")
    for short, full in _SHORT:
        words = words.replace(short, full)
    words = POLITE.sub("", words)
    blind = next((topic for topic, shape in _BLIND.items() if shape.search(words)), "")
    kind = next((kind for kind, shape in _KINDS if shape.search(words)), _plain(words))
    words, within = _when(words, span)
    turn: Literal["", "before", "after"] = ""
    if kind in ("doing", "yes-no", "where"):
        if AFTER.search(words) or re.match(r"what follow(s|ed)\b", words):
            turn, words = "after", AFTER.sub("", words)
        elif BEFORE.search(words):
            turn, words = "before", BEFORE.sub("", words)
    return Asked(question, kind, " ".join(words.split()).strip(" ,"), within, turn, blind)


def _plain(words: str) -> Kind:
    """A sentence put as a question ("somebody falls?") asks whether it is so."""
    asks = re.match(r"^(what|which|whose|how|in|on|at|to|for|by)\b", words)
    return "open" if asks else "yes-no"


def _when(words: str, span: Span) -> tuple[str, Span | None]:
    """``words`` without the time they name, and that time."""
    found = BETWEEN.search(words)
    if found:
        a, b = sorted(float(g) for g in found.groups())
        return words.replace(found.group(), " "), Span(a, b)
    found = PART.search(words)
    if found:
        side, much = found.groups()
        parts = {"half": span.duration / 2, "third": span.duration / 3}
        length = min(parts[much] if much in parts else float(much), span.duration)
        own = Span(span.start, span.start + length) if side == "first" else Span(span.end - length, span.end)
        return words.replace(found.group(), " "), own
    found = ENDS.search(words)
    if found:
        at = span.end if found.group(2) == "end" else span.start
        return words.replace(found.group(), " "), Span(max(at - 1, span.start), min(at + 1, span.end))
    found = CLOCK.search(words)
    if found:
        at = 60 * int(found.group(1)) + int(found.group(2))
        return words.replace(found.group(), " "), Span(at, at)
    found = AT.search(words)
    if found:
        at = float(found.group(1) or found.group(2))
        return words.replace(found.group(), " "), Span(at, at)
    found = MINUTES.search(words)
    if found:
        at = 60 * float(found.group(1))
        return words.replace(found.group(), " "), Span(at, at)
    return words, None
