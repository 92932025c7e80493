"""The figures of a summary, against the literature's tables and against sums written out here."""

from pathlib import Path

import pytest

from cnndsl.files import choose_network, load_path, load_text
from cnndsl.passes.elaborate import elaborate
from cnndsl.summary import Summary, summarize

EXAMPLES = Path(__file__).parents[1] / "examples"


def of_example(name: str, batch: int = 1) -> Summary:
    program = load_path(EXAMPLES / f"{name}.cnn")
    return summarize(elaborate(program, choose_network(program, None)), batch)


def of_text(body: str, batch: int = 1) -> Summary:
    program = load_text(f"network N {{ input x [6x6x4] {body} }}")
    return summarize(elaborate(program, choose_network(program, None)), batch)


def test_alexnet_is_the_published_table() -> None:
    rows = [(row.name, str(row.type)) for row in of_example("alexnet").rows]
    assert rows == [
        ("image", "[227x227x3]"),
        ("conv1", "[55x55x96]"),
        ("pool1", "[27x27x96]"),
        ("norm1", "[27x27x96]"),
        ("conv2", "[27x27x256]"),
        ("pool2", "[13x13x256]"),
        ("norm2", "[13x13x256]"),
        ("conv3", "[13x13x384]"),
        ("conv4", "[13x13x384]"),
        ("conv5", "[13x13x256]"),
        ("pool3", "[6x6x256]"),
        ("fc6", "[4096]"),
        ("fc7", "[4096]"),
        ("fc8", "[1000]"),
    ]


def test_alexnet_totals() -> None:
    summary = of_example("alexnet")
    assert (summary.parameters, summary.weights) == (62_378_344, 62_367_776)
    # 55*55*96*363 + 27*27*256*2400 + 169*(384*2304 + 384*3456 + 256*3456) + 4096*9216 + 4096*4096 + 4096*1000
    assert summary.macs == 1_135_256_096
    assert summary.flops == 2_270_512_192
    assert summary.weight_bytes == 4 * 62_378_344
    first = summary.rows[1]
    assert (first.text, first.weights, first.parameters) == (
        "conv(96, 11x11, stride=4) -> relu",
        11 * 11 * 3 * 96,
        11 * 11 * 3 * 96 + 96,
    )


def test_vgg16_is_the_published_table() -> None:
    """Values and weights of every row as the literature prints them, its slips mended."""
    rows = [(row.values, row.weights) for row in of_example("vgg16").rows]
    assert rows == [
        (150_528, 0),
        (3_211_264, 1_728),
        (3_211_264, 36_864),
        (802_816, 0),
        (1_605_632, 73_728),
        (1_605_632, 147_456),
        (401_408, 0),
        (802_816, 294_912),
        (802_816, 589_824),
        (802_816, 589_824),
        (200_704, 0),
        (401_408, 1_179_648),
        (401_408, 2_359_296),
        (401_408, 2_359_296),
        (100_352, 0),
        (100_352, 2_359_296),
        (100_352, 2_359_296),
        (100_352, 2_359_296),
        (25_088, 0),
        (4_096, 102_760_448),
        (4_096, 16_777_216),
        (1_000, 4_096_000),
    ]


def test_vgg16_totals() -> None:
    summary = of_example("vgg16", batch=3)
    assert (summary.parameters, summary.weights) == (138_357_544, 138_344_128)
    assert summary.macs == 15_470_264_320
    assert summary.values == sum(row.values for row in summary.rows) == 15_237_608
    assert summary.activation_bytes == 3 * 4 * 15_237_608
    assert summary.weight_bytes == 4 * 138_357_544


def test_running_statistics_are_no_parameters() -> None:
    summary = of_text("conv(8, 3x3, bias=false) -> batchnorm -> relu")
    assert [row.text for row in summary.rows] == ["input", "conv(8, 3x3, bias=false)", "batchnorm -> relu"]
    norm = summary.layers[2]
    assert (norm.weights, norm.biases, norm.buffers) == (8, 8, 16)
    assert summary.parameters == 8 * 4 * 9 + 16
    assert summary.buffers == 16
    assert summary.weight_bytes == 4 * (8 * 4 * 9 + 16 + 16)


def test_totals_are_the_sums_over_the_layers() -> None:
    summary = of_example("vgg16_bn")
    layers = summary.layers
    assert len(layers) == 52
    assert summary.parameters == sum(layer.weights + layer.biases for layer in layers)
    assert summary.macs == sum(layer.macs for layer in layers)
    assert summary.buffers == sum(layer.buffers for layer in layers) == 8_448


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("conv(4, 1x1) -> relu -> dropout -> elu", ["input", "conv(4, 1x1) -> relu -> dropout -> elu"]),
        # An activation of the input itself, and of a tensor that others read too, makes a tensor of its own.
        ("relu -> maxpool(2x2)", ["input", "relu", "maxpool(2x2)"]),
        ("a: conv(4, 1x1) -> relu -> add(@a)", ["input", "conv(4, 1x1)", "relu", "add"]),
        ("a: conv(4, 1x1) output side { relu } -> tanh", ["input", "conv(4, 1x1)", "relu", "tanh"]),
        # What is returned is not hidden in the row of what follows it.
        ("output side { lrn } conv(5, 1x1) -> relu", ["input", "lrn", "conv(5, 1x1) -> relu"]),
        ("add { { conv(4, 1x1) -> relu } { } } -> relu", ["input", "conv(4, 1x1) -> relu", "add -> relu"]),
        ("flatten -> dense(3) -> softmax", ["input", "flatten", "dense(3)", "softmax"]),
    ],
)
def test_what_follows_in_line_joins_the_row(body: str, rows: list[str]) -> None:
    assert [row.text for row in of_text(body).rows] == rows


def test_an_output_in_the_middle_keeps_its_own_row() -> None:
    summary = of_text("a: conv(4, 1x1) output side { @a } relu")
    assert dict(summary.outputs)["side"] == "a"
    assert [row.text for row in summary.rows] == ["input", "conv(4, 1x1)", "relu"]


def test_every_layer_is_in_one_row() -> None:
    summary = of_text("conv(4, 1x1) -> relu add { { relu } { conv(4, 1x1) -> tanh } } -> relu")
    names = [layer.name for layer in summary.layers]
    assert len(names) == len(set(names)) == 8
    for row in summary.rows:
        assert {layer.row for layer in row.layers} == {row.name}


def test_batch_scales_memory_alone() -> None:
    one, eight = of_text("conv(4, 3x3) -> relu"), of_text("conv(4, 3x3) -> relu", batch=8)
    assert eight.activation_bytes == 8 * one.activation_bytes == 8 * 4 * (6 * 6 * 4 + 4 * 4 * 4)
    assert (eight.macs, eight.values, eight.weight_bytes) == (one.macs, one.values, one.weight_bytes)


def test_memory_is_what_the_plan_takes() -> None:
    """Beside the arena, what is needed at once: two of the three convolutions' results, and no output."""
    summary = of_text("conv(32, 3x3, pad=1) conv(32, 1) conv(96, 1) relu conv(8, 1)", batch=3)
    assert summary.memory.arena == summary.memory.least == 36 * (32 + 96)
    assert summary.bytes_of(summary.memory.least) == 4 * 3 * 36 * 128
    # Both arms read what they begin with; the concat's buffer is taken before its second arm is there.
    summary = of_text("conv(64, 1) concat { { conv(64, 1) } { conv(128, 1) -> conv(64, 3, pad=1) } } conv(2, 1)")
    assert (summary.memory.arena, summary.memory.least) == (36 * (64 + 128 + 128), 36 * (64 + 64 + 128))
