"""JSON as models write it: fenced, amid prose, in Python's quotes, with a trailing comma, or cut off.

Nothing here raises on a model's output, and what was cut off is left out rather than guessed: of
``["falling", "re`` only ``falling`` is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

LONGEST = 200_000
"""Characters of an answer that are looked at."""
DEEPEST = 40
MOST_STARTS = 30

THINKING = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.S | re.I)
FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.S)
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
WORD = re.compile(r"[A-Za-z_][\w-]*")
CONSTANTS = {"true": True, "false": False, "null": None, "none": None}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
CUT: Any = object()
"""A value that the text ended in the middle of."""


def spoken(text: str) -> str:
    """``text`` without a reasoning model's thoughts, at most ``LONGEST`` characters."""
    return THINKING.sub("", text[:LONGEST]).strip()


def values(text: str) -> Iterator[Any]:
    """Every JSON object or list found in ``text``, likeliest first: the whole text, then fenced parts, then what
    stands amid prose; whole ones before those that were cut off. Empty where there is none."""
    text = spoken(text)
    whole, _ = _strict(text)
    if whole is not CUT:
        yield whole
        return
    parts = [m.group(1).strip() for m in FENCE.finditer(text)]
    cut: list[Any] = []
    for part in [*parts, text]:
        for value, complete in _within(part):
            if complete:
                yield value
            else:
                cut.append(value)
    yield from cut


def _strict(text: str) -> tuple[Any, bool]:
    def refuse(name: str) -> Any:
        raise ValueError(name)

    try:
        return json.loads(text, parse_constant=refuse), True
    except (ValueError, RecursionError):
        return CUT, False


def _within(text: str) -> Iterator[tuple[Any, bool]]:
    """Objects and lists amid prose, each with whether its end was seen."""
    at = 0
    for _ in range(MOST_STARTS):
        found = re.compile(r"[{\[]").search(text, at)
        if found is None:
            return
        reader = _Reader(text, found.start())
        value = reader.value(0)
        if value is CUT or reader.wrong:
            at = found.start() + 1
            continue
        yield value, not reader.cut
        at = max(reader.at, found.start() + 1)


class _Reader:
    """One value from ``text`` at ``at``; ``cut`` where the text ended first, ``wrong`` where it is no JSON."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at, self.cut, self.wrong = text, at, False, False

    def peek(self) -> str:
        """The next character that is neither white space nor in a comment, or nothing."""
        found = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/|#[^\n]*)*", re.S).match(self.text, self.at)
        self.at = found.end() if found else self.at
        if self.at >= len(self.text):
            self.cut = True
            return ""
        return self.text[self.at]

    def value(self, depth: int) -> Any:
        first = self.peek()
        if depth > DEEPEST:
            self.wrong = True
        if not first or self.wrong:
            return CUT
        if first in "{[":
            self.at += 1
            return self._object(depth) if first == "{" else self._list(depth)
        if first in "\"'“":
            return self._string(first)
        return self._bare()

    def _list(self, depth: int) -> Any:
        found: list[Any] = []
        while not self.wrong:
            mark = self.peek()
            if mark == "]":
                self.at += 1
                return found
            if mark == ",":
                self.at += 1
                continue
            item = self.value(depth + 1) if mark else CUT
            if item is not CUT:
                found.append(item)
            if self.cut:
                return found
            if self.peek() not in ",]" and not self.cut:
                self.wrong = True
        return CUT

    def _object(self, depth: int) -> Any:
        found: dict[str, Any] = {}
        while not self.wrong:
            mark = self.peek()
            if mark == "}":
                self.at += 1
                return found
            if mark == ",":
                self.at += 1
                continue
            if self.cut:
                return found
            key = self._string(mark) if mark in "\"'“" else self._name()
            if self.peek() != ":" or key is CUT:
                self.wrong = not self.cut
                if self.cut:
                    return found
                break
            self.at += 1
            value = self.value(depth + 1)
            if value is not CUT:
                found[str(key)] = value
            if self.cut:
                return found
            if self.peek() not in ",}" and not self.cut:
                self.wrong = True
        return CUT

    def _string(self, quote: str) -> Any:
        end = "”" if quote == "“" else quote
        out: list[str] = []
        i = self.at + 1
        while i < len(self.text):
            c = self.text[i]
            if c == end:
                self.at = i + 1
                # Two halves of an escaped character become one; a lone half is no character.
                return "".join(out).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if c == "\\" and i + 1 < len(self.text):
                piece, i = self._escape(i + 1)
                out.append(piece)
                continue
            out.append(c)
            i += 1
        self.at, self.cut = len(self.text), True
        return CUT

    def _escape(self, i: int) -> tuple[str, int]:
        c = self.text[i]
        code = self.text[i + 1 : i + 5]
        if c == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", code):
            return chr(int(code, 16)), i + 5
        return ESCAPES.get(c, c), i + 1

    def _name(self) -> Any:
        found = WORD.match(self.text, self.at)
        if found is None:
            self.wrong = True
            return CUT
        self.at = found.end()
        return found.group()

    def _bare(self) -> Any:
        found = NUMBER.match(self.text, self.at) or WORD.match(self.text, self.at)
        if found is None:
            self.wrong = True
            return CUT
        self.at = found.end()
        if self.at >= len(self.text):
            # "0.1" at the very end may have been about to become 0.15.
            self.cut = True
            return CUT
        word = found.group()
        if word.lower() in CONSTANTS:
            return CONSTANTS[word.lower()]
        if NUMBER.fullmatch(word):
            return _number(word)
        # A bare word, as UNKNOWN is often written.
        return word


def _number(word: str) -> Any:
    if re.fullmatch(r"[+-]?\d{1,18}", word):
        return int(word)
    value = float(word)
    return value if abs(value) < 1e300 else word
