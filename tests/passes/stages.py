"""What the tests of the passes share: a text as far as simplified and fused."""

from __future__ import annotations

from pathlib import Path

from cnndsl.files import choose_network, load_path, load_text
from cnndsl.ir import Graph, Node
from cnndsl.passes.elaborate import elaborate
from cnndsl.passes.fuse import Groups, fuse
from cnndsl.passes.plan import Plan, plan
from cnndsl.passes.simplify import simplify
from cnndsl.targets import get

EXAMPLES = Path(__file__).parents[2] / "examples"


def written(text: str) -> Graph:
    """The graph of a whole text, before any rewrite."""
    program = load_text(text)
    return elaborate(program, choose_network(program, None))


def graph_of(body: str) -> Graph:
    """The graph of a network's body, before any rewrite."""
    return written(f"network T {{ {body} }}")


def parts(node: Node) -> str:
    """A layer and the batch norms that it has taken up, in computing order."""
    return " + ".join(str(node.op) if name == node.layer else name for name in node.layers)


def simplified(body: str) -> dict[str, str]:
    """The simplified network: for each layer what it is, the batch norms that it took up, and what it reads."""
    return {
        node.name: f"{parts(node)} <- {', '.join(node.inputs)}"
        for node in simplify(graph_of(body)).nodes
        if node.op is not None
    }


def groups_of(body: str) -> Groups:
    return fuse(simplify(graph_of(body)))


def titles(body: str) -> list[str]:
    """The kernels of a network by the layers that each computes."""
    return [group.title for group in groups_of(body).groups]


def plan_of(body: str) -> Plan:
    return plan(groups_of(body), target=get("sm_90"), dtype="fp16")


def example(name: str) -> Groups:
    program = load_path(EXAMPLES / f"{name}.cnn")
    return fuse(simplify(elaborate(program, choose_network(program, None))))


def launches(planned: Plan) -> list[str]:
    """The names of the kernels launched, in order."""
    return [launch.kernel for step in planned.steps for launch in step.launches]
