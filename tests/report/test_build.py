"""What a page says, before it is a page."""

import math
from types import SimpleNamespace

import fakes
import pytest

from cnndsl import targets
from cnndsl.compiler import installation
from cnndsl.errors import CnnError, problem
from cnndsl.report import build, cost, gather, peaks
from cnndsl.report.model import Launch, Report, TargetPage


def small(**options) -> tuple[Report, TargetPage]:
    report = fakes.fake_report(fakes.graph_of(fakes.SMALL), **options)
    return report, report.targets[0]


def launch(page: TargetPage, title: str) -> Launch:
    (found,) = (each for each in page.launches if each.title.split(" ")[0] == title)
    return found


# --- costs -----------------------------------------------------------------------------------------

CONV = {
    # 32x32 pixels, 3 and 16 channels, 3x3 taps; fp16 activations and weights, an fp32 bias from the batch norm.
    "macs": 8 * 32 * 32 * 16 * 27,
    "read": [8 * 32 * 32 * 3 * 2, 16 * 27 * 2, 16 * 4],
    "written": 8 * 32 * 32 * 16 * 2,
}


def figures(found: Launch) -> dict[str, object]:
    return {"macs": found.macs, "read": [t.bytes for t in found.reads], "written": found.writes.bytes}


def test_cost_of_a_convolution() -> None:
    _, page = small(batch=8)
    found = launch(page, "conv1")
    assert figures(found) == CONV
    assert found.flops == 2 * CONV["macs"]
    assert found.bytes == sum(CONV["read"]) + CONV["written"]
    assert [t.kind for t in found.reads] == ["input", "weights", "weights"]


@pytest.mark.parametrize("changed", [{"batch": 4}, {"batch": 8, "dtype": "fp32"}])
def test_other_costs_are_noticed(changed) -> None:
    _, page = small(**changed)
    assert figures(launch(page, "conv1")) != CONV


def test_cost_of_a_join_of_five_and_of_an_arm_that_is_copied() -> None:
    text = """network Joins {
        input x [4x4x8]
        a: conv(8, 1x1) -> relu
        b: conv(8, 1x1) -> relu
        sum: add(@a, @x, @b, @a)
        concat(@x)
    }"""
    page = fakes.fake_report(fakes.graph_of(text), dtype="fp32").targets[0]
    value = 4 * 4 * 8 * 4
    sums = [each for each in page.launches if each.title == "sum"]
    assert [(each.part, len(each.reads), each.bytes) for each in sums] == [
        ("1 of 2", 4, 5 * value), ("2 of 2", 2, 3 * value),
    ]
    copies = [each for each in page.launches if each.title == "concat1"]
    assert [(len(each.reads), each.reads[0].name, each.bytes) for each in copies] == [(1, "x", 2 * value)]


def test_totals() -> None:
    report, page = small()
    assert page.totals.flops == sum(each.flops for each in page.launches)
    assert page.totals.weights == (16 * 27 + 10 * 16 * 16 * 16) * 2 + (16 + 10) * 4
    moved = sum(t.bytes for each in page.launches for t in (*each.reads, each.writes) if t.kind != "weights")
    assert page.totals.activations == moved
    # What stays in registers: the convolution's result, on its way to the activation.
    assert page.totals.fused == 2 * 32 * 32 * 16 * 2
    assert page.totals.seconds == pytest.approx(sum(each.seconds for each in page.launches))
    assert [layer.name for layer in report.layers] == [
        "image", "conv1", "batchnorm1", "relu1", "maxpool1", "dropout1", "fc",
    ]


# --- bounds ----------------------------------------------------------------------------------------


def test_bound_by_memory_and_by_arithmetic() -> None:
    peak = peaks.of(targets.get("sm_90"))
    page = fakes.fake_report(fakes.graph_of(fakes.EXAMPLES / "vgg19.cnn")).targets[0]
    conv, dense, pool = (launch(page, title) for title in ("stage3.conv2", "fc6", "stage1.maxpool1"))
    assert (conv.bound, conv.unit, conv.peak) == ("arithmetic", "matrix units in fp16", pytest.approx(989.4e12))
    assert conv.seconds == pytest.approx(conv.flops / 989.4e12)
    # One row of a matrix product is no tile: it is computed without matrix units.
    assert (dense.bound, dense.unit, dense.peak) == ("memory", "fp32 units", pytest.approx(66.9e12))
    assert dense.seconds == pytest.approx(dense.bytes / peak.bandwidth)
    assert (pool.bound, pool.flops) == ("memory", 0)


@pytest.mark.parametrize(("macs", "bound"), [(499, "memory"), (500, "memory"), (501, "arithmetic")])
def test_the_ridge(macs: int, bound: str) -> None:
    tensor = cost.Tensor("x", "input", "[1]", 50)
    peak = peaks.Peak(board="B", bandwidth=100.0, vector=1000.0, matrix={"fp16": 4000.0}, source="S")
    found = cost.limit(cost.Cost((tensor,), tensor, macs), peak, dtype="fp16", tiles=False)
    assert (found.bound, found.seconds) == (bound, max(1.0, 2 * macs / 1000))


def test_without_a_figure_nothing_is_claimed() -> None:
    peak = peaks.of(targets.get("gfx90a"))
    assert peak.arithmetic("tf32", tiles=True) is None
    page = fakes.fake_report(fakes.graph_of(fakes.SMALL), names=["gfx90a"], dtype="tf32").targets[0]
    assert (launch(page, "conv1").seconds, launch(page, "conv1").bound) == (None, None)
    assert launch(page, "maxpool1").bound == "memory"
    assert page.totals.seconds is None


