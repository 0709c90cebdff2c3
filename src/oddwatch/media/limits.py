"""How much of what comes from outside is taken in."""

from __future__ import annotations

from dataclasses import dataclass

from oddwatch.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest input that is read: ``bytes`` of a picture file, ``pixels`` of a picture or of one video
    frame, ``seconds`` of one video. All are checked before anything is decoded."""

    bytes: int = 512 * 1024**2
    pixels: int = 100_000_000
    seconds: float = 7 * 24 * 3600.0

    def __post_init__(self) -> None:
        if self.bytes < 1 or self.pixels < 1 or not self.seconds > 0:
            raise InputError("limits", f"expected positive limits, got {self}")
