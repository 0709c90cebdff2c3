"""What the language detectors of video share: asking many questions at once, pictures on demand, and what was said when."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from pydantic import BaseModel

from oddwatch.core import UNKNOWN, Answer, ChatModel, Frame, InputError, Span, TextEncoder, Unknown
from oddwatch.core.jsonable import Jsonable
from oddwatch.detectors.video.notes import Notes
from oddwatch.language.asking import Chat, Request
from oddwatch.language.chat import connect, default_cache

log = logging.getLogger(__name__)

Pictures = Callable[[Notes, Sequence[int]], Sequence[Frame | np.ndarray]]
"""The pictures of some frames of a watched clip, by index into its times, in that order. Notes hold none; whoever has the
clip at hand reads them from it (``lambda notes, at: [frames[i] for i in at]``)."""
SAMPLED = 15.0
"""Frames a second below which notes are taken for a sample of the footage."""
MOST_PICTURES = 16
"""Pictures in one question, as :class:`oddwatch.language.pictures.PictureLimits` allows."""


@dataclass(frozen=True, slots=True)
class Told(Jsonable):
    """What was said of a stretch of a clip: ``span`` in seconds, ``score`` 0–1 or UNKNOWN, and the words it rests on."""

    span: Span
    score: float | Unknown
    text: str = ""


PASSED = {"kept": False}
"""Metadata of a field for an object that is handed in and not kept with a saved detector: a chat model, an encoder."""


def kept_arguments(detector: Any) -> dict[str, Any]:
    """The arguments of a detector that are saved with it; those marked :data:`PASSED` have to be given again."""
    return {
        f.name: getattr(detector, f.name) for f in fields(detector) if f.init and f.metadata.get("kept", True)
    }


def chat_of(chat: Any) -> Any:
    """``chat``, or the model behind it where it is an address or a file of one, as a command line gives it.

    Raises:
        InputError: neither; or as :func:`oddwatch.language.chat.connect`.
    """
    if isinstance(chat, str):
        return connect(chat, cache=default_cache())
    if chat is not None and not callable(getattr(chat, "ask", None)):
        raise InputError("chat", f"expected a chat model or its URL, got {type(chat).__name__}")
    return chat


def ask_all(chat: ChatModel, requests: Sequence[Request]) -> list[Answer[Any]]:
    """The answers in the order of ``requests``; how many stayed without a usable one is logged."""
    if isinstance(chat, Chat):
        answers = chat.ask_many(requests)
    else:
        answers = [chat.ask(r.prompt, r.images, r.schema) for r in requests]
    without = [a for a in answers if a.outcome != "answered"]
    if without:
        log.warning("%d of %d questions stayed unanswered: %s", len(without), len(answers), without[0].note)
    return answers


def texts_of(chat: ChatModel, requests: Sequence[Request]) -> list[str | Unknown]:
    """What was said to each of ``requests``, asked without a schema."""
    return [UNKNOWN if isinstance(a.parsed, Unknown) else str(a.parsed) for a in ask_all(chat, requests)]


def read_all(
    chat: ChatModel,
    requests: Sequence[Request],
    read: Callable[[str], Any],
    form: type[BaseModel],
    value: Callable[[Any], Any],
) -> list[tuple[Any, str]]:
    """What ``read`` finds in the answer to each of ``requests`` (or UNKNOWN), and the answer ("" for none).

    Questions whose answer it finds nothing in are put once more, for a JSON object of ``form``, whose ``value`` is taken:
    models too small to end in the line they were asked for still fill in a form, and a server may hold them to it.
    """
    said = ["" if isinstance(text, Unknown) else text for text in texts_of(chat, requests)]
    found = [(read(text) if text else UNKNOWN, text) for text in said]
    short = [i for i, (got, _) in enumerate(found) if isinstance(got, Unknown)]
    again = ask_all(chat, [replace(requests[i], schema=form) for i in short])
    for i, answer in zip(short, again, strict=True):
        if not isinstance(answer.parsed, Unknown):
            found[i] = (value(answer.parsed), answer.raw)
    return found


def eyes_of(chat: ChatModel | None, pictures: Pictures | None) -> Pictures | None:
    """``pictures`` where there are any and the model can see, else None: it then reads captions."""
    return pictures if getattr(chat, "sees", None) is not False else None


def captions_of(notes: Notes, name: str) -> tuple[str, ...]:
    """The clip's captions, one a looked-at frame. Raises InputError where it was watched without them."""
    if not notes.has("captions"):
        raise InputError(
            f"notes of {notes.name}", f"hold no captions, which {name} reads", "watch with a captioner"
        )
    return notes.captions


def inside(notes: Notes, start: int, stop: int) -> np.ndarray:
    """Positions among the looks of those at frames [start, stop), or of the look nearest to its middle if there is none."""
    found = np.flatnonzero((notes.looked >= start) & (notes.looked < stop))
    if not found.size:
        found = np.array([int(np.abs(notes.looked - (start + stop - 1) / 2).argmin())])
    return found


def stride_of(notes: Notes, stride: int) -> int:
    """Frames of ``notes`` from one judgement to the next: ``stride``, but where fewer than 15 frames a second were noted, as
    when only the looks are, as many as make the time of ``stride`` frames at 30 a second, or one."""
    if len(notes) < 2 or notes.fps >= SAMPLED:
        return stride
    return max(1, round(stride * notes.fps / 30))


def listed(notes: Notes, at: Sequence[int] | np.ndarray) -> str:
    """The captions of some looks, one line each with its second."""
    return "\n".join(f"{notes.times[notes.looked[i]]:.1f} s: {notes.captions[i]}" for i in at)


def span_of(notes: Notes, start: int, stop: int) -> Span:
    """Seconds of the frames [start, stop), each lasting until the next."""
    last = notes.times[stop] if stop < len(notes) else notes.times[-1] + 1 / notes.fps
    return Span(float(notes.times[start]), float(last))


def vectors_of(encoder: TextEncoder, texts: Sequence[str]) -> np.ndarray:
    """(N, D) unit vectors of ``texts``; equal ones are encoded once."""
    kinds = list(dict.fromkeys(texts))
    row = {text: i for i, text in enumerate(kinds)}
    return np.asarray(encoder.encode(kinds))[[row[text] for text in texts]]


def pack(value: Any) -> np.ndarray:
    """A JSON value as (L,) uint8, to be kept among a detector's arrays."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8).copy()


def unpack(array: np.ndarray) -> Any:
    """The inverse of :func:`pack`."""
    return json.loads(array.tobytes())
