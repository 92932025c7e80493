"""How single things are written: names, references, side outputs, numbers, comments; and very deep networks."""

from collections.abc import Mapping

import pytest

from cnndsl.exchange.model import Builder, Model
from cnndsl.exchange.write import write
from cnndsl.exchange.write.compose import composed, idiomatic
from cnndsl.exchange.write.normal import normalised
from cnndsl.ir import InputSpec, TensorType
from cnndsl.ops.activations import LeakyRelu, Relu, Sigmoid
from cnndsl.ops.base import Op
from cnndsl.ops.conv import Conv
from cnndsl.ops.dense import Dense
from cnndsl.ops.global_pool import GlobalAvgPool
from cnndsl.ops.joins import Add, Concat, Mul
from cnndsl.ops.normalize import BatchNorm
from cnndsl.ops.pool import MaxPool
from cnndsl.ops.reshape import Dropout

C3 = Conv(4, (3, 3), pad=(1, 1, 1, 1))


def builder(*, channels: int = 4, name: str = "x") -> tuple[Builder, str]:
    b = Builder("Net", origin="folder/net.onnx")
    return b, b.input(name, TensorType((8, 8, channels)))


def chain(b: Builder, x: str, *layers: tuple[Op, str] | Op) -> str:
    for layer in layers:
        op, name = layer if isinstance(layer, tuple) else (layer, "")
        x = b.add(op, x, name=name)
    return x


def body_of(model: Model) -> str:
    """The lines of the network behind its inputs, without shapes and indentation."""
    idiomatic(normalised(model.graph))
    lines = [line.partition("   [")[0].strip() for line in write(model).text.splitlines()]
    start = max(number for number, line in enumerate(lines) if line.startswith("input"))
    return "\n".join(line for line in lines[start + 1 : -1] if line)


def network(b: Builder, x: str, **outputs: str) -> Model:
    b.output("main", x)
    for name, node in outputs.items():
        b.output(name, node)
    return b.finish()


def test_the_whole_text():
    b, x = builder(channels=3, name="image")
    x = chain(b, x, (C3, "conv1"), BatchNorm(), Relu(), MaxPool((2, 2)), (Dense(10), "fc"))
    b.note("Something was assumed.")
    assert write(network(b, x)).text == (
        "# Imported from net.onnx.\n"
        "# Something was assumed.\n"
        "network Net(classes = 10) {\n"
        "    input image [8x8x3]    # fill in: (resize=..., crop=..., mean=..., std=...)\n"
        "    conv1: conv(4, 3x3, pad=1) -> batchnorm -> relu\n"
        "    maxpool(2x2)          [4x4x4]\n"
        "    fc: dense(classes)    [classes]\n"
        "}\n"
    )


def test_an_input_that_is_described_has_no_comment():
    b = Builder("Net", origin="net")
    spec = InputSpec(resize=256, crop=224, mean=(0.5,), std=(0.25, 0.5, 0.75), range=255, order="bgr")
    x = b.input("image", TensorType((224, 224, 3)), spec=spec)
    text = write(network(b, chain(b, x, Relu()))).text
    assert "[224x224x3] (resize=256, crop=224, range=255, order=bgr, mean=0.5, std=(0.25, 0.5, 0.75))\n" in text
    assert "fill in" not in text


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Dropout(), "dropout(0.5)"),
        (LeakyRelu(0.1), "leaky_relu(0.1)"),
        (BatchNorm(eps=0.001), "batchnorm(eps=0.001)"),
        (BatchNorm(eps=9.999999747378752e-06), "batchnorm"),
        (LeakyRelu(0.10000000149011612), "leaky_relu(0.1)"),
        (MaxPool((2, 2), (2, 2)), "maxpool(2x2)"),
        (MaxPool((3, 2), (1, 2), (1, 0, 0, 1)), "maxpool(3x2, stride=1x2, pad=(1, 0, 0, 1))"),
        (Conv(4, (1, 3), (2, 1), (0, 0, 1, 1), groups=2), "conv(4, 1x3, stride=2x1, pad=(0, 1), groups=2)"),
    ],
    ids=str,
)
def test_arguments(op: Op, text: str):
    b, x = builder()
    assert body_of(network(b, chain(b, x, op, Sigmoid()))).split(" -> ")[0].split("\n")[0] == text


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("conv1", "conv2"), ("conv1", "conv2")),
        (("Conv_12", "Conv_15"), ("conv1", "conv2")),
        (("", ""), ("conv1", "conv2")),
        (("stem", "head"), ("stem", "head")),
        (("features.0", "features.3"), ("features.0", "features.3")),
        (("conv1/7x7_s2", "conv2/3x3"), ("conv1.7x7_s2", "conv2.3x3")),
        (("block.if", "block.output"), ("block.if", "block.output")),
        (("a", "a.b"), ("a", "a_b")),
        (("a.b", "a"), ("a.b", "a_2")),
        ((".".join("abcdefghijkl"), "y"), ("a.b.c.d.e.f.g.h_i_j_k_l", "y")),
    ],
    ids=str,
)
def test_names(names: tuple[str, str], keys: tuple[str, str]):
    b, x = builder()
    model = network(b, chain(b, x, *((C3, name) for name in names)))
    idiomatic(normalised(model.graph))
    assert tuple(write(model).names.values())[1:] == keys