def test_every_gpu_has_peaks_that_make_sense() -> None:
    assert set(peaks.PEAKS) == {target.name for target in targets.TARGETS if target.kind != "interpreter"}
    for peak in peaks.PEAKS.values():
        assert peak.matrix["fp16"] == peak.matrix["bf16"]
        assert peak.matrix["fp16"] > peak.matrix.get("tf32", 0) >= 0
        assert peak.matrix["fp32"] >= peak.vector
        assert 1e11 < peak.bandwidth < 1e13 < peak.vector < peak.matrix["fp16"] < 1e16
    assert peaks.of(targets.get("interpreter")) is None


# --- what belongs together -------------------------------------------------------------------------


def test_launches_know_their_layers_and_lines() -> None:
    report, page = small()
    found = launch(page, "conv1")
    assert found.title == "conv1 + batchnorm1 + relu1"
    assert [report.layers[i].name for i in found.layers] == ["conv1", "batchnorm1", "relu1"]
    assert found.places == ((0, 3),)
    assert page.fates["dropout1"] == ("free", "does nothing at inference")
    assert page.free == (("dropout1", "does nothing at inference"),)


def test_lines_of_blocks_come_after_those_of_layers() -> None:
    report = fakes.fake_report(fakes.graph_of(fakes.EXAMPLES / "vgg19.cnn"))
    assert [file.name.rsplit("/", 1)[-1] for file in report.files] == ["vgg19.cnn", "vgg.cnn"]
    found = launch(report.targets[0], "stage2.conv1")
    text = [report.files[file].text.splitlines()[line - 1].strip() for file, line in found.places]
    assert text[0].startswith("conv")
    assert text[-1].startswith("stage(2, 128)")
    assert found.title == "stage2.conv1 + relu1"


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["conv1", "relu1"], "conv1 + relu1"),
        (["a.b.conv1", "a.b.relu1", "a.b.c.add1"], "a.b.conv1 + relu1 + c.add1"),
        (["a.conv1", "b.relu1"], "a.conv1 + b.relu1"),
        (["aa.conv1", "ab.relu1"], "aa.conv1 + ab.relu1"),
    ],
)
def test_titles(names, title) -> None:
    assert gather._names(names) == title


def test_boundaries_of_a_launch_have_reasons_and_bytes() -> None:
    _, page = small(batch=2)
    found = launch(page, "maxpool1")
    assert [(each.source, each.to, each.bytes) for each in found.boundaries] == [
        ("relu1", "maxpool1", 2 * 2 * 32 * 32 * 16 * 2), ("maxpool1", "fc", 2 * 2 * 16 * 16 * 16 * 2),
    ]
    assert all(len(each.why) > 20 for each in found.boundaries)
    assert launch(page, "fc").boundaries[-1].to == "output main"


def test_every_line_of_every_stage_has_its_source_line() -> None:
    report, page = small()
    for kernel in page.kernels:
        texts = report.texts[kernel.texts]
        assert list(texts) == ["source", "ttir", "ptx", "sass"]
        for stage in ("ttir", "ptx", "sass"):
            assert len(texts[stage].map) == len(texts[stage].text.splitlines())
        body = fakes.body_lines(texts["source"].text)
        assert [line for line in texts["sass"].map if line] == [body[i * 7 % len(body)] for i in range(150)]


# --- machines --------------------------------------------------------------------------------------


def test_the_interpreter_has_no_machine_code() -> None:
    report, page = small(names=["interpreter"], dtype="fp32")
    assert "no machine code" in page.note
    assert (page.peak, page.totals.seconds) == (None, None)
    assert all(list(texts) == ["source"] for texts in report.texts.values())
    assert all(kernel.resources is None and kernel.error is None for kernel in page.kernels)


def test_without_triton_there_are_the_sources(monkeypatch) -> None:
    def missing() -> None:
        raise problem("E0601", "compiling a kernel needs Triton, which is not installed")

    monkeypatch.setattr(installation, "find", missing)
    report = build(fakes.graph_of(fakes.SMALL), targets=[targets.get("sm_90")], dtype="fp16")
    assert report.versions["triton"] is None
    assert "Triton is not installed" in report.targets[0].note
    assert all(list(texts) == ["source"] for texts in report.texts.values())


def test_other_errors_are_passed_on(monkeypatch) -> None:
    def unavailable(jobs, **_) -> None:
        raise problem("E0705", "the installed Triton cannot compile for sm_120")

    monkeypatch.setattr(gather, "compile_kernels", unavailable)
    monkeypatch.setattr(installation, "find", lambda: SimpleNamespace(version="1"))
    with pytest.raises(CnnError) as caught:
        build(fakes.graph_of(fakes.SMALL), targets=[targets.get("sm_120")], dtype="fp16")
    assert [d.code for d in caught.value.diagnostics] == ["E0705"]


def test_a_kernel_that_failed_is_shown_with_its_error(two: Report) -> None:
    for page in two.targets:
        failed = [kernel for kernel in page.kernels if kernel.error is not None]
        assert [kernel.name for kernel in failed] == ["inception2_conv1"]
        assert list(two.texts[failed[0].texts]) == ["source"]
        assert failed[0].resources is None


def test_figures_to_worry_about_are_marked() -> None:
    _, page = small(spilling=["conv1"])
    levels = {kernel.name: {row[0]: row[3] for row in kernel.facts} for kernel in page.kernels}
    assert levels["conv1"]["Spills"] == "bad"
    assert levels["maxpool1"]["Spills"] == "good"
    assert math.isclose(page.kernels[0].resources.occupancy, 25)
