"""Seeded damage to a model, as cut downloads, bad disks and hostile hands do it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fuzz.hostile import HOSTILE, TEXTS

_INTEGERS = (0, -1, 1, 2, 7, 100, 10**9, 2**31 - 1, 2**31, 2**62, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -1.0, 1e30, float("inf"), float("nan"))

Kind = Callable[[bytes, random.Random], bytes]


def mutant(bases: Sequence[bytes], seed: int, index: int) -> tuple[int, bytes]:
    """Return which model was damaged, and how it is now; the same for the same seed and index.

    Args:
        bases: Serialized models.
        seed: Seed of the campaign.
        index: Of the mutant; the kinds of damage take turns.
    """
    rng = random.Random(f"{seed}:{index}")
    base = rng.randrange(len(bases))
    return base, _KINDS[index % len(_KINDS)](bases[base], rng)


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


def _change_one(content: bytes, rng: random.Random) -> bytes:
    """Change one value that is there, so that most of these models still load."""
    model = onnx.ModelProto.FromString(content)
    found = [m for m in _messages(model) if m.ListFields()]
    message = rng.choice(found)
    _change(message, rng.choice(message.ListFields())[0], rng)
    return model.SerializeToString()


def _hostile(content: bytes, rng: random.Random) -> bytes:
    """Do what nobody does by accident: see :mod:`fuzz.hostile`."""
    model = onnx.ModelProto.FromString(content)
    rng.choice(HOSTILE)(model, rng)
    return model.SerializeToString()


_KINDS: tuple[Kind, ...] = (
    *(_flip, _hostile, _change_fields, _change_one),
    *(_cut, _hostile, _splice, _change_one),
)


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
    elif len(current) and rng.random() < 0.3:
        del current[rng.randrange(len(current))]
    elif len(current) and rng.random() < 0.6:
        current[rng.randrange(len(current))] = _value(field, rng)
    else:
        current.append(_value(field, rng))


def _value(field: Any, rng: random.Random) -> Any:
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(_FLOATS)
    if field.type == FieldDescriptor.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.randint(0, 8))
    if field.enum_type is not None:
        return rng.choice([v.number for v in field.enum_type.values])
    bits = 31 if field.type == FieldDescriptor.TYPE_INT32 else 63
    low = 0 if field.type == FieldDescriptor.TYPE_UINT64 else -(2**bits)
    return rng.choice([n for n in _INTEGERS if low <= n < 2**bits])
