"""Nothing of the user's is lost: what a command may replace, what it keeps, and when it refuses."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brotli
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprat.delivery.bundle import Shape, names_of
from sprat.delivery.earlier import earlier_files
from sprat.delivery.manifest import read_manifest
from sprat.distillation.configs import Recipe, Student
from sprat.errors import BrowserMissingError, OptionError, OutputError
from sprat.files import sha256
from sprat.model.load import load, save
from sprat.output import RECORD, OutputFolder
from sprat.record.history import append, read
from sprat.record.schema import LogEntry
from sprat.sealed import read_sealed, write_sealed
from sprat.search.store import Store
from sprat.workflow.budget import Budget
from sprat.workflow.bundle import bundle
from sprat.workflow.compile import compile
from sprat.workflow.distill import distill
from sprat.workflow.optimize import optimize
from sprat.workflow.prove import prove
from sprat.workflow.step import quantize_file, simplify_file
from sprat.workflow.tune import tune
from tests.models import balanced, images, one_logit_cnn

MINE = b"my own, and nobody else's\n"
QUICK = Budget(minutes=0.001)
SMALL = Student("mobilenet_v3_small", width=0.25, size=(32, 32))
ONE = Recipe(epochs=1, batch=16)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with a model and its data in a folder of their own."""
    (tmp_path / "own").mkdir()
    save(balanced(one_logit_cnn(), images(40)), tmp_path / "own/model.onnx")
    split = np.array(["train", "train", "val", "test"] * 10)
    np.savez(tmp_path / "own/data.npz", input=images(40), split=split)
    return tmp_path


Command = Callable[[Path, Path], Any]


def _optimize(here: Path, out: Path) -> None:
    optimize(here / "own/model.onnx", here / "own/data.npz", out, budget=QUICK)


def _distill(here: Path, out: Path) -> None:
    distill(here / "own/model.onnx", here / "own/data.npz", out, student=SMALL, recipe=ONE)


def _teach(here: Path, out: Path) -> None:
    model, data = here / "own/model.onnx", here / "own/data.npz"
    optimize(model, data, out, budget=QUICK, student=SMALL, recipe=ONE)


def _tune(here: Path, out: Path) -> None:
    model, data = here / "own/model.onnx", here / "own/data.npz"
    tune(model, data, out, trials=1, student=SMALL, recipe=ONE)


def _compile(here: Path, out: Path) -> None:
    compile(here / "own/model.onnx", out, runtime=True)


def _bundle(here: Path, out: Path) -> None:
    bundle(here / "own/model.onnx", out, data=here / "own/data.npz", runtime="ort")


def _simplify(here: Path, out: Path) -> None:
    simplify_file(here / "own/model.onnx", out / "model.onnx")


def _quantize(here: Path, out: Path) -> None:
    quantize_file(here / "own/model.onnx", out / "model.onnx", "weights")


#: Each command that writes, by a name that it gives to a result.
WRITERS: list[tuple[Command, str]] = [
    (_optimize, "model.onnx"),
    (_optimize, "sprat.toml"),
    (_optimize, "report.html"),
    (_optimize, "run.json"),
    (_optimize, "history.jsonl"),
    (_optimize, ".work"),
    (_optimize, ".work/lock"),
    (_optimize, RECORD),
    (_distill, "model.onnx"),
    (_distill, "sprat.toml"),
    (_distill, "history.jsonl"),
    (_teach, ".work/student.onnx"),
    (_tune, "report.html"),
    (_tune, "study.db"),
    (_compile, "plan.json"),
    (_compile, "weights.bin"),
    (_compile, "lean.mjs"),
    (_bundle, "manifest.json"),
    (_bundle, "loader.js"),
    (_bundle, "LICENSES.txt"),
    (_bundle, "assets"),
    (_simplify, "model.onnx"),
    (_simplify, "history.jsonl"),
    (_quantize, "model.onnx"),
    (_quantize, "history.jsonl"),
]
EACH = pytest.mark.parametrize(
    ("command", "name"), WRITERS, ids=[f"{c.__name__[1:]}-{n}" for c, n in WRITERS]
)


