"""docs/kernels.md from docs/kernels.csv: the figures that stand out, one line for each target and each network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from kernel_gate import EXCEPTIONS

if TYPE_CHECKING:
    from kernel_table import Entry

LOW = 25
"""Percent of occupancy below which a kernel is told of."""

HEAD = """\
# What the kernels compile to

Every kernel of every example network, for tiles of a batch of 1, as Triton {triton} compiles it: {kernels:,} of them,
up to {distinct:,} for each target and type. The rows are in [kernels.csv](kernels.csv); this page sums them up.
`cnndsl inspect FILE --stage resources` prints the same for your own network, and `--stage sass` the code.

This comes from compiling alone: no kernel here has run or been timed on a GPU. What it can promise, a gate holds
(`make gate`; `make test` holds a sample):

* every kernel compiles; none uses a stack or spills; shared memory is within the target's limit;
* in fp16 all products of matrices, be the groups of a convolution as narrow as they may, are the matrix units' (on
  sm_90 HGMMA, for tiles of 64 rows and more);
* global memory is read and written 16 bytes at a time, or as many as a pixel's channels allow, and in fp16 nothing is
  read value by value. What is excepted is listed below, kernel by kernel in the column `exceptions` of the rows.

## The worst of each target

Registers of a thread and shared memory of a program are the most that any kernel takes; occupancy, the share of the
multiprocessor's warps that can be resident, is the least. `matrix` counts the kernels with matrix instructions.

"""

NETWORKS = """\
## The worst of each network, {dtype}

On {targets}, in this order, or once where they agree. `kernels` are those that the network launches,
`new` those that no network above has; `launches` is a digest of all that decides what they are, but for the kernels'
sources.

"""

EXCEPTED = """\
## Exceptions

How many kernels do not keep a promise, and why; one kernel may be in several rows.

"""

OCCUPANCY = """\
## Low occupancy

Kernels below {low} %, by what allows no more of them. Shared memory is the pipeline of a product's operands, three or
four steps deep: few programs, whose copies wait in memory and not in warps. Registers hold a large tile's sums.

"""

FOOT = """\
## The rows

`network` and `kernel` say where it is met first, `also` names the other networks that have it. `registers` of a thread;
`shared` bytes of a program; `warps` and `stages`; `occupancy` in percent, and its `limiter`; `matrix` and `copies`, the
instructions of the matrix units and the asynchronous copies to shared memory; `reads` and `writes` of global memory, as
bytes x number of instructions (copies are reads); `text`, the digest of the kernel's text.

Page and rows are written by `make kernels`.
"""


def page(
    entries: Sequence[Entry],
    *,
    targets: Sequence[str],
    networks: Sequence[str],
    digests: Mapping[tuple[str, str], str],
    triton: str,
) -> str:
    """The whole text. `digests` has each network's launches by (network, type)."""
    dtypes = list(dict.fromkeys(e.dtype for e in entries))
    each = {len([e for e in entries if (e.target, e.dtype) == one]) for one in {(e.target, e.dtype) for e in entries}}
    distinct = max(each)
    parts = [HEAD.format(triton=triton, kernels=len(entries), distinct=distinct), *_table(_targets(entries)), "\n"]
    for dtype in dtypes:
        some = [e for e in entries if e.dtype == dtype]
        parts += [NETWORKS.format(dtype=dtype, targets=", ".join(targets))]
        parts += [*_table(_networks(some, targets, networks, digests)), "\n"]
    parts += [EXCEPTED, *_table(_exceptions(entries, dtypes)), "\n"]
    parts += [OCCUPANCY.format(low=LOW), *_table(_low(entries)), "\n", FOOT]
    return "".join(parts)


Cells = Sequence[object]


def _table(rows: Iterator[Cells]) -> Iterator[str]:
    first = next(rows)
    for row in (first, ["---"] * len(first), *rows):
        yield f"| {' | '.join(map(str, row))} |\n"


def _targets(entries: Sequence[Entry]) -> Iterator[Cells]:
    yield "target", "type", "kernels", "registers", "shared memory", "occupancy", "matrix"
    for (target, dtype), some in _grouped(entries, lambda e: (e.target, e.dtype)).items():
        registers, shared = max(some, key=lambda e: e.registers), max(some, key=lambda e: e.shared)
        least = min(some, key=lambda e: e.occupancy)
        yield (
            target, dtype, len(some), f"{registers.registers}, {_name(registers)}",
            f"{_kib(shared.shared)} KiB, {_name(shared)}", f"{least.occupancy} %, {_name(least)}",
            sum(e.matrix > 0 for e in some),
        )  # fmt: skip


def _networks(
    entries: Sequence[Entry], targets: Sequence[str], networks: Sequence[str], digests: Mapping[tuple[str, str], str]
) -> Iterator[Cells]:
    yield "network", "kernels", "new", "registers", "shared memory, KiB", "occupancy, %", "launches"
    for network in networks:
        has = [e for e in entries if network in (e.network, *e.also.split())]
        by_target = [[e for e in has if e.target == target] for target in targets]
        yield (
            network, _each(len(some) for some in by_target),
            _each(sum(e.network == network for e in some) for some in by_target),
            _each(max(e.registers for e in some) for some in by_target),
            _each(_kib(max(e.shared for e in some)) for some in by_target),
            _each(min(e.occupancy for e in some) for some in by_target),
            digests[network, has[0].dtype],
        )  # fmt: skip


def _exceptions(entries: Sequence[Entry], dtypes: Sequence[str]) -> Iterator[Cells]:
    yield "exception", *dtypes, "why"
    for word, reason in EXCEPTIONS.items():
        has = [e for e in entries if word in e.exceptions.split()]
        yield word, *(sum(e.dtype == dtype for e in has) for dtype in dtypes), reason
    yield "none", *(sum(e.dtype == dtype and not e.exceptions for e in entries) for dtype in dtypes), ""


def _low(entries: Sequence[Entry]) -> Iterator[Cells]:
    yield "target", "type", "kernels", "by", "least"
    low = [e for e in entries if e.occupancy < LOW]
    for (target, dtype, function, limiter), some in _grouped(
        low, lambda e: (e.target, e.dtype, e.function, e.limiter)
    ).items():
        least = min(some, key=lambda e: e.occupancy)
        yield target, dtype, f"{len(some)} of {function}", limiter, f"{least.occupancy} %, {_name(least)}"


def _grouped(entries: Sequence[Entry], key: Callable[[Entry], tuple[str, ...]]) -> dict[tuple[str, ...], list[Entry]]:
    found: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        found[key(entry)].append(entry)
    return found


def _each(figures: Iterator[object]) -> str:
    """A figure for each target; once where they agree."""
    found = [str(figure) for figure in figures]
    return found[0] if len(set(found)) == 1 else " · ".join(found)


def _name(entry: Entry) -> str:
    return f"{entry.network} {entry.kernel}"


def _kib(count: int) -> str:
    # To the KiB, but for a few bytes of barriers.
    return f"{count / 1024:.1f}".removesuffix(".0")
