"""How a file's tensors find the network's parameters, and the sentence for each that does not fit."""

from pathlib import Path

import pytest
import torch
from mistakes import mistake, mistakes
from specs import bias, conv, dense, layers, numbers, tensors_of

from cnndsl.errors import CnnError
from cnndsl.runtime.weights import TensorSpec, match, read_tensors, save_tensors
from cnndsl.weights.stored import Stored

OURS = layers(
    conv1=conv(64, 3, 11),
    conv2=conv(192, 64, 5),
    conv3=conv(384, 192),
    conv4=conv(256, 384),
    conv5=conv(256, 256),
    fc6=dense(4096, 9216),
    fc7=dense(4096, 4096),
    fc8=dense(1000, 4096),
)
"""AlexNet as torchvision has it, under names of our own."""

THEIRS = layers(
    features_0=conv(64, 3, 11),
    features_3=conv(192, 64, 5),
    features_6=conv(384, 192),
    features_8=conv(256, 384),
    features_10=conv(256, 256),
    classifier_1=dense(4096, 9216),
    classifier_4=dense(4096, 4096),
    classifier_6=dense(1000, 4096),
)
"""The same, under torchvision's."""


TORCH_ORDER = "where torch keeps [out, in, height, width]"

# --- by name -----------------------------------------------------------------------------------------


def test_equal_names_are_paired_whatever_their_order() -> None:
    found = tensors_of(OURS)
    paired = match(OURS, dict(reversed(found.items())), source="w.pt")
    assert list(paired) == list(OURS)
    assert numbers(paired) == numbers(found)
    assert all(tuple(paired[name].shape) == spec.shape for name, spec in OURS.items())


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_counters_are_dropped(wrapper: str) -> None:
    found = tensors_of(OURS)
    wrapped = {f"{wrapper}{name}": tensor for name, tensor in found.items()}
    wrapped[f"{wrapper}bn1.num_batches_tracked"] = torch.tensor(3)
    assert numbers(match(OURS, wrapped, source="w.pt")) == numbers(found)


def test_a_network_may_itself_be_called_module() -> None:
    ours = {f"module.{name}": spec for name, spec in OURS.items()}
    assert list(match(ours, tensors_of(ours), source="w.pt")) == list(ours)


