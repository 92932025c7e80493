"""A network at each stage, made when somebody asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from cnndsl.ir import Graph
from cnndsl.linemap import LineMap, line_map
from cnndsl.passes import fuse, plan, simplify
from cnndsl.targets import Target
from cnndsl.tiles import Aim, DType

if TYPE_CHECKING:
    from cnndsl.codegen.package import Package


@dataclass(frozen=True)
class Made:
    """A network for one target and type. `batch` is what tiles are chosen for."""

    graph: Graph
    target: Target
    dtype: DType
    batch: int

    @cached_property
    def simplified(self) -> Graph:
        """What is left to compute."""
        return simplify.simplify(self.graph)

    @cached_property
    def groups(self) -> fuse.Groups:
        """The layers of each kernel."""
        return fuse.fuse(self.simplified, Aim(self.batch, self.dtype))

    @cached_property
    def plan(self) -> plan.Plan:
        """Memory and launches."""
        return plan.plan(self.groups, target=self.target, dtype=self.dtype, batch=self.batch)

    @cached_property
    def package(self) -> Package:
        """The Python files."""
        from cnndsl.codegen.package import package

        return package(self.plan)

    @cached_property
    def lines(self) -> LineMap:
        """Lines, layers and kernels."""
        return line_map(self.graph, self.package)
