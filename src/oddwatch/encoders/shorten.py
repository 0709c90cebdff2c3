"""An ONNX graph cut down to what some of its outputs need.

ONNX Runtime runs every node of a graph, also those that no output asked for depends on; so the nodes are taken out. Only
the outermost messages of the file are read (protobuf wire format: a key, then a number, 8 or 4 bytes, or a length and
bytes), so that no ONNX library is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

GRAPH = 7
"""Field of the graph in a model; the fields below are those of a graph, a node, and a named thing."""
NODE, INITIALIZER, OUTPUT = 1, 5, 12
NODE_INPUT, NODE_OUTPUT, TENSOR_NAME, VALUE_NAME = 1, 2, 8, 1


def shortened(model: bytes, outputs: Collection[str]) -> bytes:
    """``model`` with only ``outputs``, and the nodes and weights that these need; a node's subgraphs must read nothing from
    outside but its inputs.

    Raises:
        ValueError: it is not such a file, or has no such output.
    """
    try:
        parts = [
            _tagged(GRAPH, _graph(body, outputs)) if field == GRAPH else raw
            for field, raw, body in _fields(memoryview(model))
        ]
    except IndexError as error:
        raise ValueError("the file ends within a message") from error
    return b"".join(parts)


def _graph(graph: memoryview, outputs: Collection[str]) -> bytes:
    found = list(_fields(graph))
    names = {_name(body, VALUE_NAME) for field, _, body in found if field == OUTPUT}
    needed = {name.encode() for name in outputs}
    if not needed or not needed <= names:
        raise ValueError(f"the graph has outputs {sorted(n.decode() for n in names)}, asked for {outputs}")
    given, kept = set(needed), set()
    for i in reversed(range(len(found))):  # nodes stand in an order in which they can run
        field, _, body = found[i]
        if field == NODE:
            inside = list(_fields(body))
            if needed & {bytes(b) for f, _, b in inside if f == NODE_OUTPUT}:
                kept.add(i)
                needed |= {bytes(b) for f, _, b in inside if f == NODE_INPUT}
    gone = {
        i
        for i, (field, _, body) in enumerate(found)
        if (field == NODE and i not in kept)
        or (field == OUTPUT and _name(body, VALUE_NAME) not in given)
        or (field == INITIALIZER and _name(body, TENSOR_NAME) not in needed)
    }
    return b"".join(raw for i, (_, raw, _) in enumerate(found) if i not in gone)


def _name(message: memoryview, field: int) -> bytes:
    return next((bytes(body) for f, _, body in _fields(message) if f == field), b"")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Number, whole bytes and content of each field of a message, in order."""
    at = 0
    while at < len(message):
        start = at
        key, at = _number(message, at)
        kind, begin = key & 7, at
        if kind == 0:
            _, at = _number(message, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        elif kind == 2:
            length, begin = _number(message, at)
            at = begin + length
        else:
            raise ValueError(f"wire type {kind}: not an ONNX file")
        if at > len(message):
            raise ValueError("the file ends within a message")
        yield key >> 3, message[start:at], message[begin:at]


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """A varint and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _tagged(field: int, body: bytes) -> bytes:
    """``body`` as a field of bytes."""
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
