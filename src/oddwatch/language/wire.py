"""The open chat form (``/chat/completions``): what is sent and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from oddwatch.language.asking import NoReply, Question, Reply
from oddwatch.language.pictures import PictureLimits, data_url, jpegs

TOP_TOKENS = 10


def body(question: Question, *, model: str, max_tokens: int, pictures: PictureLimits) -> dict[str, Any]:
    """The request, at temperature 0, with a response format for a schema or token probabilities for yes or no.

    Raises:
        InputError, LimitError: as :func:`oddwatch.language.pictures.jpegs`.
    """
    shown = [
        {"type": "image_url", "image_url": {"url": data_url(j)}} for j in jpegs(question.images, pictures)
    ]
    turns: list[dict[str, Any]] = []
    for message in question.messages:
        content: Any = message.text
        if message.role == "user" and shown:
            content, shown = [*shown, {"type": "text", "text": message.text}], []
        turns.append({"role": message.role, "content": content})
    made: dict[str, Any] = {
        "model": model, "messages": turns, "temperature": 0, "max_tokens": max_tokens, "stream": False,
    }  # fmt: skip
    if question.yes_no:
        made |= {"logprobs": True, "top_logprobs": TOP_TOKENS}
    elif question.schema is not None:
        name = "".join(c for c in str(question.schema.get("title", "answer")) if c.isalnum()) or "answer"
        form = {"name": name[:60], "schema": question.schema}
        made["response_format"] = {"type": "json_schema", "json_schema": form}
    return made


EXTRAS = ("response_format", "logprobs", "top_logprobs")


def without_extras(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The request with what every server takes."""
    return {k: v for k, v in sent.items() if k not in EXTRAS}


def for_reasoners(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The request as hosted reasoning models take it: no temperature, the limit under another name."""
    kept = {k: v for k, v in without_extras(sent).items() if k not in ("temperature", "max_tokens")}
    return kept | {"max_completion_tokens": sent["max_tokens"]}


def read(payload: Any) -> Reply:
    """The first choice of a reply.

    Raises:
        NoReply: it is of another form.
    """
    try:
        choice = payload["choices"][0]
        content = choice["message"].get("content")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoReply("the server's reply is not of the open chat form") from error
    if isinstance(content, list):
        content = "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    if content is not None and not isinstance(content, str):
        raise NoReply("the server's reply holds no text")
    usage = payload.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        content or "",
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _yes(choice.get("logprobs")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else 0


def _yes(logprobs: Any) -> float | None:
    """Probability of yes from the first token that has one of both among its likeliest, or None."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    for token in tokens if isinstance(tokens, list) else []:
        top = token.get("top_logprobs") if isinstance(token, dict) else None
        likely = {}
        for item in top if isinstance(top, list) else []:
            word, value = (item.get("token"), item.get("logprob")) if isinstance(item, dict) else (None, None)
            if isinstance(word, str) and isinstance(value, (int, float)) and math.isfinite(value):
                likely[word] = min(float(value), 0.0)
        found = yes_share(likely)
        if found is not None:
            return found
    return None


def yes_share(likely: Mapping[str, float]) -> float | None:
    """p(yes) / (p(yes) + p(no)) from token → log-probability, over every spelling; None where neither is there.

    Where only one is among the likeliest tokens, the other is taken as likely as the last of them: a bound.
    """
    share = {"yes": 0.0, "no": 0.0}
    for word, value in likely.items():
        plain = word.strip().strip("\"'▁Ġ").lower()
        if plain in share:
            share[plain] += math.exp(value)
    if not any(share.values()):
        return None
    least = math.exp(min(likely.values()))
    yes, no = (share[word] or least for word in ("yes", "no"))
    return yes / (yes + no) if yes + no > 0 else None
