"""The parts of distillation, on small real networks: students, views, teacher, export."""

from __future__ import annotations

import importlib
import io
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from sprat.data.dataset import Sample
from sprat.data.preprocess import Preprocess
from sprat.data.sets import TensorSet, row_digests
from sprat.distillation.augment import augmentation, drawing, ground, is_drawing, photo
from sprat.distillation.configs import Recipe, Student
from sprat.distillation.contract import Contract, Terms, contract_of
from sprat.distillation.export import check_opset, export
from sprat.distillation.frame import Intake, Whole, intake_of
from sprat.distillation.learner import Learner
from sprat.distillation.losses import UNLABELLED
from sprat.distillation.students import NAMES, build
from sprat.distillation.teacher import Teacher
from sprat.distillation.views import Views
from sprat.errors import ExportError, OptionError, UnsupportedModelError
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import guess_reading
from sprat.lean.compile import compile_model
from sprat.model.nodes import all_nodes
from sprat.model.session import Feeds, open_session, run
from tests import models


class Small(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Two convolutions, the first with BatchNorm: ``[N, channels, h, w]`` to ``[N, columns]``."""

    def __init__(self, columns: int = 1, channels: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish()
        )
        self.head = nn.Linear(8, columns)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def lived_in(body: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Give BatchNorm statistics that are not those of a new network."""
    with torch.no_grad():
        body(3 * torch.rand(8, *shape) + 1)
    return body.eval()


def test_a_settled_student_knows_what_its_normalization_sees() -> None:
    torch.manual_seed(0)
    learner = Learner(Small(), Recipe(), torch.device("cpu"), 10)
    before = [p.clone() for p in learner.mean.parameters()]
    batches = [5 * torch.rand(4, 3, 8, 8) + 2 for _ in range(3)]
    learner.settle(batches)
    conv, norm = learner.mean.module.body[0], learner.mean.module.body[1]
    seen = conv(torch.cat(batches))
    assert torch.allclose(norm.running_mean, seen.mean((0, 2, 3)), atol=1e-5)
    assert norm.running_var.isclose(seen.var((0, 2, 3)), rtol=0.1).all()
    assert norm.momentum == 0.1
    assert all(map(torch.equal, before, learner.mean.parameters()))


def contract(
    teacher: onnx.ModelProto, feeds: Feeds, kind: Any = None, layout: str = "nchw"
) -> Contract:
    outputs = run(open_session(teacher), feeds)
    reading, _ = guess_reading(teacher, outputs, kind=kind)
    return contract_of(teacher, reading, feeds, outputs, layout)


def retyped(
    tail: list[onnx.NodeProto],
    *,
    kind: int = TensorProto.FLOAT,
    shape: tuple[Any, ...] = ("n", 3, 16, 16),
    out: tuple[int, tuple[Any, ...]] = (TensorProto.FLOAT, ("n", 4)),
) -> onnx.ModelProto:
    """Return a network with another kind of input in front, and ``tail`` behind."""
    model = models.cnn_with_batch_norm()
    graph = model.graph
    head = [helper.make_node("Cast", ["picture"], ["plain"], to=TensorProto.FLOAT)]
    if shape[1] != 3:
        head.append(helper.make_node("Transpose", ["plain"], ["input"], perm=[0, 3, 1, 2]))
    else:
        head[0].output[0] = "input"
    nodes = [*head, *graph.node, *tail]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "t", [value("picture", kind, shape)], [value("answer", *out)], graph.initializer
    )
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(whole, full_check=True)
    return whole


def pictures(count: int, *, seed: int = 0) -> Any:
    return models.images(count, seed=seed)


def as_set(arrays: dict[str, Any]) -> TensorSet:
    samples = [Sample(str(i), digest) for i, digest in enumerate(row_digests(arrays))]
    return TensorSet(arrays, samples, ())


# students


@pytest.mark.parametrize("name", NAMES)
def test_every_student_gives_a_value_a_column(name: str) -> None:
    body, notes = build(Student(name), 5, 3, (32, 32))
    assert notes == ()
    assert body.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "resnet18"])
def test_width_scales_the_channels(name: str) -> None:
    counts = [
        sum(p.numel() for p in build(Student(name, width), 1, 1, (32, 32))[0].parameters())
        for width in (0.5, 1.0)
    ]
    assert counts[0] < 0.5 * counts[1]


