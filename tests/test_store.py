"""The work folder keeps what was made by all that it depends on."""

from dataclasses import dataclass
from pathlib import Path

from sprat.sealed import write_sealed
from sprat.search.store import Store


@dataclass(frozen=True)
class Figure:
    value: float


def never() -> bytes:
    raise AssertionError("made again")


def test_bytes_are_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path, {"seed": 0})
    assert store.content({"name": "a"}, lambda: b"made") == b"made"
    assert Store(tmp_path, {"seed": 0}).content({"name": "a"}, never) == b"made"


def test_another_basis_is_another_entry(tmp_path: Path) -> None:
    Store(tmp_path, {"seed": 0}).content({"name": "a"}, lambda: b"zero")
    assert Store(tmp_path, {"seed": 1}).content({"name": "a"}, lambda: b"one") == b"one"


def test_values_come_back_as_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    store.value({"v": 1}, Figure, lambda: Figure(0.1))
    assert store.value({"v": 1}, Figure, lambda: Figure(9.0)) == Figure(0.1)


def test_a_value_of_another_form_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    store.value({"v": 1}, Figure, lambda: Figure(0.1))
    (entry,) = tmp_path.glob("*.json")
    write_sealed(entry, b'{"other": 1}')
    assert store.value({"v": 1}, Figure, lambda: Figure(2.0)) == Figure(2.0)


def test_nothing_but_whole_entries_remains(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    store.content({"a": 1}, lambda: b"x" * 1000)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
