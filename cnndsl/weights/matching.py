"""Pair the tensors of a file with the parameters of a network, and explain every one that does not fit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from cnndsl.errors import CnnError, Diagnostic, diagnostic, did_you_mean, problem
from cnndsl.figures import counted
from cnndsl.weights.order import NoPairing, Pairs, Specs, is_sorted, layer_order, leaf_of, pair_by_order, same_leaf
from cnndsl.weights.shapes import Shape, TensorSpec, brackets, fits, folded, misfit
from cnndsl.weights.stored import Stored

Match = Literal["name", "order"]
Extra = Literal["error", "ignore"]

MAX_LISTED = 8
"""Tensors explained one by one for each kind of mistake; the rest is a count."""

MAX_CANDIDATES = 200
"""Names compared for "did you mean", of tensors of one shape; comparing is slow, and ResNet-152 has 72 of one."""

_WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile write before every name."""

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Row:
    """A parameter of the network, a tensor of the file, or both; and whether they go together.

    `verdict` is "fits", "reshaped" (a dense layer as the filter that does the same, or the reverse), "left out" (an
    extra tensor that is ignored), or one of the mistakes: "missing", "extra", "other kind", "other shape", "other
    type", "bad values". `why` tells more, as the end of a sentence.
    """

    ours: str | None
    theirs: str | None
    verdict: str
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.verdict in {"fits", "reshaped", "left out"}

    def sentence(self, start: str) -> str:
        """`start` and what there is to add."""
        if not self.why:
            return start
        return f"{start}; {self.why}" if self.why.startswith("`") else f"{start}: {self.why}"


@dataclass(frozen=True)
class Pairing:
    """What of a file goes where in a network.

    `tensors` are the file's under their names there, wrappers left out; `pairs` the file's name for each of the
    network's that fits. `notes` say what was left out of names. `mistakes` is empty where all goes together.
    """

    expected: Specs
    tensors: Mapping[str, Stored]
    rows: tuple[Row, ...]
    pairs: Pairs
    mistakes: tuple[Diagnostic, ...] = ()
    notes: tuple[str, ...] = ()

    def load(self, source: str, *, check_values: bool = True) -> dict[str, torch.Tensor]:
        """The tensor for each of the network's parameters: in its shape, in the file's element type.

        Only these are read from the file. `check_values` looks for NaN and negative variances, which no training means
        to leave. Raises CnnError with all that is wrong, E0406 for values.
        """
        if self.mistakes:
            raise CnnError(self.mistakes)
        loaded: dict[str, torch.Tensor] = {}
        wrong = []
        for ours, spec in self.expected.items():
            tensor = self.tensors[self.pairs[ours]].load()
            text = value_problem(spec, tensor) if check_values else None
            wrong += [f"`{ours}` {text}"] if text is not None else []
            loaded[ours] = tensor.reshape(spec.shape)
        if wrong:
            raise CnnError((_bad_values(source, wrong),))
        return loaded

    def checked(self, source: str) -> Pairing:
        """The same once all values that have a place were read, one tensor at a time. Raises CnnError E0401."""
        bad: dict[str, str] = {}
        for ours, theirs in self.pairs.items():
            text = value_problem(self.expected[ours], self.tensors[theirs].load())
            if text is not None:
                bad[ours] = text
        if not bad:
            return self
        rows = tuple(replace(r, verdict="bad values", why=bad[r.ours]) if r.ours in bad else r for r in self.rows)
        typed = [f"`{row.ours}` {row.why}" for row in rows if row.verdict in {"other type", "bad values"}]
        others = tuple(d for d in self.mistakes if d.code != "E0406")
        return replace(self, rows=rows, mistakes=(*others, _bad_values(source, typed)))


