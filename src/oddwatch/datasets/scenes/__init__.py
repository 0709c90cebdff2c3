"""The scene generator: labelled synthetic footage of people, drawn with numpy and OpenCV.

``generate`` writes videos, stills and ``records.jsonl``; ``Scene(seed, index).frames()``, ``person_still`` and
``twin_pair`` draw straight into memory. Everything is a function of its seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oddwatch.datasets.scenes.captions import event_caption, person_captions
    from oddwatch.datasets.scenes.scene import Scene
    from oddwatch.datasets.scenes.stills import Still, person_still, stills, twin_pair
    from oddwatch.datasets.scenes.words import content_words, family_words, unknown_share
    from oddwatch.datasets.scenes.writer import generate

_HOME = {"generate": "writer", "Scene": "scene", "Still": "stills", "person_still": "stills", "stills": "stills",
         "twin_pair": "stills", "person_captions": "captions", "event_caption": "captions", "content_words": "words",
         "family_words": "words", "unknown_share": "words"}  # fmt: skip

__all__ = ["Scene", "Still", "content_words", "event_caption", "family_words", "generate", "person_captions",
           "person_still", "stills", "twin_pair", "unknown_share"]  # fmt: skip


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