def test_missing_surplus_and_misshapen_are_all_told() -> None:
    found = tensors_of(OURS)
    found["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    found["conv2.wieght"] = found.pop("conv2.weight")
    del found["fc7.bias"]
    found["aux.weight"] = torch.zeros(2, 2)
    missing, surplus, misshapen = mistakes(lambda: match(OURS, found, source="w.pt"))
    assert (missing.code, missing.message) == ("E0402", "w.pt lacks 2 of the network's 16 tensors")
    assert missing.notes == (
        "`conv2.weight` [192, 64, 5, 5] is missing; `conv2.wieght` there has its shape and a name like it",
        "`fc7.bias` [4096] is missing: fc7 has no bias there, which is written `bias=false`",
    )
    assert (surplus.code, surplus.message) == ("E0403", "w.pt has 2 tensors that the network does not")
    assert surplus.notes == (
        "`conv2.wieght` [192, 64, 5, 5] belongs to nothing in the network",
        "`aux.weight` [2, 2] belongs to nothing in the network: there is no layer aux",
    )
    assert (misshapen.code, misshapen.message) == (
        "E0404",
        "w.pt has 1 tensor of another shape than the network",
    )
    assert misshapen.notes == (
        "`conv1.weight` is [64, 3, 11, 11] here, but [64, 3, 7, 7] there: its window is 11x11, not 7x7",
    )
    assert missing.help == surplus.help == misshapen.help == ()


def test_a_surplus_bias() -> None:
    ours = {name: spec for name, spec in OURS.items() if name != "conv1.bias"}
    found = mistake(lambda: match(ours, tensors_of(OURS), source="w.pt"))
    assert found.code == "E0403"
    assert found.notes == (
        "`conv1.bias` [64] belongs to nothing in the network: conv1 is written without a bias here",
    )


def test_layers_that_the_network_has_not_can_be_left_out() -> None:
    found = tensors_of(OURS)
    more = found | {"aux.weight": torch.zeros(2, 2), "head.conv.bias": torch.zeros(3), "bare": torch.zeros(1)}
    told = mistake(lambda: match(OURS, more, source="w.pt"))
    assert told.code == "E0403"
    assert told.help == (
        "where the network leaves such layers out on purpose, `--allow-extra` does not load them; "
        'in Python, `extra="ignore"`',
    )
    assert numbers(match(OURS, more, extra="ignore", source="w.pt")) == numbers(found)
    # What the network's own layers have besides is no such thing, and nobody is told to leave it out.
    ours = {name: spec for name, spec in OURS.items() if name != "conv1.bias"}
    for extra in ("error", "ignore"):
        told = mistake(lambda extra=extra: match(ours, found, extra=extra, source="w.pt"))
        assert (told.code, told.help) == ("E0403", ())
    # By order nothing is left out: which one would it be?
    theirs = tensors_of(THEIRS) | {"z.weight": torch.zeros(2, 2)}
    assert mistake(lambda: match(OURS, theirs, mode="order", extra="ignore", source="w.pt")).code == "E0405"


def test_values_that_do_not_fit_are_not_read() -> None:
    """A file may claim anything; only what goes into the network is loaded."""

    def load() -> torch.Tensor:
        raise AssertionError

    found = {name: Stored.of(tensor) for name, tensor in tensors_of(OURS).items()}
    found["conv1.bias"] = Stored((1 << 40,), torch.float32, load)
    assert mistake(lambda: match(OURS, found, source="w.pt")).code == "E0404"
    found["conv1.bias"] = Stored((64,), torch.int64, load)
    assert mistake(lambda: match(OURS, found, source="w.pt")).code == "E0406"
    found |= {"conv1.bias": Stored.of(torch.zeros(64)), "aux.weight": Stored((1 << 40,), torch.float32, load)}
    assert len(match(OURS, found, extra="ignore", source="w.pt")) == len(OURS)


@pytest.mark.parametrize(
    ("spec", "shape", "reason"),
    [
        (conv(96, 3, 11), (64, 3, 11, 11), "conv1 makes 96 channels, not 64"),
        (conv(256, 96, 5), (256, 48, 5, 5), "a filter of conv1 reads 96 channels, not 48"),
        (
            conv(8, 4, 5),
            (6, 3, 1, 2),
            "conv1 makes 8 channels, not 6; a filter of conv1 reads 4 channels, not 3; "
            "its window is 5x5, not 1x2",
        ),
        (
            conv(8, 4, 5),
            (8, 5, 5, 4),
            f"there it is in the order [out, height, width, in], {TORCH_ORDER}; use `permute(0, 3, 1, 2)`",
        ),
        (
            conv(8, 4, 5),
            (5, 5, 4, 8),
            f"there it is in the order [height, width, in, out], {TORCH_ORDER}; use `permute(3, 2, 0, 1)`",
        ),
        (
            conv(8, 4, 5),
            (4, 8, 5, 5),
            f"there it is in the order [in, out, height, width], {TORCH_ORDER}; use `permute(1, 0, 2, 3)`",
        ),
        (dense(10, 64), (10, 32), "conv1 reads 64 features, not 32"),
        (dense(10, 64), (1000, 64), "conv1 makes 10 features, not 1000"),
        (
            dense(10, 64),
            (64, 10),
            "there it is transposed, [in, out] where torch keeps [out, in]; use `tensor.T`",
        ),
        (
            dense(10, 64),
            (10, 4, 4, 5),
            "it has 2 dimensions, not 4",
        ),
        (
            dense(10, 80),
            (10, 4, 4, 5),
            "there it looks like [out, height, width, in], where torch keeps [out, in, height, width]",
        ),
        (bias(10), (1, 10), "it has 1 dimension, not 2"),
        (bias(10), (12,), "conv1 has 10 channels, not 12"),
        (bias(10), (), "it has 1 dimension, not 0"),
        (bias(10), (0,), "there it is empty"),
    ],
)
def test_wrong_shapes_are_explained(spec: TensorSpec, shape: tuple[int, ...], reason: str) -> None:
    found = mistake(
        lambda: match({"conv1.weight": spec}, {"conv1.weight": torch.zeros(shape)}, source="w.pt")
    )
    sides = f"`conv1.weight` is {list(spec.shape)} here, but {list(shape)} there"
    assert (found.code, found.notes) == ("E0404", (f"{sides}: {reason}",))


def test_permutations_named_in_help_are_right() -> None:
    right = torch.arange(8 * 4 * 5 * 6).reshape(8, 4, 5, 6)
    spec = {"c.weight": TensorSpec((8, 4, 5, 6), "weight", 120)}
    for stored in (right.permute(0, 2, 3, 1), right.permute(2, 3, 1, 0), right.permute(1, 0, 2, 3)):
        found = mistake(lambda stored=stored: match(spec, {"c.weight": stored.float()}, source="w.pt"))
        axes = [int(axis) for axis in found.notes[0].rpartition("permute(")[2].rstrip(")`").split(",")]
        assert torch.equal(stored.permute(axes), right)


def test_dense_layers_and_convolutions_of_the_same_values() -> None:
    square = torch.arange(6.0 * 4 * 9).reshape(6, 4, 3, 3)
    for spec, stored in (
        (dense(6, 36), square),
        (conv(6, 4), square.flatten(1)),
        (dense(6, 4), square[:, :, :1, :1]),
        (conv(6, 4, 1), square[:, :, 0, 0]),
    ):
        paired = match({"fc.weight": spec}, {"fc.weight": stored}, source="w.pt")["fc.weight"]
        assert tuple(paired.shape) == spec.shape
        assert torch.equal(paired.flatten(), stored.flatten())
    for spec, shape in (
        (TensorSpec((4,), "scale"), (4, 1, 1, 1)),
        (dense(6, 36), (6, 4, 9)),
        (dense(6, 36), (4, 6, 9, 1)),
    ):
        assert (
            mistake(
                lambda s=spec, h=shape: match({"a.weight": s}, {"a.weight": torch.zeros(h)}, source="w")
            ).code
            == "E0404"
        )


def test_long_lists_are_cut() -> None:
    found = mistakes(lambda: match(OURS, {}, source="w.pt"))[0]
    assert len(found.notes) == 9
    assert found.notes[-1] == "and 8 more"
    eight = dict(list(OURS.items())[:8])
    assert len(mistakes(lambda: match(eight, {}, source="w.pt"))[0].notes) == 8


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.tensor([1, 2]), "`bn.running_var` has elements of type int64, not a float type"),
        (torch.tensor([True, False]), "`bn.running_var` has elements of type bool, not a float type"),
        (torch.tensor([1j, 2]), "`bn.running_var` has elements of type complex64, not a float type"),
        (torch.tensor([1.0, float("nan")]), "`bn.running_var` has 1 NaN among its 2 values"),
        (
            torch.tensor([1.0, -0.5]).half(),
            "`bn.running_var` is a variance and has negative values, the least -0.5",
        ),
    ],
)
def test_unusable_values(tensor: torch.Tensor, reason: str) -> None:
    spec = {"bn.running_var": TensorSpec((2,), "variance")}
    found = mistake(lambda: match(spec, {"bn.running_var": tensor}, source="w.pt"))
    assert (found.code, found.message) == ("E0406", "w.pt has 1 tensor whose values cannot be used")
    assert found.notes == (reason,)


