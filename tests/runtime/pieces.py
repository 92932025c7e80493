"""Pieces of random networks: what a file says, and beside it the same in torch; and those that join several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import strategies as st
from strategies import Dims
from torch.nn import functional as f


@dataclass(frozen=True)
class State:
    """What a piece needs to compute: the tensors by key, labelled results, and the path it stands under."""

    weights: dict[str, torch.Tensor]
    named: dict[str, torch.Tensor]
    outputs: dict[str, torch.Tensor]
    prefix: str = ""
    passes: tuple[int, ...] = ()

    def of(self, label: str) -> dict[str, torch.Tensor]:
        path = self.prefix + ".".join([label, *map(str, self.passes)]) + "."
        return {key.removeprefix(path): t for key, t in self.weights.items() if key.startswith(path)}


Run = Callable[[torch.Tensor, State], torch.Tensor]


@dataclass(frozen=True)
class Piece:
    """A part of a pipeline."""

    text: str
    shape: Dims
    run: Run


@dataclass(frozen=True)
class Example:
    """A network."""

    text: str
    inputs: tuple[Dims, ...]
    run: Callable[[list[torch.Tensor], dict[str, torch.Tensor]], dict[str, torch.Tensor]] = field(repr=False)


class Branched:
    """Bodies of published networks that branch, in small: mixed into `networks.Writer`, whose pieces they are of."""

    draw: st.DrawFn
    label: Callable[[], str]
    number: Callable[[int, int], int]
    chain: Callable[..., Piece]
    arms: Callable[..., Piece]
    conv: Callable[..., Piece]
    batchnorm: Callable[[Dims], Piece]
    activation: Callable[[Dims], Piece]
    simple: Callable[..., Piece]
    smooth: Callable[[Dims], Piece]

    def line(self, shape: Dims, *makers: Callable[[Dims], Piece]) -> Piece:
        """Pieces one behind the other, each made for the shape before it."""
        pieces: list[Piece] = []
        for make in makers:
            pieces.append(make(pieces[-1].shape if pieces else shape))
        return self.chain(pieces, shape)

    def several(self, shape: Dims) -> list[Callable[[Dims], Piece]]:
        """A batch norm or none, an activation or none."""
        return [make for make in (self.batchnorm, self.activation) if self.draw(st.booleans())]

    def point(self, filters: int) -> Callable[[Dims], Piece]:
        """A convolution of one pixel, which the strategy for convolutions draws too rarely to be a sibling."""
        return lambda shape: self.conv(shape, filters, side=1)

    def inception(self, shape: Dims) -> Piece:
        """Convolutions of one pixel that read one tensor, some with more behind, and a pool with one."""
        arms = [self.line(shape, self.point(self.number(1, 9)), *self.several(shape)) for _ in range(self.number(2, 3))]
        for _ in range(self.number(0, 2)):
            reduced = self.line(shape, self.point(self.number(1, 9)), *self.several(shape))
            arms.append(self.chain([reduced, self.conv(reduced.shape, self.number(1, 6))], shape))
        if self.draw(st.booleans()):
            arms.append(self.line(shape, self.smooth, self.point(self.number(1, 5))))
        whole = self.arms("concat", arms, (*shape[:-1], sum(arm.shape[-1] for arm in arms)))
        return self.line(shape, lambda _: whole, *self.several(shape))

    def grow(self, shape: Dims) -> Piece:
        """A DenseNet's block as exporters write it: each concat lists all its arms."""
        first = self.label()
        known: list[tuple[str, int]] = [(first, shape[-1])]
        texts = [f"{first}: identity"]
        runs: list[tuple[str, Piece]] = []
        current = shape
        for _ in range(self.number(1, 3)):
            name, grown = self.label(), self.number(1, 4)
            body = self.line(current, *self.several(current), self.point(grown))
            texts.append(f"{name}: {{ {body.text} }}")
            runs.append((name, body))
            known.append((name, grown))
            texts.append(f"@{known[0][0]} concat({', '.join(f'@{other}' for other, _ in known[1:])})")
            current = (*shape[:-1], sum(channels for _, channels in known))

        def run(x: torch.Tensor, state: State) -> torch.Tensor:
            values = [x]
            for name, body in runs:
                inside = replace(state, prefix=f"{state.prefix}{name}.", passes=())
                values.append(body.run(torch.cat(values, 1), inside))
            return torch.cat(values, 1)

        return Piece("\n".join(texts), current, run)

    def unit(self, shape: Dims) -> Piece:
        """A ShuffleNet's: two arms, and the activation behind them."""
        other = self.line(shape, self.point(self.number(1, 6)), *self.several(shape)[:1])
        pooled = self.smooth(shape) if self.draw(st.booleans()) else self.conv(shape)
        arms = [pooled, other] if self.draw(st.booleans()) else [other, pooled]
        whole = self.arms("concat", arms, (*shape[:-1], shape[-1] + other.shape[-1]))
        return self.line(shape, lambda _: whole, *self.several(shape), self.activation)

    def normed(self, shape: Dims) -> Piece:
        """A batch norm before or behind what averages or copies channels, among convolutions."""
        between = self.draw(st.sampled_from((self.averages, self.averages, self.shuffle, self.nothing)))
        order: list[Any] = [self.batchnorm, between] if self.draw(st.booleans()) else [between, self.batchnorm]
        return self.line(shape, self.point(shape[-1]), *self.several(shape)[1:], *order, self.point(shape[-1]))

    def residual(self, shape: Dims) -> Piece:
        """A ResNet's block: two convolutions and what goes past them, or a projection of it."""
        body = self.line(shape, self.conv, self.batchnorm, self.activation, self.conv, *self.several(shape)[:1])
        past = self.line(shape, self.conv, self.batchnorm) if self.draw(st.booleans()) else self.chain([], shape)
        arms = [body, past] if self.draw(st.booleans()) else [past, body]
        return self.line(shape, lambda _: self.arms("add", arms, shape), *self.several(shape)[1:], self.activation)

    def averages(self, shape: Dims) -> Piece:
        """Pooling that keeps the shape and counts no zeros."""
        text = "avgpool(3, stride=1, pad=1, count_pad=false)"
        return self.simple(text, shape, lambda x: f.avg_pool2d(x, 3, 1, 1, count_include_pad=False))

    shuffle: Callable[[Dims], Piece]
    nothing: Callable[[Dims], Piece]