def contents(folder: Path) -> dict[str, object]:
    """Return what is in a folder: bytes of files, targets of links, kinds of the rest."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        name = str(path.relative_to(folder))
        if stat.S_ISLNK(mode):
            found[name] = path.readlink()
        else:
            found[name] = path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return found


# what stands in the way


@EACH
def test_a_file_of_the_users_is_kept_and_named(here: Path, command: Command, name: str) -> None:
    place = here / "out" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(MINE)
    before = contents(here)
    with pytest.raises(OutputError) as found:
        command(here, here / "out")
    assert str(place) in str(found.value)
    assert "ove it away" in found.value.hint
    assert found.value.exit_code == 2
    assert contents(here) == before


@EACH
def test_nothing_is_written_through_a_link(here: Path, command: Command, name: str) -> None:
    elsewhere, place = here / "elsewhere", here / "out" / name
    place.parent.mkdir(parents=True)
    if name in (".work", "assets"):
        elsewhere.mkdir()
        (elsewhere / "thesis.txt").write_bytes(MINE)
    elif name in ("history.jsonl", ".work/lock"):
        elsewhere.write_bytes(b"")
    else:
        elsewhere.write_bytes(MINE)
    place.symlink_to(elsewhere)
    before = contents(here)
    with pytest.raises(OutputError, match=r"link|lock|record|study"):
        command(here, here / "out")
    assert contents(here) == before


@EACH
def test_a_link_to_nothing_makes_no_file_elsewhere(here: Path, command: Command, name: str) -> None:
    place = here / "out" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(here / "nowhere")
    with pytest.raises(OutputError):
        command(here, here / "out")
    assert not (here / "nowhere").exists()


@pytest.mark.parametrize("name", ["model.onnx", "history.jsonl", "run.json"])
def test_a_pipe_or_a_folder_in_the_way_is_one_clear_error(here: Path, name: str) -> None:
    for make in (os.mkfifo, os.mkdir):
        out = here / make.__name__
        out.mkdir()
        make(out / name)
        with pytest.raises(OutputError, match=name):
            _optimize(here, out)
        assert [path.name for path in out.iterdir()] == [name]


# what is read is never replaced


def _linked(here: Path) -> Path:
    (here / "link").symlink_to(here / "own")
    return here / "link"


def _hard(here: Path) -> Path:
    (here / "twin").mkdir()
    os.link(here / "own/model.onnx", here / "twin/model.onnx")
    return here / "twin"


@pytest.mark.parametrize("command", [_optimize, _distill, _tune, _simplify, _quantize])
@pytest.mark.parametrize(
    "place",
    [lambda here: here / "own", lambda here: here / "own/../own", _linked, _hard],
    ids=["same", "dots", "link", "hard"],
)
def test_the_original_is_never_replaced(
    here: Path, command: Command, place: Callable[[Path], Path]
) -> None:
    out = place(here)
    before = contents(here)
    with pytest.raises(OutputError, match=r"model\.onnx: is read by this command"):
        command(here, out)
    assert contents(here) == before


def test_a_model_of_sprats_is_no_less_an_original(here: Path) -> None:
    _simplify(here, here / "clean")
    before = contents(here)
    model = here / "clean/model.onnx"
    with pytest.raises(OutputError, match="is read by this command"):
        optimize(model, here / "own/data.npz", here / "clean", budget=QUICK)
    with pytest.raises(OutputError, match="is read by this command"):
        optimize(
            here / "own/model.onnx",
            here / "own/data.npz",
            here / "clean",
            reference=model,
            budget=QUICK,
        )
    assert contents(here) == before


# what is kept besides


def test_a_run_keeps_all_else_and_may_be_repeated(here: Path) -> None:
    out = here / "out"
    out.mkdir()
    for name in ("notes.txt", "preview.onnx", ".gitignore"):
        (out / name).write_bytes(MINE)
    _optimize(here, out)
    first = (out / "model.onnx").read_bytes()
    _optimize(here, out)
    assert (out / "model.onnx").read_bytes() == first
    assert len(read(out)) == 2
    assert all((out / n).read_bytes() == MINE for n in ("notes.txt", "preview.onnx", ".gitignore"))


def test_a_preview_of_an_earlier_run_goes_with_it(here: Path) -> None:
    OutputFolder(here / "out", "results").write({"preview.onnx": b"of an earlier run"})
    _optimize(here, here / "out")
    assert not (here / "out/preview.onnx").exists()


def test_options_that_the_user_edited_are_kept(here: Path) -> None:
    _optimize(here, here / "out")
    options = here / "out/sprat.toml"
    options.write_text(options.read_text() + "# threshold as agreed with Li\n")
    before = contents(here / "out")
    with pytest.raises(OutputError, match=r"sprat\.toml: .*edited"):
        _optimize(here, here / "out")
    assert contents(here / "out") == before


def test_a_file_that_appears_meanwhile_is_kept(here: Path) -> None:
    def progress(stage: str, done: float, total: float) -> None:
        (here / "out").mkdir(exist_ok=True)
        (here / "out/report.html").write_bytes(MINE)

    with pytest.raises(OutputError, match=r"report\.html"):
        optimize(
            here / "own/model.onnx",
            here / "own/data.npz",
            here / "out",
            budget=QUICK,
            progress=progress,
        )
    assert (here / "out/report.html").read_bytes() == MINE
    assert not (here / "out/model.onnx").exists()


def test_a_result_of_a_version_without_records_is_known(here: Path) -> None:
    _optimize(here, here / "out")
    (here / "out" / RECORD).unlink()
    with pytest.raises(OutputError, match=r"sprat\.toml") as found:
        _optimize(here, here / "out")
    assert "The same holds" not in found.value.hint
    (here / "out/sprat.toml").unlink()
    _optimize(here, here / "out")


def test_a_proof_refuses_before_the_browser(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _optimize(here, here / "out")
    (here / "out/report.html").write_bytes(MINE)
    monkeypatch.setattr("sprat.workflow.prove.measure", None)
    with pytest.raises(OutputError, match=r"report\.html"):
        prove(here / "out", data=here / "own/data.npz")
    assert (here / "out/report.html").read_bytes() == MINE


@pytest.mark.parametrize(
    "theirs", ['{"epoch": 3, "loss": 0.1}', "epoch 3: 0.1", "[" * 100_000, "[]"]
)
def test_a_run_json_of_somebody_elses_is_none_of_the_models_record(
    here: Path, theirs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "own/run.json").write_text(theirs)
    _bundle(here, here / "site")
    monkeypatch.setattr("sprat.workflow.prove.measure", _no_browser)
    with pytest.raises(BrowserMissingError):
        prove(here / "own/model.onnx", data=here / "own/data.npz")
    assert (here / "own/run.json").read_text() == theirs


async def _no_browser(*_: object) -> None:
    raise BrowserMissingError("none here.")


def test_a_record_of_another_version_is_told(here: Path) -> None:
    (here / "own/run.json").write_text('{"schema_version": 2, "sprat": "9.0.0"}')
    with pytest.raises(OptionError, match="of version 2; version 1 is read"):
        _bundle(here, here / "site")
    with pytest.raises(OptionError, match="of version 2; version 1 is read"):
        prove(here / "own/model.onnx", data=here / "own/data.npz")


# a bundle beside a site of the user's


@pytest.fixture
def site(here: Path) -> Path:
    """Return a folder that is pushed to GitHub Pages: a repository, a page, a domain."""
    folder = here / "site"
    (folder / ".git/refs").mkdir(parents=True)
    for name in (".git/config", ".git/refs/main", "about.html", "CNAME", "assets/logo.svg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(MINE)
    return folder


def test_a_bundle_keeps_the_site_around_it(here: Path, site: Path) -> None:
    before = contents(site)
    _bundle(here, site)
    first = contents(site)
    assert before.items() <= first.items()
    _bundle(here, site)
    assert contents(site) == first
    save(balanced(one_logit_cnn(seed=1), images(40)), here / "own/model.onnx")
    _bundle(here, site)
    second = contents(site)
    assert before.items() <= second.items()
    chunks = {name for name in first if name.startswith("assets/full.")}
    assert chunks
    assert not chunks & set(second)  # of the earlier model nothing is left


def test_a_bundle_made_again_keeps_what_was_added(here: Path) -> None:
    _bundle(here, here / "site")
    for name in (".git/config", "about.html", "CNAME"):
        (here / "site" / name).parent.mkdir(exist_ok=True)
        (here / "site" / name).write_bytes(MINE)
    before = contents(here / "site")
    _bundle(here, here / "site")
    assert contents(here / "site") == before


def test_what_another_command_wrote_is_no_part_of_the_bundle(here: Path) -> None:
    _compile(here, here / "site")
    weights = (here / "site/weights.bin").read_bytes()
    _bundle(here, here / "site")
    _bundle(here, here / "site")
    assert (here / "site/weights.bin").read_bytes() == weights


def test_a_chunk_that_was_edited_is_not_removed(here: Path, site: Path) -> None:
    _bundle(here, site)
    chunk = next(site.glob("assets/full.*.bin"))
    chunk.write_bytes(MINE)
    save(balanced(one_logit_cnn(seed=1), images(40)), here / "own/model.onnx")
    _bundle(here, site)
    assert chunk.read_bytes() == MINE


def _without_record(site: Path) -> None:
    """Leave what a version without records would have left, but for the files without a hash."""
    (site / RECORD).unlink()
    for name in names_of(Shape()):
        if not name.startswith("manifest.json"):
            (site / name).unlink()


def test_a_bundle_of_a_version_without_records_is_known_by_its_manifest(
    here: Path, site: Path
) -> None:
    _bundle(here, site)
    chunks = {n for n in contents(site) if n.startswith("assets/full.")}
    record = (site / RECORD).read_bytes()
    (site / RECORD).unlink()
    with pytest.raises(OutputError, match=r"LICENSES\.txt") as found:
        _bundle(here, site)
    assert "manifest.json" not in str(found.value)
    (site / RECORD).write_bytes(record)
    _without_record(site)
    save(balanced(one_logit_cnn(seed=1), images(40)), here / "own/model.onnx")
    _bundle(here, site)
    assert {Path(name).suffix for name in chunks} == {".bin", ".br", ".gz"}
    assert not chunks & set(contents(site))
    assert (site / "assets/logo.svg").read_bytes() == MINE


def test_a_strangers_manifest_makes_no_file_of_the_users_sprats(here: Path, site: Path) -> None:
    _bundle(here, site)
    _without_record(site)
    before = contents(site)
    manifest = (site / "manifest.json").read_text()
    edited = next(site.glob("assets/full.*.bin.br"))
    edited.write_bytes(brotli.compress(bytes(9 << 20)))
    chunk = json.loads(manifest)["models"][0]["chunks"][0]
    for name in ("about.html", ".git/config", "assets/logo.svg", "../own/data.npz"):
        theirs = manifest.replace(chunk["path"], name).replace(chunk["sha256"], sha256(MINE))
        (site / "manifest.json").write_text(theirs)
        found = read_manifest(site)
        assert found is not None
        known = earlier_files(site, found)
        assert name not in known
        assert edited.relative_to(site).as_posix() not in known
    assert contents(site).keys() == before.keys()


def test_a_strangers_record_removes_nothing_hidden(here: Path, site: Path) -> None:
    _bundle(here, site)
    record = (site / RECORD).read_text()
    entry = f'"by": "bundle", "sha256": ["{sha256(MINE)}"]'
    names = [".git/config", "../own/notes.txt", str(here / "own/notes.txt"), "link/notes.txt"]
    (here / "own/notes.txt").write_bytes(MINE)
    (site / "link").symlink_to(here / "own")
    added = "".join(f'"{name}": {{{entry}}},' for name in names)
    (site / RECORD).write_text(record.replace('"files": {', f'"files": {{{added}', 1))
    _bundle(here, site)
    assert (site / ".git/config").read_bytes() == MINE
    assert (here / "own/notes.txt").read_bytes() == MINE


# the work folder is believed where this user's runs wrote it


def test_a_strangers_work_is_not_believed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _optimize(here, here / "mine")
    honest = (here / "mine/model.onnx").read_bytes()
    entries = [path for path in (here / "mine/.work").iterdir() if path.suffix == ".bin"]
    assert entries
    poison = load(here / "own/model.onnx")
    poison.graph.initializer[0].raw_data = bytes(len(poison.graph.initializer[0].raw_data))
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "stranger"))
    for path in entries:
        write_sealed(path, poison.SerializeToString())
    monkeypatch.undo()
    _optimize(here, here / "mine")
    assert (here / "mine/model.onnx").read_bytes() == honest


def test_an_entry_is_believed_only_whole_in_its_place_and_by_its_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    entry = write_sealed(tmp_path / "work/a.bin", b"made")
    whole = entry.read_bytes()
    assert read_sealed(entry) == b"made"
    assert stat.S_IMODE((tmp_path / "state/sprat/key").stat().st_mode) == 0o600
    for i in range(len(whole)):
        entry.write_bytes(whole[:i])
        assert read_sealed(entry) is None
        entry.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        assert read_sealed(entry) is None
    (tmp_path / "work/b.bin").write_bytes(whole)
    assert read_sealed(tmp_path / "work/b.bin") is None
    entry.unlink()
    (tmp_path / "elsewhere").write_bytes(whole)
    entry.symlink_to(tmp_path / "elsewhere")
    assert read_sealed(entry) is None
    entry.unlink()
    entry.write_bytes(whole)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert read_sealed(entry) is None


def test_an_entry_that_was_edited_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path, {"seed": 0})
    store.content({"graph": 1}, lambda: b"right")
    (entry,) = tmp_path.iterdir()
    for wrong in (b"wrong", entry.read_bytes()[:-1], b""):
        entry.write_bytes(wrong)
        assert not store.has({"graph": 1}, "bin")
        assert store.content({"graph": 1}, lambda: b"right") == b"right"


def test_a_home_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    entry = write_sealed(tmp_path / "work/a.bin", b"made")
    assert read_sealed(entry) == b"made"


# the log


@pytest.mark.parametrize("content", [MINE, b'{"date":"2020"}\n', b"\n", b"\n[1]\n", b"\x00"])
def test_a_log_of_somebody_elses_grows_by_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history.jsonl").write_bytes(content)
    with pytest.raises(OutputError, match=r"history\.jsonl"):
        append(tmp_path, LogEntry(date="now", operation="try", result="well"))
    assert (tmp_path / "history.jsonl").read_bytes() == content


# the law

NAMES = st.sampled_from(["a.txt", "b.txt", "d/a.txt", "d/b.txt", "d", "e", RECORD])
THINGS = st.one_of(
    st.tuples(st.just("file"), st.sampled_from([b"1", b"2", b"mine"])),
    st.sampled_from([("link", b""), ("dangling", b""), ("folder", b""), ("pipe", b"")]),
)
FILES = st.dictionaries(
    st.sampled_from(["a.txt", "b.txt", "d/a.txt", "d/b.txt", "e"]),
    st.sampled_from([b"1", b"2", b"3"]),
    max_size=4,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), FILES),
        st.tuples(st.just("write all"), FILES),
        st.tuples(st.just("user"), st.tuples(NAMES, THINGS)),
    ),
    min_size=1,
    max_size=8,
)


@given(steps=STEPS)
def test_whatever_is_there_only_what_was_written_is_replaced(
    steps: list[tuple[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = tmp_path_factory.mktemp("law")
    out, outside = here / "out", here / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "a.txt").write_bytes(MINE)
    ours: dict[str, bytes] = {}  # what Sprat wrote last
    for kind, what in steps:
        if kind == "user":
            _put(out / what[0], what[1], outside)
            continue
        before, folder = contents(out), OutputFolder(out, "law")
        try:
            folder.write(what) if kind == "write" else folder.write_all(what)
        except OutputError:
            assert contents(out) == before
        else:
            after = contents(out)
            assert what.items() <= after.items()
            changed = {n for n, c in before.items() if after.get(n) != c} - {RECORD}
            files = {n for n in changed if before[n] != stat.S_IFDIR}
            assert all(before[n] == ours.get(n) for n in files)
            written = {n: c for n, c in what.items() if before.get(n) != c or ours.get(n) == c}
            ours = written if kind == "write all" else ours | written
        assert contents(outside) == {"a.txt": MINE}
    shutil.rmtree(here)


def _put(path: Path, thing: tuple[str, bytes], outside: Path) -> None:
    """Have the user put something into a place, whatever is there."""
    if path.parent.is_symlink() or not path.parent.is_dir():
        return
    if os.path.lexists(path):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    kind, content = thing
    if kind == "file":
        path.write_bytes(content)
    elif kind == "link":
        path.symlink_to(outside)
    elif kind == "dangling":
        path.symlink_to(outside / "nothing")
    else:
        path.mkdir() if kind == "folder" else os.mkfifo(path)