def test_values_may_be_left_unchecked() -> None:
    spec = {"bn.running_var": TensorSpec((2,), "variance")}
    values = torch.tensor([float("nan"), -1])
    paired = match(spec, {"bn.running_var": values}, source="a state dict", check_values=False)
    assert torch.equal(paired["bn.running_var"].isnan(), values.isnan())
    with pytest.raises(CnnError):
        match(spec, {"bn.running_var": values.int()}, source="a state dict", check_values=False)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float_types_are_kept(dtype: torch.dtype) -> None:
    values = torch.tensor([-1.0, float("inf")], dtype=dtype)
    paired = match({"a.bias": bias(2)}, {"a.bias": values}, source="w.pt")["a.bias"]
    assert paired.dtype == dtype
    assert torch.equal(paired, values)


# --- by order ----------------------------------------------------------------------------------------


def renamed(found: dict[str, torch.Tensor]) -> dict[str, float]:
    """The numbers of `found` under our names, in the order of both lists."""
    return dict(zip(OURS, numbers(found).values(), strict=True))


def test_other_names_in_the_same_order() -> None:
    found = tensors_of(THEIRS)
    assert numbers(match(OURS, found, mode="order", source="w.pt")) == renamed(found)
    missing, surplus = mistakes(lambda: match(OURS, found, source="w.pt"))
    assert (missing.code, surplus.code) == ("E0402", "E0403")
    assert missing.help == ("all shapes agree in order; if only the names differ, load with `--match order`",)


