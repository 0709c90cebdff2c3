"""``UNKNOWN``: an answer nobody could give. Never a 0, a −1 or an exception."""

from __future__ import annotations

from typing import Final, final


@final
class Unknown:
    """The one value that means "could not be told"; false in a condition, ``null`` in JSON."""

    __slots__ = ()
    _only: Unknown | None = None

    def __new__(cls) -> Unknown:
        if cls._only is None:
            cls._only = super().__new__(cls)
        return cls._only

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __reduce__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()
