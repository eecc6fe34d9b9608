"""The implementation log: a line a run, whole or not there, in a table that nothing breaks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprat.errors import InputError, OutputError
from sprat.record.history import FILE, append, as_markdown, read
from sprat.record.schema import LogEntry

entries = st.builds(
    LogEntry, date=st.text(), operation=st.text(), result=st.text(), notes=st.text()
)


def entry(operation: str, notes: str = "") -> LogEntry:
    return LogEntry(date="2026-11-24T12:00:00+00:00", operation=operation, result="ok", notes=notes)


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "not yet" / "there"
    written = [entry("simplify"), entry("quantize", "a\nb\u2028c"), entry("optimize")]
    for one in written:
        append(folder, one)
    assert list(read(folder)) == written


def test_nothing_was_logged(tmp_path: Path) -> None:
    assert read(tmp_path) == ()
    assert read(tmp_path / "nowhere") == ()


@given(st.lists(entries, min_size=1, max_size=4), st.integers(min_value=0))
def test_a_cut_anywhere_costs_the_cut_line_alone(
    tmp_path_factory: pytest.TempPathFactory, written: list[LogEntry], where: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    for one in written:
        append(folder, one)
    content = (folder / FILE).read_bytes()
    cut = where % (len(content) + 1)
    (folder / FILE).write_bytes(content[:cut])
    whole = content[:cut].count(b"\n") + (content[cut : cut + 1] == b"\n")
    assert list(read(folder)) == written[:whole]
    append(folder, entry("after the kill"))
    assert list(read(folder)) == [*written[:whole], entry("after the kill")]


def test_what_is_no_entry_is_passed_over(tmp_path: Path) -> None:
    append(tmp_path, entry("first"))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'\xff\xfe\n[]\n{"date": 1}\n\n')
    append(tmp_path, entry("second"))
    assert [e.operation for e in read(tmp_path)] == ["first", "second"]


def test_a_log_that_cannot_be_written_or_read_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(OutputError, match=FILE):
        append(tmp_path, entry("optimize"))
    with pytest.raises(InputError, match=FILE):
        read(tmp_path)


@given(st.lists(entries, max_size=4))
def test_the_table_has_a_line_an_entry_and_four_cells_a_line(written: list[LogEntry]) -> None:
    lines = as_markdown(written).split("\n")
    assert len(lines) == 2 + len(written)
    for line in lines:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 5
        assert line.isprintable()


def test_the_table_keeps_what_was_said() -> None:
    table = as_markdown([entry("a|b", "two\nlines, C:\\models")])
    assert table.split("\n")[2] == (
        "| 2026-11-24T12:00:00+00:00 | a\\|b | ok | two lines, C:\\\\models |"
    )
