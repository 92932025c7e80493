"""Pair the tensors of a file with the parameters of a network, and explain every one that does not fit."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cnndsl.errors import CnnError, Diagnostic, diagnostic, did_you_mean
from cnndsl.figures import counted
from cnndsl.weights.shapes import Shape, TensorSpec, brackets, fits, folded, misfit

if TYPE_CHECKING:
    import torch

Specs = Mapping[str, TensorSpec]
Shapes = Mapping[str, Shape]
Pairs = dict[str, str]
"""The file's name for each of the network's."""

MAX_LISTED = 8
"""Tensors explained one by one for each kind of mistake; the rest is a count."""

MAX_CANDIDATES = 1000
"""Names compared for "did you mean"; comparing is slow, and no published network has as many."""

_LEAVES = ("weight", "bias", "running_mean", "running_var")
"""The usual last parts of names, in the order in which torch keeps them."""


def match(
    expected: Specs,
    found: Mapping[str, torch.Tensor],
    *,
    mode: Literal["name", "order"] = "name",
    source: str,
    check_values: bool = True,
) -> dict[str, torch.Tensor]:
    """The tensor of `found` for every key of `expected`: in the expected shape, in the file's element type.

    Mode "name" wants the same names on both sides (a ``module.`` or ``_orig_mod.`` before all of them is
    dropped); "order" pairs by position and shape. A dense weight in the shape of the convolution that does
    the same, or the reverse, is reshaped: both are in C,H,W order. ``num_batches_tracked`` is ignored.

    The tensors are views of `found`. `source` names the file in messages. `check_values` looks for NaN and
    negative variances, which no training means to leave; without it torch's results for them stand.

    Raises `CnnError` with all that is wrong: E0402 missing, E0403 surplus, E0404 misshapen, E0405 no pairing
    by order, E0406 unusable values.
    """
    tensors = {name: tensor for name, tensor in found.items() if _leaf(name) != "num_batches_tracked"}
    tensors = _without_wrapper(expected, tensors)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    mistakes: list[Diagnostic] = []
    if mode == "name":
        pairs = {name: name for name in expected if name in shapes}
        mistakes += _name_mistakes(expected, shapes, source=source)
    elif set(shapes) == set(expected) and all(fits(expected[name], shapes[name]) for name in shapes):
        pairs = {name: name for name in expected}
    else:
        paired = _pair_by_order(expected, shapes)
        if isinstance(paired, _NoPairing):
            raise CnnError((paired.explain(source),))
        pairs = paired
    wrong = []
    for ours, theirs in pairs.items():
        text = _type_problem(ours, tensors[theirs])
        if text is None and check_values:
            text = _value_problem(ours, expected[ours], tensors[theirs])
        wrong += [text] if text is not None else []
    if wrong:
        message = f"{source} has {counted(len(wrong), 'tensor')} whose values cannot be used"
        mistakes.append(diagnostic("E0406", message, notes=_cut(wrong)))
    if mistakes:
        raise CnnError(mistakes)
    return {ours: tensors[pairs[ours]].reshape(spec.shape) for ours, spec in expected.items()}


def _without_wrapper(expected: Specs, found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Drops what DataParallel and torch.compile write before every name, unless ours have it too."""
    while found:
        for prefix in ("module.", "_orig_mod."):
            if all(n.startswith(prefix) for n in found) and not any(n.startswith(prefix) for n in expected):
                found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
                break
        else:
            break
    return found


def _type_problem(name: str, tensor: torch.Tensor) -> str | None:
    """Why a tensor's elements cannot be a parameter's, or None."""
    import torch

    if tensor.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        return f"`{name}` has elements of type {str(tensor.dtype).removeprefix('torch.')}, not a float type"
    return None


def _value_problem(name: str, spec: TensorSpec, tensor: torch.Tensor) -> str | None:
    """Why a tensor's values cannot be a parameter's, or None."""
    import torch

    if tensor.numel() == 0:
        return None
    low, high = torch.aminmax(tensor.detach())  # carries a NaN, and needs no memory of the tensor's size
    if math.isnan(low.item()) or math.isnan(high.item()):
        return f"`{name}` has {int(tensor.isnan().sum())} NaN among its {tensor.numel()} values"
    if spec.role == "variance" and low.item() < 0:
        return f"`{name}` is a variance and has negative values, the least {low.item():.6g}"
    return None


# --- by name -----------------------------------------------------------------------------------------