def test_a_width_of_one_is_the_network_of_torchvision() -> None:
    from sprat.distillation.students import _torchvision

    for name in ("efficientnet_b0", "shufflenet_v2_x0_5", "mnasnet0_75"):
        usual = _torchvision(name, 1.0, 7).state_dict()
        ours = _torchvision(name, 1.0 + 1e-9, 7).state_dict()
        assert {k: v.shape for k, v in usual.items()} == {k: v.shape for k, v in ours.items()}


def test_grey_pictures_go_into_one_channel() -> None:
    for name in ("mobilenet_v3_small", "resnet18", "shufflenet_v2_x0_5", "efficientnet_b0"):
        body, _ = build(Student(name), 2, 1, (32, 32))
        assert body.eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 2)


def test_the_users_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets_of_mine.py").write_text(
        "from torch import nn\n"
        "def small(*, columns, channels, size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size[0] * size[1], columns))\n"
        "def number(*, columns, channels, size):\n"
        "    return 1\n"
        "def fails(*, columns, channels, size):\n"
        "    raise ValueError('no such size')\n"
    )
    body, _ = build(Student("nets_of_mine:small"), 3, 1, (8, 9))
    assert body(torch.zeros(2, 1, 8, 9)).shape == (2, 3)
    with pytest.raises(OptionError, match="gave int; it must give"):
        build(Student("nets_of_mine:number"), 3, 1, (8, 8))
    with pytest.raises(OptionError, match=r"cannot be imported .AttributeError"):
        build(Student("nets_of_mine:nothing"), 3, 1, (8, 8))
    with pytest.raises(OptionError, match=r"--student: .*ValueError: no such size.*called as"):
        build(Student("nets_of_mine:fails"), 3, 1, (8, 8))
    with pytest.raises(OptionError, match=r"--weights imagenet: there are none for .*state dict"):
        build(Student("nets_of_mine:small", weights="imagenet"), 3, 1, (8, 8))
    with pytest.raises(
        OptionError, match=r"--student: names no function. Give package.module:function"
    ):
        build(Student("nets_of_mine:"), 3, 1, (8, 8))


def test_students_that_there_are_not() -> None:
    with pytest.raises(OptionError, match="no network 'mobilenet'; torchvision has efficientnet"):
        build(Student("mobilenet"), 1, 3, (32, 32))
    with pytest.raises(OptionError, match="resnet18 comes in one width"):
        build(Student("resnet18", 0.5), 1, 3, (32, 32))
    with pytest.raises(OptionError, match="--width"):
        build(Student(width=0), 1, 3, (32, 32))


