"""Reports without a compiler: stages written by hand, in the forms that the real ones have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cnndsl import targets
from cnndsl.compiler import Instructions, Job, Resources
from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ir import Graph
from cnndsl.passes.elaborate import elaborate
from cnndsl.report import Report, build, gather, page

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALL = """network Small(classes = 10) {
    input image [32x32x3]
    conv1: conv(16, 3x3, pad=1, bias=false) -> batchnorm -> relu
    maxpool(2x2) -> dropout(0.5)
    fc: dense(classes)
}
"""

BRANCHES = """# Every kind of branch.
block inception(a) {
    concat {
        { conv(a, 1x1) -> relu }
        { maxpool(3x3, stride=1, pad=1) -> conv(a, 1x1) -> relu }
    }
}
network Branches {
    input image [16x16x8]
    stem: conv(8, 3x3, pad=1) -> relu
    inception(8)
    inception(4)
    add {
        { conv(8, 3x3, pad=1) }
        { }
    }
    globalavgpool
    fc: dense(10)
}
"""


def graph_of(text: str | Path, **settings: Any) -> Graph:
    """The network of a text or of a file."""
    program = load_path(text) if isinstance(text, Path) else load_text(text, name="net.cnn")
    return elaborate(program, choose_network(program, None), settings)


@dataclass(frozen=True)
class Fake:
    """Looks like `cnndsl.compiler.Compiled`. `length` is the number of instructions."""

    job: Job
    length: int
    error: str | None
    resources: Resources | None

    @property
    def stages(self) -> tuple[str, ...]:
        return ("ttir", "ptx", "sass") if self.error is None else ()

    def line(self, number: int) -> int:
        """The line of the source that an instruction comes from: those of the kernel's body, in turn."""
        body = body_lines(self.job.kernel.source)
        return body[number * 7 % len(body)]

    def stage(self, name: str) -> str:
        places = [self.line(i) for i in range(self.length)]
        file = self.job.file
        match name:
            case "ttir":
                distinct = sorted(set(places))
                heads = [f'#loc{i} = loc("{file}":{line}:4)' for i, line in enumerate(distinct)]
                code = [f"    %{i} = tt.load %p{i} : tensor<64xf16> loc(#loc{i})" for i in range(len(distinct))]
                return "\n".join([*heads, "module {", *code, "}", ""])
            case "ptx":
                code = [f"\t.loc\t1 {line} 4\n\tfma.rn.f32 \t%f{i}, %f1, %f2, %f3;" for i, line in enumerate(places)]
                return "\n".join([".visible .entry k(", *code, "}", f'\t.file\t1 "/k" "{file}"', ""])
            case _:
                words = ("HGMMA.64x64x16.F32 R24, gdesc[UR8]", "LDGSTS.E.BYPASS.128 [R5], [R2.64]", "IADD3 R1, R2, R3")
                code = [f"    // {file}:{line}\n        {i * 16:04x}  {words[i % 3]}" for i, line in enumerate(places)]
                return "\n".join(["conv2d_kernel:", *code, ""])


def body_lines(source: str) -> list[int]:
    """The lines of a kernel's file that stand inside functions."""
    return [i for i, line in enumerate(source.splitlines(), 1) if line.startswith("    ") and "#" not in line]


RESOURCES = Resources(
    registers=64, stack=0, spill_stores=0, spill_loads=0, shared=16384, warps=4, stages=3, tensor_memory=0,
    instructions=Instructions(
        total=60, matrix=20, bulk_copies=0, async_copies=20, local=0,
        global_loads=((16, 4),), global_stores=((16, 2),), copy_widths=((16, 20),),
    ),
    programs=4, occupancy=25.0, limiter="registers",
)  # fmt: skip


def fake_report(
    graph: Graph,
    *,
    names: Sequence[str] = ("sm_90",),
    lengths: Mapping[str, int] | None = None,
    failing: Sequence[str] = (),
    spilling: Sequence[str] = (),
    dtype: Any = "fp16",
    batch: int = 1,
) -> Report:
    """A report whose kernels were never compiled. Kernels by name: how long, which fail, which spill."""

    def compile_kernels(jobs: Sequence[Job], **_: object) -> tuple[Fake, ...]:
        found = []
        for number, job in enumerate(jobs):
            name = job.kernel.name
            resources = replace(RESOURCES, registers=32 + number, spill_stores=8 if name in spilling else 0)
            error = "error: operand #0 does not dominate this use\n<of conv>" if name in failing else None
            found.append(Fake(job, (lengths or {}).get(name, 150), error, None if error else resources))
        return tuple(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gather, "compile_kernels", compile_kernels)
        patch.setattr(gather.installation, "find", lambda: SimpleNamespace(version="9.9.9"))
        return build(graph, targets=[targets.get(name) for name in names], dtype=dtype, batch=batch)


def write(report: Report, folder: Path) -> Path:
    """The report's page in a folder."""
    path = folder / "report.html"
    path.write_text(page(report), encoding="utf-8")
    return path