def match(
    expected: Specs,
    found: Mapping[str, torch.Tensor | Stored],
    *,
    mode: Match = "name",
    extra: Extra = "error",
    source: str,
    check_values: bool = True,
) -> dict[str, torch.Tensor]:
    """The tensor of `found` for every key of `expected`: in the expected shape, in the file's element type.

    See `pair` for what goes together. The tensors are views of `found`. `check_values` looks for NaN and negative
    variances; without it torch's results for them stand. Raises `CnnError` with all that is wrong.
    """
    tensors = {name: t if isinstance(t, Stored) else Stored.of(t) for name, t in found.items()}
    return pair(expected, tensors, mode=mode, extra=extra, source=source).load(source, check_values=check_values)


def pair(
    expected: Specs, found: Mapping[str, Stored], *, mode: Match = "name", extra: Extra = "error", source: str
) -> Pairing:
    """What of `found` goes where in `expected`; nothing is read.

    Mode "name" wants the same names on both sides (a ``module.`` or ``_orig_mod.`` before all of them is
    dropped); "order" pairs by position and shape. A dense weight in the shape of the convolution that does
    the same, or the reverse, is reshaped: both are in C,H,W order. ``num_batches_tracked`` is ignored. `extra`
    "ignore" leaves out tensors of layers that the network has not, as heads used in training alone.

    `source` names the file in messages. Mistakes: E0402 missing, E0403 extra, E0404 misshapen, E0405 no pairing by
    order, E0406 unusable values.
    """
    tensors, notes = without_wrapper(expected, found)
    tensors = {n: t for n, t in tensors.items() if leaf_of(n) != "num_batches_tracked" or n in expected}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    by_name = {name: name for name in expected if name in shapes}
    mistakes: list[Diagnostic] = []
    if mode == "name":
        rows, mistakes = _by_name(expected, shapes, source=source, extra=extra)
        if any(m.code == "E0402" for m in mistakes):
            notes = (*notes, *_batchnorms_folded(shapes, source))
    elif set(shapes) == set(expected) and all(fits(expected[name], shapes[name]) for name in shapes):
        rows = [_fitting(name, name, expected, shapes) for name in expected]
    else:
        paired = pair_by_order(expected, shapes)
        if isinstance(paired, NoPairing):
            rows = [] if is_sorted(shapes) else _side_by_side(expected, shapes)
            return Pairing(expected, tensors, tuple(rows), {}, (paired.explain(source),), notes)
        by_name = paired
        rows = [_fitting(name, paired[name], expected, shapes) for name in expected]
    for number, row in enumerate(rows):
        if row.ours is not None and row.theirs is not None and tensors[row.theirs].dtype not in _FLOATS and row.ok:
            text = f"has elements of type {tensors[row.theirs].type_name}, not a float type"
            rows[number] = replace(row, verdict="other type", why=text)
    typed = [f"`{row.ours}` {row.why}" for row in rows if row.verdict == "other type"]
    if typed:
        mistakes = [*mistakes, _bad_values(source, typed)]
    good = {row.ours for row in rows if row.ok}
    pairs = {ours: theirs for ours, theirs in by_name.items() if ours in good}
    return Pairing(expected, tensors, tuple(rows), pairs, tuple(mistakes), notes)


def without_wrapper(expected: Iterable[str], found: Mapping[str, Stored]) -> tuple[dict[str, Stored], tuple[str, ...]]:
    """The tensors without what wraps every name, unless ours have it too, and what is to be said of it."""
    ours, tensors = list(expected), dict(found)
    dropped = ""
    while tensors:
        for prefix in _WRAPPERS:
            if all(n.startswith(prefix) for n in tensors) and not any(n.startswith(prefix) for n in ours):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
                dropped += prefix
                break
        else:
            break
    return tensors, (f"every name begins with `{dropped}`, which is left out",) if dropped else ()


def with_prefix(found: Mapping[str, Stored], prefix: str, *, source: str) -> dict[str, Stored]:
    """The tensors whose names begin with `prefix`, without it. Raises CnnError (E0407) where there is none."""
    chosen = {n.removeprefix(prefix): t for n, t in found.items() if n.startswith(prefix) and n != prefix}
    if not chosen:
        begins = list(dict.fromkeys(name.partition(".")[0] + "." for name in found if "." in name))
        known = f"; they begin with {', '.join(f'`{b}`' for b in begins[:8])}" if begins else ""
        raise problem("E0407", f"no tensor of {source} has a name that begins with `{prefix}`{known}")
    return chosen