def _name_mistakes(expected: Specs, found: Shapes, *, source: str) -> list[Diagnostic]:
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    misshapen = [name for name in expected if name in found and not fits(expected[name], found[name])]
    mistakes: list[Diagnostic] = []
    if missing:
        texts = (_missing(name, expected, found) for name in missing[:MAX_LISTED])
        message = f"{source} lacks {len(missing)} of the network's {counted(len(expected), 'tensor')}"
        mistakes.append(diagnostic("E0402", message, notes=_cut(texts, len(missing))))
    if surplus:
        texts = (_surplus(name, expected, found) for name in surplus[:MAX_LISTED])
        message = f"{source} has {counted(len(surplus), 'tensor')} that the network does not"
        mistakes.append(diagnostic("E0403", message, notes=_cut(texts, len(surplus))))
    if misshapen:
        texts = (misfit(name, expected[name], found[name]) for name in misshapen[:MAX_LISTED])
        message = f"{source} has {counted(len(misshapen), 'tensor')} of another shape than the network"
        mistakes.append(diagnostic("E0404", message, notes=_cut(texts, len(misshapen))))
    if missing and isinstance(_pair_by_order(expected, found), dict):
        first = mistakes[0]
        help_ = "all shapes agree in order; if only the names differ, load with `--match order`"
        mistakes[0] = diagnostic(first.code, first.message, notes=first.notes, help=(help_,))
    return mistakes


def _missing(name: str, expected: Specs, found: Shapes) -> str:
    layer, _, leaf = name.rpartition(".")
    spec = expected[name]
    text = f"`{name}` {brackets(spec.shape)} is missing"
    if spec.role == "bias" and leaf == "bias" and f"{layer}.weight" in found:
        return f"{text}: {layer} has no bias there, which is written `bias=false`"
    alike = [other for other, shape in found.items() if other not in expected and fits(spec, shape)]
    near = did_you_mean(name, alike[:MAX_CANDIDATES])
    return text if near is None else f"{text}; `{near}` there has its shape and a name like it"


def _surplus(name: str, expected: Specs, found: Shapes) -> str:
    layer, _, leaf = name.rpartition(".")
    text = f"`{name}` {brackets(found[name])} belongs to nothing in the network"
    if leaf == "bias" and f"{layer}.weight" in expected:
        return f"{text}: {layer} is written without a bias here"
    if not any(ours.startswith(f"{layer}.") for ours in expected):
        return f"{text}: there is no layer {layer}" if layer else text
    return text


# --- by order ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _NoPairing:
    """Why two lists of tensors do not pair."""

    notes: tuple[str, ...]
    help: tuple[str, ...] = ()

    def explain(self, source: str) -> Diagnostic:
        message = f"the tensors of {source} do not pair with the network's by order"
        return diagnostic("E0405", message, notes=self.notes, help=self.help)


def _pair_by_order(expected: Specs, found: Shapes) -> Pairs | _NoPairing:
    """The file's name for each of ours: by position in the file, or else by the numbers in its names."""
    by_position = _pair_by_position(expected, found)
    # Names in alphabetical order tell of a writer that sorts. Their position then means nothing, and could
    # pair layers of one shape wrongly without anybody noticing: features.10 comes before features.2.
    order_lost = list(found) == sorted(found)
    if isinstance(by_position, dict) and not order_lost:
        return by_position
    by_number = _pair_by_number(expected, found)
    return by_number if order_lost or isinstance(by_number, dict) else by_position


def _pair_by_position(expected: Specs, found: Shapes) -> Pairs | _NoPairing:
    def shape_of(name: str) -> str:
        return brackets(expected[name].shape)

    ours, theirs = _layer_order(expected), _layer_order(found)
    agreed = 0
    for mine, other in zip(ours, theirs, strict=False):
        if not (_same_leaf(mine, other) and fits(expected[mine], found[other])):
            break
        agreed += 1
    if agreed == len(ours) == len(theirs):
        return dict(zip(ours, theirs, strict=True))
    notes = []
    if agreed:
        mine, other = ours[agreed - 1], theirs[agreed - 1]
        notes.append(f"number {agreed} agrees: `{mine}` {shape_of(mine)} is `{other}` there")
    if agreed == len(theirs):
        mine = ours[agreed]
        left = counted(len(ours) - agreed, "tensor")
        notes.append(
            f"that is the last one there; the network goes on with {left}, first `{mine}` {shape_of(mine)}"
        )
    elif agreed == len(ours):
        other = theirs[agreed]
        left = counted(len(theirs) - agreed, "tensor")
        shape = brackets(found[other])
        notes.append(f"that is the network's last one; there it goes on with {left}, first `{other}` {shape}")
    else:
        mine, other = ours[agreed], theirs[agreed]
        text = f"number {agreed + 1} does not: the network has `{mine}`, there it is `{other}`"
        if _same_leaf(mine, other) and not fits(expected[mine], found[other]):
            text += f"; {misfit(mine, expected[mine], found[other])}"
        notes.append(text)
        after = agreed + 1
        if after < min(len(ours), len(theirs)):
            mine, other = ours[after], theirs[after]
            sides = f"`{mine}` {shape_of(mine)} and `{other}` {brackets(found[other])}"
            notes.append(f"number {after + 1} would be {sides}")
    return _NoPairing(tuple(notes))