def test_bias_before_weight_in_the_file() -> None:
    found = tensors_of(THEIRS)
    swapped = {name: found[name] for name in sorted(found, key=lambda n: (list(THEIRS).index(n) // 2, n))}
    assert next(iter(swapped)) == "features.0.bias"
    assert numbers(match(OURS, swapped, mode="order", source="w.pt")) == renamed(found)
    ours = layers(fc1=dense(3, 3), fc2=dense(3, 3))
    theirs = tensors_of(layers(head=dense(3, 3), body=dense(3, 3)))
    swapped = {name: theirs[name] for name in ("head.bias", "head.weight", "body.bias", "body.weight")}
    paired = match(ours, swapped, mode="order", source="w.pt")
    assert numbers(paired) == {"fc1.weight": 0, "fc1.bias": 1, "fc2.weight": 2, "fc2.bias": 3}


def test_sorted_names_are_paired_by_their_numbers(tmp_path: Path) -> None:
    theirs = {f"features.{i}.weight": conv(4, 4) for i in range(12)} | {"classifier.0.weight": dense(7, 4)}
    ours = {f"conv{i + 1}.weight": conv(4, 4) for i in range(12)} | {"fc.weight": dense(7, 4)}
    found = tensors_of(theirs)
    for suffix in (".safetensors", ".pt"):
        save_tensors(tmp_path / f"w{suffix}", dict(sorted(found.items())))
        read = read_tensors(tmp_path / f"w{suffix}")
        # Here position would pair every shape and yet be wrong: features.10 and 11 come before features.2.
        assert list(read)[1:5] == [
            "features.0.weight",
            "features.1.weight",
            "features.10.weight",
            "features.11.weight",
        ]
        paired = match(ours, read, mode="order", source="w")
        assert list(numbers(paired).values()) == list(numbers(found).values())


def test_sorted_torchvision_names_are_paired() -> None:
    found = tensors_of(THEIRS)
    paired = match(OURS, dict(sorted(found.items())), mode="order", source="w.safetensors")
    assert numbers(paired) == renamed(found)


def test_order_of_safetensors_of_several_types(tmp_path: Path) -> None:
    found = {
        name: t.to(torch.float64 if "conv2" in name else torch.float32)
        for name, t in tensors_of(OURS).items()
    }
    small = {name: t.flatten()[:1].clone() for name, t in found.items()}
    save_tensors(tmp_path / "w.safetensors", small)
    assert list(read_tensors(tmp_path / "w.safetensors")) == sorted(small)


def test_equal_names_win_over_order() -> None:
    ours = {"b.weight": dense(3, 3), "a.weight": dense(3, 3)}
    found = tensors_of(ours)
    assert numbers(match(ours, dict(sorted(found.items())), mode="order", source="w")) == numbers(found)


def test_words_alone_do_not_order_layers() -> None:
    theirs = {"head.weight": dense(3, 3), "body.weight": dense(3, 3)}
    ours = {"fc1.weight": dense(3, 3), "fc2.weight": dense(3, 3)}
    found = tensors_of(theirs)
    assert numbers(match(ours, found, mode="order", source="w.pt")) == {"fc1.weight": 0, "fc2.weight": 1}
    told = mistake(lambda: match(ours, dict(sorted(found.items())), mode="order", source="w.safetensors"))
    assert (told.code, told.message) == (
        "E0405",
        "the tensors of w.safetensors do not pair with the network's by order",
    )
    assert told.notes == (
        "which of `body` and `head`, of the same shapes, comes first is unknown: "
        "the names are sorted, and no number in them says it",
    )
    assert told.help == (
        "save the weights as .pt, which keeps their order, or name the layers as they are there",
    )


def test_the_first_disagreement_is_told_with_its_neighbours() -> None:
    found = tensors_of(THEIRS)
    found["features.6.weight"] = torch.zeros(384, 96, 3, 3)
    told = mistake(lambda: match(OURS, found, mode="order", source="w.pt"))
    assert told.notes == (
        "number 4 agrees: `conv2.bias` [192] is `features.3.bias` there",
        "number 5 does not: the network has `conv3.weight`, there it is `features.6.weight`; "
        "`conv3.weight` is [384, 192, 3, 3] here, but [384, 96, 3, 3] there: "
        "a filter of conv3 reads 192 channels, not 96",
        "number 6 would be `conv3.bias` [384] and `features.6.bias` [384]",
    )


def test_one_side_ends_early() -> None:
    found = tensors_of(THEIRS)
    fewer = dict(list(found.items())[:14])
    told = mistake(lambda: match(OURS, fewer, mode="order", source="w.pt"))
    assert told.notes == (
        "number 14 agrees: `fc7.bias` [4096] is `classifier.4.bias` there",
        "that is the last one there; the network goes on with 2 tensors, first `fc8.weight` [1000, 4096]",
    )
    told = mistake(lambda: match(dict(list(OURS.items())[:15]), found, mode="order", source="w.pt"))
    assert (
        told.notes[1]
        == "that is the network's last one; there it goes on with 1 tensor, first `classifier.6.bias` [1000]"
    )


def test_normalisation_is_paired_by_what_its_tensors_are() -> None:
    four = (("weight", "scale"), ("bias", "shift"), ("running_mean", "mean"), ("running_var", "variance"))
    ours = {"conv1.weight": conv(8, 3)} | {f"bn1.{leaf}": TensorSpec((8,), role) for leaf, role in four}
    theirs = {"0.weight": torch.zeros(8, 3, 3, 3)} | {
        f"1.{leaf}": torch.full((8,), value)
        for leaf, value in (("running_mean", 3.0), ("running_var", 4.0), ("weight", 1.0), ("bias", 2.0))
    }
    paired = numbers(match(ours, theirs, mode="order", source="w.pt"))
    assert [paired[f"bn1.{leaf}"] for leaf, _ in four] == [1, 2, 3, 4]
    # All of one shape: a mean must not pass for the bias of a convolution.
    ours = {"conv1.weight": conv(8, 3), "conv1.bias": bias(8), "conv2.bias": bias(8)}
    theirs = {"0.weight": torch.zeros(8, 3, 3, 3), "0.bias": torch.zeros(8), "1.running_mean": torch.zeros(8)}
    told = mistake(lambda: match(ours, theirs, mode="order", source="w.pt"))
    assert told.notes[1] == "number 3 does not: the network has `conv2.bias`, there it is `1.running_mean`"


def test_names_without_dots_pair_by_position() -> None:
    ours = layers(conv1=conv(8, 3), conv2=conv(8, 8))
    found = dict(zip(("w1", "b1", "w2", "b2"), tensors_of(ours).values(), strict=True))
    assert list(numbers(match(ours, found, mode="order", source="w.npz")).values()) == [0, 1, 2, 3]


def test_very_long_numbers_in_names() -> None:
    ours = {"a.weight": dense(3, 3), "b.weight": dense(3, 3)}
    found = tensors_of({f"x.{'9' * 5000}.weight": dense(3, 3), f"x.1{'0' * 5000}.weight": dense(3, 3)})
    paired = match(ours, dict(sorted(found.items())), mode="order", source="w")
    assert numbers(paired) == {"a.weight": 0, "b.weight": 1}


def test_counts_of_sorted_layers_are_told() -> None:
    found = dict(sorted(tensors_of(THEIRS).items()))
    del found["features.10.weight"]
    del found["features.10.bias"]
    told = mistake(lambda: match(OURS, found, mode="order", source="w.safetensors"))
    assert told.notes == ("the network has 1 (conv5) with weight [256, 2304] and bias [256], there are none",)
