"""Seeded damage to a model's bytes, as cut downloads, bad disks and hostile hands do it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_INTEGERS = (0, -1, 1, 7, 100, 2**31 - 1, 2**31, 2**62, -(2**63))
_FLOATS = (0.0, -1.0, 1e30, float("inf"), float("nan"))
_TEXTS = ("", "a", "input", "conv1", "Conv", "If", "../x", "\x1b[1m", "x" * 1000)


def mutations(bases: Sequence[bytes], count: int, *, seed: int) -> Iterator[bytes]:
    """Yield damaged copies of serialized models: flips, cuts, splices, changed fields in turn."""
    rng = random.Random(seed)
    kinds = (_flip, _cut, _splice, _change_fields)
    for i in range(count):
        yield kinds[i % len(kinds)](rng.choice(bases), rng)


def _flip(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _splice(content: bytes, rng: random.Random) -> bytes:
    start, source = rng.randrange(len(content)), rng.randrange(len(content))
    piece = content[source : source + rng.randint(1, 200)]
    return content[:start] + piece + content[start + rng.randint(0, 200) :]


def _change_fields(content: bytes, rng: random.Random) -> bytes:
    """Change fields of the parsed model, so that the damage is behind the parser."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.randint(1, 3)):
        message = rng.choice(list(_messages(model)))
        _change(message, rng.choice(message.DESCRIPTOR.fields), rng)
    return model.SerializeToString()


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for item in [value] if isinstance(value, Message) else value:
                yield from _messages(item)


def _change(message: Message, field: Any, rng: random.Random) -> None:
    current = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if isinstance(current, Message):
            current.SetInParent() if rng.random() < 0.5 else message.ClearField(field.name)
        elif len(current):
            item = rng.choice(current)
            current.add().CopyFrom(item)
    elif isinstance(current, str | bytes | int | float):
        setattr(message, field.name, _value(field, rng))
    elif len(current) and rng.random() < 0.5:
        del current[rng.randrange(len(current))]
    else:
        current.append(_value(field, rng))


def _value(field: Any, rng: random.Random) -> object:
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(_FLOATS)
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(_TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.randint(0, 8))
    if field.enum_type is not None:
        return rng.choice([v.number for v in field.enum_type.values])
    bits = 31 if field.type == FieldDescriptor.TYPE_INT32 else 63
    low = 0 if field.type == FieldDescriptor.TYPE_UINT64 else -(2**bits)
    return rng.choice([n for n in _INTEGERS if low <= n < 2**bits])
