"""Oddwatch: ask your footage what went wrong.

>>> import oddwatch as ow
>>> gallery = ow.Gallery.open("g")            # doctest: +SKIP
>>> gallery.index(["footage/"])               # doctest: +SKIP
>>> gallery.search("a man in a red jacket lying on the ground")   # doctest: +SKIP
>>> ow.detect("parts/", normal="good/").findings                  # doctest: +SKIP
>>> ow.detect_video("clip.mp4", normal="quiet.mp4").findings      # doctest: +SKIP

Importing the package loads no model and no heavy library; names resolve on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwatch._version import __version__

_NAMES = {
    "Gallery": "oddwatch.api",
    "SearchResult": "oddwatch.search.engine",
    "detect": "oddwatch.api",
    "detect_video": "oddwatch.pipeline.detect_video",
    "DetectReport": "oddwatch.pipeline.detect",
    "parse": "oddwatch.describe.sentence",
    "Box": "oddwatch.core",
    "Span": "oddwatch.core",
    "Frame": "oddwatch.core",
    "Person": "oddwatch.core",
    "Facts": "oddwatch.core",
    "Query": "oddwatch.core",
    "Hit": "oddwatch.core",
    "Finding": "oddwatch.core",
    "OddwatchError": "oddwatch.core",
    "UNKNOWN": "oddwatch.core",
}

__all__ = ["__version__", *_NAMES]

if TYPE_CHECKING:
    from oddwatch.api import Gallery as Gallery
    from oddwatch.api import detect as detect
    from oddwatch.core import UNKNOWN as UNKNOWN
    from oddwatch.core import Box as Box
    from oddwatch.core import Facts as Facts
    from oddwatch.core import Finding as Finding
    from oddwatch.core import Frame as Frame
    from oddwatch.core import Hit as Hit
    from oddwatch.core import OddwatchError as OddwatchError
    from oddwatch.core import Person as Person
    from oddwatch.core import Query as Query
    from oddwatch.core import Span as Span
    from oddwatch.describe.sentence import parse as parse
    from oddwatch.pipeline.detect import DetectReport as DetectReport
    from oddwatch.pipeline.detect_video import detect_video as detect_video
    from oddwatch.search.engine import SearchResult as SearchResult


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'oddwatch' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