def _pair_by_number(expected: Specs, found: Shapes) -> Pairs | _NoPairing:
    """Pairs layers of equal shapes in the order of the numbers in their names.

    Layers that only words tell apart (``head`` and ``tail`` of one shape) are not guessed.
    """
    flat = any(_leaf(name) not in _LEAVES for name in (*expected, *found))
    ours = _layers({name: spec.shape for name, spec in expected.items()}, flat=flat)
    theirs = _layers(found, flat=flat)
    pairs: Pairs = {}
    for kind in (*ours, *(kind for kind in theirs if kind not in ours)):
        mine, others = ours.get(kind, []), sorted(theirs.get(kind, []), key=_natural)
        if len(mine) != len(others):
            what = " and ".join(f"{leaf} {brackets(shape)}".strip() for leaf, shape in kind)
            counts = f"the network has {_listed(mine)} with {what}, there are {_listed(others)}"
            return _NoPairing((counts,))
        for a, b in itertools.pairwise(others):
            if not _numbered(a, b):
                why = "the names are sorted, and no number in them says it"
                note = f"which of `{a}` and `{b}`, of the same shapes, comes first is unknown: {why}"
                way = "save the weights as .pt, which keeps their order, or name the layers as they are there"
                return _NoPairing((note,), (way,))
        for a, b in zip(mine, others, strict=True):
            pairs |= {_join(a, leaf): _join(b, leaf) for leaf, _ in kind}
    for a, b in pairs.items():
        if not fits(expected[a], found[b]):
            return _NoPairing((f"the nearest to `{a}` is `{b}`; {misfit(a, expected[a], found[b])}",))
    return pairs


def _layers(shapes: Shapes, *, flat: bool) -> dict[tuple[tuple[str, Shape], ...], list[str]]:
    """Names of layers by the last parts and shapes of their tensors; `flat`: each tensor is a layer."""
    layers: dict[str, list[tuple[str, Shape]]] = {}
    for name, shape in shapes.items():
        layer, leaf = (name, "") if flat else (name.rpartition(".")[0], _leaf(name))
        layers.setdefault(layer, []).append((leaf, folded(shape)))
    kinds: dict[tuple[tuple[str, Shape], ...], list[str]] = {}
    for layer, tensors in layers.items():
        kinds.setdefault(tuple(sorted(tensors, key=lambda t: _rank(t[0]))), []).append(layer)
    return kinds


def _layer_order(names: Iterable[str]) -> list[str]:
    """Names layer by layer, layers as they first come, in each weight, bias, running_mean, running_var."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(name.rpartition(".")[0] if _leaf(name) in _LEAVES else name, []).append(name)
    return [name for layer in layers.values() for name in sorted(layer, key=lambda n: _rank(_leaf(n)))]


def _same_leaf(ours: str, theirs: str) -> bool:
    """False where both names have usual ends and these differ: a mean is no weight of the same shape."""
    a, b = _leaf(ours), _leaf(theirs)
    return a == b or a not in _LEAVES or b not in _LEAVES


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts ``features.9`` before ``features.10``: a number by length, then digits."""
    parts = re.split(r"([0-9]+)", name)
    numbers = (part.lstrip("0") for part in parts[1::2])
    keys = [(0, part) for part in parts]
    keys[1::2] = [(1 + len(number), number) for number in numbers]
    return keys


def _numbered(a: str, b: str) -> bool:
    """Whether the first difference between two names is a number."""
    different = ((x, y) for x, y in zip(_natural(a), _natural(b), strict=False) if x != y)
    return all(length > 0 for length, _ in next(different, ((0, ""),)))


# --- words -------------------------------------------------------------------------------------------


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _join(layer: str, leaf: str) -> str:
    return ".".join(part for part in (layer, leaf) if part)


def _rank(leaf: str) -> int:
    return _LEAVES.index(leaf) if leaf in _LEAVES else len(_LEAVES)


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"{len(names)} ({shown})"


def _cut(texts: Iterable[str], total: int | None = None) -> tuple[str, ...]:
    """The first texts, and how many are left."""
    listed = list(texts)
    total = len(listed) if total is None else total
    shown = tuple(listed[:MAX_LISTED])
    return shown if total <= MAX_LISTED else (*shown, f"and {total - MAX_LISTED} more")
