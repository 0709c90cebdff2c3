"""Errors that say what was wrong, what was expected and what to do."""

from __future__ import annotations


class OddwatchError(Exception):
    """Base of every error this library raises on purpose."""


class InputError(OddwatchError, ValueError):
    """An argument, a file or a sentence that cannot be used.

    Parts: ``subject`` names the file or argument, ``problem`` says what was expected and found,
    ``remedy`` says what to do.
    """

    def __init__(self, subject: str, problem: str, remedy: str = "") -> None:
        self.subject, self.problem, self.remedy = subject, problem, remedy
        super().__init__(f"{subject}: {problem}" + (f" ({remedy})" if remedy else ""))


class MediaError(InputError):
    """A picture or video that cannot be read, whole or in part."""


class LimitError(InputError):
    """Something from outside that is larger than the limits allow (bytes, pixels, seconds)."""


class GalleryError(OddwatchError):
    """A gallery that cannot be opened or written."""


class EncoderMismatch(GalleryError):
    """Vectors of one encoder were offered to an index made by another."""


class ModelError(OddwatchError):
    """A model file that is missing, changed or of an unexpected form."""


class MissingExtra(OddwatchError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""
