"""Frozen dataclasses of numbers, arrays and each other, to JSON and back."""

from __future__ import annotations

import base64
import dataclasses
import types
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from oddwatch.core.errors import InputError
from oddwatch.core.unknown import UNKNOWN, Unknown

T = TypeVar("T")


def to_jsonable(value: Any) -> Any:
    """``value`` as dicts, lists, strings, numbers, booleans and None.

    Arrays become ``{"dtype", "shape", "values"}``; NaN and infinities become None.
    """
    if value is None or isinstance(value, Unknown):
        return None
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, (np.integer, np.bool_)):
        return value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray):
        flat = [to_jsonable(v) for v in value.ravel().tolist()]
        return {"dtype": str(value.dtype), "shape": list(value.shape), "values": flat}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_jsonable(v) for v in value]
    raise InputError(type(value).__name__, "has no JSON form", "use plain values, arrays or core words")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def from_jsonable(kind: Any, value: Any) -> Any:
    """Rebuild a value of type ``kind`` from what :func:`to_jsonable` made of it.

    Raises:
        InputError: the JSON does not fit the type.
    """
    try:
        return _rebuilt(kind, value)
    except InputError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        raise InputError(
            getattr(kind, "__name__", str(kind)), f"does not fit its JSON form: {error}"
        ) from error


def _rebuilt(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        return _union(arguments, value)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"expected one of {', '.join(map(repr, arguments))}, got {value!r}")
        return value
    if kind is Unknown:
        return UNKNOWN
    if kind is np.ndarray or origin is np.ndarray:
        return _array(value)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        # A class may have its own JSON form, as Hit has for its box.
        return kind.from_json(value) if issubclass(kind, Jsonable) else _dataclass(kind, value)
    if origin is tuple:
        _expect(value, list, tuple)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_rebuilt(arguments[0], v) for v in value)
        return tuple(_rebuilt(k, v) for k, v in zip(arguments, value, strict=True))
    if origin is list:
        _expect(value, list, tuple)
        return [_rebuilt(arguments[0], v) for v in value]
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {k: _rebuilt(arguments[1], v) for k, v in value.items()}
    return _plain(kind, value)


def _plain(kind: Any, value: Any) -> Any:
    if kind is bytes:
        return base64.b64decode(value, validate=True)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is float:
        if value is None:
            return float("nan")
        _expect(value, int, float)
        return float(value)
    if kind in (int, str, bool):
        _expect(value, kind)
        return value
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    return value


def _expect(value: Any, *kinds: type) -> None:
    """``True`` is no number here, though Python counts it as one."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"expected {' or '.join(k.__name__ for k in kinds)}, got {type(value).__name__}")


def _array(value: Any) -> np.ndarray:
    dtype = np.dtype(value["dtype"])
    if dtype.kind not in "biuf":
        raise ValueError(f"expected an array of numbers or booleans, got {dtype}")
    values = value["values"]
    if dtype.kind == "f":
        values = [np.nan if v is None else v for v in values]
    return np.array(values, dtype=dtype).reshape(value["shape"])


def _union(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None:
        return UNKNOWN if Unknown in kinds and type(None) not in kinds else None
    real = [k for k in kinds if k not in (type(None), Unknown)]
    return _rebuilt(real[0], value)


def _dataclass(kind: type[T], value: Any) -> T:
    if not isinstance(value, Mapping):
        raise InputError(kind.__name__, f"expected a JSON object, got {type(value).__name__}")
    hints, fields = _hints(kind), {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unexpected = sorted(map(str, set(value) - fields))
    if unexpected:
        raise InputError(kind.__name__, f"unexpected field(s) {', '.join(unexpected)}")
    given: dict[str, Any] = {}
    for name, part in value.items():
        try:
            given[name] = _rebuilt(hints[name], part)
        except InputError as error:
            raise InputError(f"{kind.__name__}.{name}", str(error)) from error
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise InputError(f"{kind.__name__}.{name}", f"does not fit its JSON form: {error}") from error
    try:
        return kind(**given)
    except TypeError as error:
        raise InputError(kind.__name__, f"does not fit its JSON form: {error}") from error


class Jsonable:
    """Mixin: ``to_json`` / ``from_json`` for a frozen dataclass."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """A dict that ``json.dumps`` takes."""
        result: dict[str, Any] = to_jsonable(self)
        return result

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The word that :meth:`to_json` described. Raises InputError where it does not fit."""
        return _dataclass(cls, data)