def test_weights_from_a_file_but_for_the_last_layer(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first, _ = build(Student(width=0.25), 10, 3, (32, 32))
    torch.save(first.state_dict(), tmp_path / "w.pt")
    body, notes = build(Student(width=0.25, weights=str(tmp_path / "w.pt")), 2, 3, (32, 32))
    assert "tensors begin with the weights of" in notes[0]
    assert torch.equal(body.features[0][0].weight, first.features[0][0].weight)
    assert body.classifier[3].weight.shape == (2, 256)


def test_weights_that_do_not_fit_or_cannot_be_read(tmp_path: Path) -> None:
    def fails(path: Path, words: str) -> None:
        with pytest.raises(OptionError, match=words):
            build(Student(width=0.25, weights=str(path)), 2, 3, (32, 32))

    fails(tmp_path / "no.pt", "No such file")
    (tmp_path / "page.pt").write_text("<!doctype html>")
    fails(tmp_path / "page.pt", "is no state dict")
    torch.save([1, 2], tmp_path / "list.pt")
    fails(tmp_path / "list.pt", "something else than a state dict")
    torch.save(Small(), tmp_path / "whole.pt")  # a pickle that would run code
    fails(tmp_path / "whole.pt", "is no state dict")
    torch.save({"x": torch.zeros(3)}, tmp_path / "other.pt")
    fails(tmp_path / "other.pt", "none of the 1 tensors fits mobilenet_v3_small at width 0.25")


def test_timms_networks_keep_the_weights_that_timm_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where torchvision has a network of that name, but none that can be a student."""
    (tmp_path / "timm.py").write_text(
        "import torch\n"
        "def is_model(name): return name == 'resnet34'\n"
        "def create_model(name, pretrained, num_classes, in_chans):\n"
        "    made = torch.nn.Linear(in_chans, num_classes)\n"
        "    torch.nn.init.constant_(made.weight, 7.0 if pretrained else 0.0)\n"
        "    return made\n"
    )
    monkeypatch.setitem(sys.modules, "timm", None)  # put back what is there now afterwards
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.syspath_prepend(tmp_path)
    body, notes = build(Student("resnet34", weights="imagenet"), 2, 3, (32, 32))
    assert notes == ("resnet34 begins with the weights that timm has for it",)
    assert all((p == 7).all() for name, p in body.named_parameters() if name == "weight")
    (tmp_path / "timm.py").write_text(
        "def is_model(name): return name == 'resnet34'\n"
        "def create_model(name, pretrained, num_classes, in_chans):\n"
        "    raise OSError('no route to the hub' if pretrained else 'no such width')\n"
    )
    monkeypatch.delitem(sys.modules, "timm")
    importlib.invalidate_caches()
    hint = r"--weights imagenet: timm cannot make resnet34 .*no route to the hub.*--weights FILE"
    with pytest.raises(OptionError, match=hint):
        build(Student("resnet34", weights="imagenet"), 2, 3, (32, 32))
    with pytest.raises(OptionError, match=r"--student: timm cannot make resnet34 .*no such width"):
        build(Student("resnet34"), 2, 3, (32, 32))


def test_imagenet_without_a_network_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound and not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        for name in ("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        # urllib keeps the first opener that it makes, and with it that opener's proxies.
        monkeypatch.setattr(urllib.request, "_opener", None)
        with pytest.raises(OptionError, match=r"pth cannot be downloaded .*--weights none"):
            build(Student(weights="imagenet"), 2, 3, (32, 32))
    with pytest.raises(OptionError, match="for mobilenet_v3_small at width"):
        build(Student(width=0.5, weights="imagenet"), 2, 3, (32, 32))


def test_imagenets_normalization_comes_with_its_weights() -> None:
    teacher = models.one_logit_cnn()
    feeds = {"input": pictures(2)}
    how = Preprocess("input", (16, 16), "stretch", None, "rgb", "nchw", 1 / 255, (0,) * 3, (1,) * 3)
    c = contract(teacher, feeds)
    pixels = torch.rand(2, 3, 16, 16)
    wanted = (pixels - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    torch.testing.assert_close(intake_of(c, Student(weights="imagenet"), how)(pixels), wanted)
    assert torch.equal(intake_of(c, Student(), how)(pixels), pixels)


# views


def doodle(count: int = 6, ink: float = -1.0) -> Tensor:
    x = torch.full((count, 1, 32, 32), -ink)
    x[:, :, 10:22, 12:14] = ink
    x[:, :, 12:14, 8:20] = ink
    return x


def test_drawings_are_told_from_photos() -> None:
    assert is_drawing(doodle())
    assert is_drawing(doodle(ink=1.0))
    assert not is_drawing(torch.rand(6, 3, 32, 32))
    for pictures, kind in ((doodle(), "drawing"), (torch.rand(6, 3, 32, 32), "photo, mirrored")):
        assert augmentation(Recipe(), pictures)[1] == kind
    assert augmentation(Recipe(augment="photo"), None)[1] == "none"
    same, _ = augmentation(Recipe(augment="none"), doodle())
    assert torch.equal(same(doodle(), torch.Generator()), doodle())


@pytest.mark.parametrize("ink", [-1.0, 1.0])
def test_a_drawing_stays_a_drawing(ink: float) -> None:
    x = doodle(16, ink)
    views = drawing(x, torch.Generator().manual_seed(0), mirror=False)
    again = drawing(x, torch.Generator().manual_seed(0), mirror=False)
    assert torch.equal(views, again)
    assert torch.equal(ground(views), ground(x))
    assert float(views.min()) >= -1.001
    assert float(views.max()) <= 1.001
    differ = {float((views[0] - view).abs().sum()) for view in views}
    assert len(differ) == 16  # each picture in its own way
    inked = ((views - ground(x)).abs() > 0.5).float().mean((1, 2, 3))
    before = float(((x[0] - ground(x)[0]).abs() > 0.5).float().mean())
    assert (inked > 0.3 * before).all()
    assert (inked < 4 * before).all()
    assert float(inked.min()) < before < float(inked.max())  # thinner ones and thicker ones


def test_photos_are_cut_within() -> None:
    x = torch.rand(8, 3, 24, 32)
    views = photo(x, torch.Generator().manual_seed(0), mirror=True)
    assert views.shape == x.shape
    assert torch.isfinite(views).all()
    assert not torch.equal(views, x)


def test_views_are_kept_or_made_anew(tmp_path: Path) -> None:
    images = pictures(5)
    c = contract(models.one_logit_cnn(), {"input": images})
    intake = Intake(c, (8, 8))
    kept = Views(as_set({"input": images}), c, intake)
    anew = Views(as_set({"input": images}), c, intake, limit_bytes=0)
    assert len(kept) == 5
    assert torch.equal(kept[[3, 1]], anew[[3, 1]])
    torch.testing.assert_close(
        kept[[0]], torch.from_numpy(images[:1]).reshape(1, 3, 8, 2, 8, 2).mean((3, 5))
    )


# teacher


def test_the_teacher_answers_each_sample_once(tmp_path: Path) -> None:
    teacher = models.one_logit_cnn()
    images = pictures(300)
    c = contract(teacher, {"input": images[:2]})
    wanted: Any = predict_all(teacher, as_set({"input": images}), 8)["output"][:, 0]
    heard: list[float] = []
    answers = Teacher(c, None, tmp_path).answers(
        as_set({"input": images[:200]}), lambda _s, done, _t: heard.append(done)
    )
    np.testing.assert_allclose(answers.numpy(), wanted[:200], atol=1e-5)
    assert heard == [128, 200]
    heard.clear()
    more = Teacher(c, None, tmp_path).answers(
        as_set({"input": images}), lambda _s, done, _t: heard.append(done)
    )
    assert heard == [300]
    assert torch.equal(more[:200], answers)
    on_views = Teacher(c, None, tmp_path).on_views(torch.from_numpy(images[:21]))
    np.testing.assert_allclose(on_views.numpy(), wanted[:21], atol=1e-5)


def test_damaged_or_forged_answers_are_asked_for_again(tmp_path: Path) -> None:
    c = contract(models.one_logit_cnn(), {"input": pictures(2)})
    samples = as_set({"input": pictures(2)})
    honest = Teacher(c, None, tmp_path).answers(samples)
    (kept,) = tmp_path.glob("*.npz")
    forged = io.BytesIO()
    digests = np.array([sample.digest for sample in samples.samples], dtype="S")
    np.savez(forged, digests=digests, values=np.full((2, 1), 9.0, np.float32))
    for content in (b"", b"PK\x03\x04", b"<!doctype html>", forged.getvalue()):
        kept.write_bytes(content)
        assert torch.equal(Teacher(c, None, tmp_path).answers(samples), honest)


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    teacher = models.one_logit_cnn()
    for value in (*teacher.graph.input, *teacher.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    images = pictures(6)
    c = contract(teacher, {"input": images[:4]})
    answers = Teacher(c, 4, tmp_path)
    kept = answers.answers(as_set({"input": images}))
    assert torch.equal(kept, answers.on_views(torch.from_numpy(images)))
    assert kept.shape == (6,)


def test_probabilities_become_scores_again() -> None:
    teacher = retyped([helper.make_node("Softmax", ["output"], ["answer"], axis=-1)])
    feeds = {"picture": pictures(5)}
    c = contract(teacher, feeds)
    assert c.probability
    assert c.kind == "classes"
    p: Any = run(open_session(teacher), feeds)["answer"]
    scores = Terms(c).of_teacher(p)
    np.testing.assert_allclose(scores.softmax(-1).numpy(), p, atol=1e-6)
    assert torch.equal(Terms(c).columns_of([3, None, 0]), torch.tensor([3, UNLABELLED, 0]))
    with pytest.raises(OptionError, match="a class 4, and the teacher knows 4"):
        Terms(c).columns_of([4])


def test_teachers_that_cannot_be_followed() -> None:
    images = pictures(2)
    two = models.one_logit_cnn()
    two.graph.output.append(helper.make_tensor_value_info("pool", TensorProto.FLOAT, None))
    with pytest.raises(UnsupportedModelError, match=r"2 outputs \(output, pool\)"):
        contract(two, {"input": images})
    whole = retyped(
        [helper.make_node("ArgMax", ["output"], ["answer"], axis=1, keepdims=0)],
        out=(TensorProto.INT64, ("n",)),
    )
    with pytest.raises(UnsupportedModelError, match="float32 to int64"):
        contract(whole, {"picture": images})
    labels = retyped(
        [helper.make_node("Sigmoid", ["output"], ["answer"])],
        out=(TensorProto.FLOAT, ("n", 4)),
    )
    with pytest.raises(UnsupportedModelError, match="a Sigmoid over each of several columns"):
        contract(labels, {"picture": images}, kind="classes")


def test_classes_with_axes_of_one_behind_them_stay_a_distribution() -> None:
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[2, 3])
    tail = [
        axes,
        helper.make_node("Unsqueeze", ["output", "axes"], ["square"]),
        helper.make_node("Softmax", ["square"], ["answer"], axis=1),
    ]
    teacher = retyped(tail, out=(TensorProto.FLOAT, ("n", 4, 1, 1)))
    c = contract(teacher, {"picture": pictures(3)}, kind="classes")
    whole = Whole(c, intake_of(c, Student(), None), Small(c.columns, 3)).eval()
    with torch.no_grad():
        found = whole(torch.from_numpy(pictures(3)))
    assert found.shape == (3, 4, 1, 1)
    assert torch.allclose(found.sum(1), torch.ones(3, 1, 1), atol=1e-6)
    assert (found < 1).all()


# export


def exported(
    teacher: onnx.ModelProto,
    feeds: Feeds,
    *,
    size: tuple[int, int] | None = None,
    opset: int = 17,
    layout: str = "nchw",
    body: nn.Module | None = None,
) -> tuple[onnx.ModelProto, Contract]:
    c = contract(teacher, feeds, layout=layout)
    torch.manual_seed(0)
    inner = body or Small(c.columns, c.shape[0])
    looked_at = size or c.shape[1:]
    lived_in(inner, (c.shape[0], *looked_at))
    whole = Whole(c, intake_of(c, Student(size=size), None), inner).eval()
    model = export(whole, c, feeds, opset)
    got = run(open_session(model), feeds)[c.output]
    with torch.no_grad():
        wanted = whole(torch.from_numpy(feeds[c.input])).numpy()
    assert got.dtype == wanted.dtype
    np.testing.assert_allclose(
        got.astype(np.float32), wanted.astype(np.float32), atol=1e-4, rtol=1e-3
    )
    return model, c


@pytest.mark.parametrize("opset", [13, 17, 20, 21])
def test_the_export_is_of_the_opset_that_was_asked_for(opset: int) -> None:
    teacher, feeds = models.one_logit_cnn(), {"input": pictures(5)}
    model, _ = exported(teacher, feeds, opset=opset)
    assert [(o.domain, o.version) for o in model.opset_import if o.domain == ""] == [("", opset)]
    assert not [n for n in model.graph.node if n.op_type == "BatchNormalization"]
    assert model.graph.input == teacher.graph.input
    assert model.graph.output == teacher.graph.output
    run(open_session(model), {"input": pictures(9)})  # the batch is still dynamic
    again, _ = exported(teacher, feeds, opset=opset)
    assert model.SerializeToString(deterministic=True) == again.SerializeToString(
        deterministic=True
    )
    assert b"/" + str(Path.home()).encode()[1:] not in model.SerializeToString()


def test_opsets_that_cannot_be_written() -> None:
    for opset in (12, 99):
        with pytest.raises(OptionError, match=f"must be 13 to .*, got {opset}"):
            check_opset(opset)


def test_another_answer_than_torchs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sprat.distillation.export.TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="differ from torch's"):
        exported(models.one_logit_cnn(), {"input": pictures(2)})


class Otherwise(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Is another network while it is exported: gives one row only, or fails."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__()
        self.small = Small()
        self.fails = fails

    def forward(self, x: Tensor) -> Tensor:
        if not torch.onnx.is_in_onnx_export():
            return self.small(x)
        if self.fails:
            raise RuntimeError("not today")
        return self.small(x)[:1]


def test_a_network_that_changes_while_it_is_exported() -> None:
    feeds = {"input": pictures(3)}
    with pytest.raises(ExportError, match=r"exported student gives \[1, 1\], torch gives \[3, 1\]"):
        exported(models.one_logit_cnn(), feeds, body=Otherwise(fails=False))
    said = "--student: torch cannot export it at opset 17 .*RuntimeError: not today"
    with pytest.raises(OptionError, match=said):
        exported(models.one_logit_cnn(), feeds, body=Otherwise(fails=True))


def test_another_opset_than_asked_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    given = torch.onnx.export
    monkeypatch.setattr(
        torch.onnx, "export", lambda *a, **k: given(*a, **k | {"opset_version": 16})
    )
    with pytest.raises(ExportError, match="wrote opset 16 where 17 was asked for"):
        exported(models.one_logit_cnn(), {"input": pictures(2)})


@pytest.mark.parametrize(
    ("size", "operators"),
    [
        ((8, 8), {"AveragePool"}),
        ((12, 12), {"Resize"}),
        ((6, 7), {"AveragePool", "Resize"}),
        ((24, 20), {"Resize"}),
    ],
)
def test_another_size_is_made_in_the_graph(size: tuple[int, int], operators: set[str]) -> None:
    teacher, feeds = models.one_logit_cnn(), {"input": pictures(3)}
    model, c = exported(teacher, feeds, size=size)
    assert model.graph.input == teacher.graph.input
    kinds = {n.op_type for n in all_nodes(model.graph)}
    assert kinds & {"AveragePool", "Resize"} == operators
    assert not kinds & {"Shape", "Slice", "Concat"}  # nothing is computed from the batch
    assert Intake(c, size)(torch.zeros(1, 3, 16, 16)).shape == (1, 3, *size)
    compile_model(model)  # the lean runtime has these nodes as well


@pytest.mark.parametrize(
    ("tail", "out"),
    [
        ([("Softmax", {"axis": -1})], (TensorProto.FLOAT, ("n", 4))),
        ([("Cast", {"to": TensorProto.FLOAT16})], (TensorProto.FLOAT16, ("n", 4))),
        ([("Reshape", {})], (TensorProto.FLOAT, ("n", 2, 2))),
    ],
)
def test_every_kind_of_output_is_kept(tail: list[Any], out: Any) -> None:
    (operator, attributes) = tail[0]
    inputs = ["output", "shape"] if operator == "Reshape" else ["output"]
    nodes = [helper.make_node(operator, inputs, ["answer"], **attributes)]
    if operator == "Reshape":
        value = helper.make_tensor("shape", TensorProto.INT64, [3], [-1, 2, 2])
        nodes.insert(0, helper.make_node("Constant", [], ["shape"], value=value))
    teacher = retyped(nodes, out=out)
    feeds = {"picture": pictures(3)}
    model, c = exported(teacher, feeds)
    got = run(open_session(model), feeds)["answer"]
    assert got.dtype == np.dtype(c.out_dtype)
    assert got.shape == (3, *out[1][1:])
    if operator == "Softmax":
        np.testing.assert_allclose(got.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (TensorProto.UINT8, ("n", 16, 16, 3)),
        (TensorProto.FLOAT16, ("n", 16, 16, 3)),
        (TensorProto.UINT8, ("n", 3, 16, 16)),
    ],
)
def test_every_kind_of_input_is_kept(kind: int, shape: tuple[Any, ...]) -> None:
    teacher = retyped(
        [helper.make_node("Identity", ["output"], ["answer"])], kind=kind, shape=shape
    )
    dtype = np.uint8 if kind == TensorProto.UINT8 else np.float16
    pixels = np.random.default_rng(0).integers(0, 255, (3, *shape[1:])).astype(dtype)
    layout = "nhwc" if shape[3] == 3 else "nchw"
    model, c = exported(teacher, {"picture": pixels}, size=(8, 8), layout=layout)
    assert c.shape == (3, 16, 16)
    assert model.graph.input == teacher.graph.input
    assert torch.equal(
        c.planes(c.feeds(c.planes({"picture": pixels}))), c.planes({"picture": pixels})
    )


def test_a_fixed_batch_stays_fixed() -> None:
    teacher = models.one_logit_cnn()
    for value in (*teacher.graph.input, *teacher.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    model, _ = exported(teacher, {"input": pictures(1)})
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5"])
def test_students_of_torchvision_are_exported(name: str) -> None:
    body, _ = build(Student(name, 0.5), 1, 3, (32, 32))
    feeds = {"input": pictures(2)}
    model, _ = exported(models.one_logit_cnn(), feeds, size=(32, 32), body=body)
    assert not [n for n in model.graph.node if n.op_type == "BatchNormalization"]