def prefixes(expected: Specs, found: Iterable[str]) -> list[str]:
    """What could stand in `found` before the names of a network: what stands before one of its names there."""
    wanted = next(iter(expected), None)
    if wanted is None:
        return []
    return [name.removesuffix(wanted) for name in found if name.endswith(f".{wanted}")]


def value_problem(spec: TensorSpec, tensor: torch.Tensor) -> str | None:
    """Why the values of a tensor cannot be the parameter's, as the end of a sentence; or None."""
    if tensor.numel() == 0:
        return None
    low, high = torch.aminmax(tensor.detach())  # carries a NaN, and needs no memory of the tensor's size
    if math.isnan(low.item()) or math.isnan(high.item()):
        return f"has {int(tensor.isnan().sum())} NaN among its {tensor.numel():,} values"
    if spec.role == "variance" and low.item() < 0:
        return f"is a variance and has negative values, the least {low.item():.6g}"
    return None


def _bad_values(source: str, texts: list[str]) -> Diagnostic:
    message = f"{source} has {counted(len(texts), 'tensor')} whose values cannot be used"
    return diagnostic("E0406", message, notes=_cut(texts))


# --- rows --------------------------------------------------------------------------------------------


def _fitting(ours: str, theirs: str, expected: Specs, found: Mapping[str, Shape]) -> Row:
    if found[theirs] == expected[ours].shape:
        return Row(ours, theirs, "fits")
    return Row(ours, theirs, "reshaped", f"from {brackets(found[theirs])}, which is the same in C,H,W order")


def _side_by_side(expected: Specs, found: Mapping[str, Shape]) -> list[Row]:
    """Both sides by position, where they do not go together."""
    rows = []
    for ours, theirs in itertools.zip_longest(layer_order(expected), layer_order(found)):
        if ours is None:
            rows.append(Row(None, theirs, "extra"))
        elif theirs is None:
            rows.append(Row(ours, None, "missing"))
        elif not same_leaf(ours, theirs):
            rows.append(Row(ours, theirs, "other kind", f"a {leaf_of(ours)} here and a {leaf_of(theirs)} there"))
        elif fits(expected[ours], found[theirs]):
            rows.append(_fitting(ours, theirs, expected, found))
        else:
            rows.append(Row(ours, theirs, "other shape", _why(misfit(ours, expected[ours], found[theirs]))))
    return rows


def _by_name(
    expected: Specs, found: Mapping[str, Shape], *, source: str, extra: Extra
) -> tuple[list[Row], list[Diagnostic]]:
    rows: list[Row] = []
    spare: dict[Shape, list[str]] = {}
    for name, shape in found.items():
        if name not in expected:
            spare.setdefault(folded(shape), []).append(name)
    ends = _ends(name for name in found if name not in expected)
    for name, spec in expected.items():
        if name not in found:
            rows.append(Row(name, None, "missing", _missing(name, spec, found, spare, ends)))
        elif fits(spec, found[name]):
            rows.append(_fitting(name, name, expected, found))
        else:
            rows.append(Row(name, name, "other shape", _why(misfit(name, spec, found[name]))))
    layers = {name.rpartition(".")[0] for name in expected}
    for name in found:
        if name not in expected:
            apart = name.rpartition(".")[0] not in layers
            verdict = "left out" if apart and extra == "ignore" else "extra"
            rows.append(Row(None, name, verdict, _surplus(name, expected)))
    return rows, _name_mistakes(rows, expected, found, source=source)