def test_weights_have_the_keys_of_the_text():
    import torch

    b, x = builder()
    bias = torch.arange(4.0)
    y = b.add(C3, x, name="Conv_7", weights={"weight": torch.ones(4, 4, 3, 3), "bias": bias})
    dead = b.add(C3, x, name="dead", weights={"weight": torch.ones(4, 4, 3, 3), "bias": bias})
    assert dead != y
    written = write(network(b, y))
    assert set(written.weights) == {"conv1.weight", "conv1.bias"}
    assert written.weights["conv1.bias"] is bias


def test_names_that_are_keywords():
    b, x = builder(name="input")
    y = chain(b, x, Relu())
    text = write(network(b, chain(b, y, Sigmoid()), output=y)).text
    assert "input image [8x8x4]\n" in text
    assert "output output_ { }\n" in text


def test_side_outputs():
    b, x = builder()
    x = chain(b, x, (C3, "conv1"), Relu())
    aux = chain(b, x, GlobalAvgPool(), (Dense(3), "aux.fc"))
    other = chain(b, x, (Dense(2), "other"))
    x = chain(b, x, (C3, "conv2"))
    assert body_of(network(b, x, aux=aux, head=other)) == (
        "conv1: conv(4, 3x3, pad=1) -> relu: relu\n"
        "output aux {\nglobalavgpool\nfc: dense(3)\n}\n"
        "other: dense(2)\noutput head { }\n"
        "@relu -> conv2: conv(4, 3x3, pad=1)"
    )


def test_arms_and_references():
    b, x = builder()
    a = chain(b, x, (C3, "a"))
    left, right = chain(b, a, (C3, "left")), chain(b, a, (C3, "right"), Relu())
    joined = b.add(Concat(), left, right)
    scale = chain(b, joined, GlobalAvgPool(), Sigmoid())
    y = b.add(Mul(), joined, scale)
    y = chain(b, y, (C3, "c"))
    y = b.add(Add(), a, y)
    y = b.add(Concat(), y, x, a)
    assert body_of(network(b, y)) == (
        "a: conv(4, 3x3, pad=1)\n"
        "add {\n{ }\n{\n"
        "concat {\n{ left: conv(4, 3x3, pad=1) }\n{ right: conv(4, 3x3, pad=1) -> relu }\n}\n"
        "mul {\n{ }\n{ globalavgpool -> sigmoid }\n}\n"
        "c: conv(4, 3x3, pad=1)\n"
        "}\n}\nconcat(@x, @a)"
    )


def test_two_ways_that_never_meet_refer_to_each_other():
    b, x = builder()
    a, c = chain(b, x, (C3, "a"), Relu()), chain(b, x, (C3, "c"), Sigmoid())
    d = chain(b, b.add(Add(), a, c), (C3, "d"))
    e = chain(b, a, (C3, "e"))
    assert body_of(network(b, b.add(Concat(), e, d))) == (
        "a: conv(4, 3x3, pad=1) -> relu: relu\n"
        "@x -> c: conv(4, 3x3, pad=1) -> sigmoid -> add(@relu)\n"
        "d: conv(4, 3x3, pad=1)\n"
        "@relu -> e: conv(4, 3x3, pad=1)\n"
        "concat(@d)"
    )