def _name_mistakes(rows: list[Row], expected: Specs, found: Mapping[str, Shape], *, source: str) -> list[Diagnostic]:
    kinds = {kind: [row for row in rows if row.verdict == kind] for kind in ("missing", "extra", "other shape")}
    mistakes: list[Diagnostic] = []
    if missing := kinds["missing"]:
        texts = [r.sentence(f"`{r.ours}` {brackets(expected[r.ours or ''].shape)} is missing") for r in missing]
        message = f"{source} lacks {len(missing)} of the network's {counted(len(expected), 'tensor')}"
        help_ = _batchnorms_folded(found, source)
        if isinstance(pair_by_order(expected, found), dict):
            help_ = ("all shapes agree in order; if only the names differ, load with `--match order`",)
        mistakes.append(diagnostic("E0402", message, notes=_cut(texts), help=help_))
    if surplus := kinds["extra"]:
        nothing = "belongs to nothing in the network"
        texts = [r.sentence(f"`{r.theirs}` {brackets(found[r.theirs or ''])} {nothing}") for r in surplus]
        message = f"{source} has {counted(len(surplus), 'tensor')} that the network does not"
        layers = {name.rpartition(".")[0] for name in expected}
        apart = any((row.theirs or "").rpartition(".")[0] not in layers for row in surplus)
        help_ = (_ALLOW,) if apart and not missing else ()
        mistakes.append(diagnostic("E0403", message, notes=_cut(texts), help=help_))
    if misshapen := kinds["other shape"]:
        texts = [misfit(r.ours or "", expected[r.ours or ""], found[r.ours or ""]) for r in misshapen]
        message = f"{source} has {counted(len(misshapen), 'tensor')} of another shape than the network"
        mistakes.append(diagnostic("E0404", message, notes=_cut(texts)))
    return mistakes


def _batchnorms_folded(found: Iterable[str], source: str) -> tuple[str, ...]:
    """What is to be said of names that torch's exporter of ONNX makes up for a convolution and its batch norm."""
    made_up = next((name for name in found if name.startswith("onnx::Conv")), None)
    if made_up is None:
        return ()
    return (
        f"torch's exporter has folded batch norms into convolutions such as `{made_up}`: `cnndsl import {source} -o "
        "NET.cnn` writes the network that its weights are for, and these",
    )


_ALLOW = (
    "where the network leaves such layers out on purpose, `--allow-extra` does not load them; "
    'in Python, `extra="ignore"`'
)


def _ends(names: Iterable[str]) -> dict[str, str]:
    """The names by what stands behind their first one, two and three parts; the first of several with one end."""
    ends: dict[str, str] = {}
    for name in names:
        end = name
        for _ in range(3):
            end = end.partition(".")[2]
            if end:
                ends.setdefault(end, name)
    return ends


def _missing(
    name: str, spec: TensorSpec, found: Mapping[str, Shape], spare: Mapping[Shape, list[str]], ends: Mapping[str, str]
) -> str:
    """What may have become of a tensor that is missing, as the end of a sentence.

    `spare` has names without a place by their shapes, `ends` by their ends.
    """
    layer, _, leaf = name.rpartition(".")
    if spec.role == "bias" and leaf == "bias" and f"{layer}.weight" in found:
        return f"{layer} has no bias there, which is written `bias=false`"
    longer = ends.get(name)
    if longer is not None and fits(spec, found[longer]):
        return f"it is `{longer}` there"
    alike = spare.get(folded(spec.shape), [])[:MAX_CANDIDATES]
    near = did_you_mean(name, [other for other in alike if fits(spec, found[other])])
    return "" if near is None else f"`{near}` there has its shape and a name like it"


def _surplus(name: str, expected: Specs) -> str:
    """Why nothing in the network is of this name, as the end of a sentence."""
    layer, _, leaf = name.rpartition(".")
    if leaf == "bias" and f"{layer}.weight" in expected:
        return f"{layer} is written without a bias here"
    if not any(ours.startswith(f"{layer}.") for ours in expected):
        return f"there is no layer {layer}" if layer else ""
    return ""


def _why(sentence: str) -> str:
    """The reason of a `misfit`, without the shapes before it."""
    return sentence.partition(" there: ")[2]


def _cut(texts: list[str]) -> tuple[str, ...]:
    """The first texts, and how many are left."""
    shown = tuple(texts[:MAX_LISTED])
    return shown if len(texts) <= MAX_LISTED else (*shown, f"and {len(texts) - MAX_LISTED} more")