def test_concats_of_all_that_came_before_grow_one_tensor():
    b, x = builder()
    values = [x]
    for number in range(3):
        joined = b.add(Concat(), *values)
        values.append(chain(b, joined, (Conv(2, (3, 3), pad=(1, 1, 1, 1)), f"grow.{number}")))
    text = body_of(network(b, b.add(Concat(), *values)))
    assert text.count("concat {") == 3
    assert "@" not in text


def test_a_long_way_around_is_a_reference():
    """Nobody reads five joins within each other, as a U-Net has them."""
    b, x = builder()
    ways = [x]
    for number in range(6):
        ways.append(chain(b, ways[-1], (C3, f"down{number}"), Relu()))
    y = ways[-1]
    for number, way in reversed([*enumerate(ways[:-1])]):
        y = chain(b, b.add(Concat(), way, y), (C3, f"up{number}"), Relu())
    text = write(network(b, y)).text
    assert max(len(line) - len(line.lstrip()) for line in text.splitlines()) <= 4 * 8
    assert text.count("@") >= 3


def test_inputs_keep_their_order():
    b = Builder("Net", origin="net")
    first, second = (b.input(name, TensorType((8, 8, 4))) for name in ("first", "second"))
    y = b.add(Concat(), chain(b, second, (C3, "b")), chain(b, first, (C3, "a")))
    written = write(network(b, y))
    assert [node.name for node in written.graph.inputs] == ["first", "second"]


def repeated(names: Mapping[int, str], *, groups: int = 30) -> Model:
    b, x = builder()
    for number in range(groups):
        y = chain(b, x, (Conv(4 + number % 3 * 4, (3, 3), pad=(1, 1, 1, 1)), names.get(2 * number, "")), Relu())
        x = b.add(Concat(), y, chain(b, y, (C3, names.get(2 * number + 1, "")), Relu()))
    return network(b, chain(b, x, (Dense(7), "classifier")))


def test_plain_names_of_many_layers_give_way_to_blocks():
    """Of 61 layers with names of one part, those in no block keep theirs."""
    written = write(repeated({number: f"res{number}_branch" for number in range(60)}))
    assert "block " in written.text
    assert written.names["classifier"] == "classifier"
    assert "res7_branch" not in written.text


def test_names_of_few_layers_stay():
    written = write(repeated({number: f"res{number}_branch" for number in range(6)}, groups=3))
    assert all(f"res{number}_branch" in written.graph.by_name for number in range(6))


def test_what_cannot_be_said_well_is_said_plainly(monkeypatch: pytest.MonkeyPatch):
    import cnndsl.exchange.write.compose as module

    graph = normalised(repeated({}, groups=3).graph)
    assert "block " in idiomatic(graph).text or "repeat" in idiomatic(graph).text

    def fails(*_arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module, "find_blocks", fails)
    done = composed(graph)
    assert "block" not in done.text
    assert len(done.graph.nodes) == len(graph.nodes)


@pytest.mark.parametrize("kind", ["chain", "residual", "nested", "joins"])
def test_five_thousand_layers(kind: str):
    b, x = builder()
    values = [x]
    match kind:
        case "chain":
            for number in range(4998):
                x = b.add(Relu() if number % 2 else C3, x, name=f"a{number}.b")
        case "residual":
            for number in range(1666):
                x = b.add(Add(), x, chain(b, x, (C3, f"c{number}"), Relu()))
        case "nested":
            for _ in range(2499):
                values.append(b.add(Relu(), values[-1]))
            x = values[-1]
            for value in reversed(values[1:-1]):
                x = b.add(Add(), x, value)
        case "joins":
            for number in range(1998):
                inputs = (Concat(), values[0]) if number % 1000 == 0 else (Add(), values[-1])
                x = b.add(*inputs, values[-1])
                values.append(x)
    model = network(b, x)
    assert len(write(model).graph.nodes) == len(model.graph.nodes)
