"""Groups: the layers whose names begin alike stand in braces under that name, so that their weights' keys stay."""

from __future__ import annotations

from cnndsl.exchange.model import identifier
from cnndsl.exchange.write.names import Names, Path, commonprefix
from cnndsl.exchange.write.tree import Body, Goto, Group, Item, Layer, Output, end_of, layers_within
from cnndsl.ir import Graph, Node
from cnndsl.tokens import KEYWORDS


def grouped(body: Body, graph: Graph, names: Names) -> Body:
    """The body of a network with groups, and with labels for the layers whose names are kept."""
    taken = {name for name, _ in graph.outputs}
    scopes = _Scopes(graph, names)
    scopes.find_hints(body)
    body = scopes.body(body, (), taken, start="")
    inputs = {node.name: node for node in graph.inputs}
    for item in body:
        if isinstance(item, Layer) and item.node in inputs:
            item.label = _input_name(inputs[item.node], taken)
    return body


def _input_name(node: Node, taken: set[str]) -> str:
    name = identifier(node.name, otherwise="x")
    if name in KEYWORDS:
        name = "image" if node.type.is_map else "x"
    return free(name, taken)


FEW = 2
"""So many layers are no group of their own if the name is that of another group."""


class _Scopes:
    def __init__(self, graph: Graph, names: Names) -> None:
        self.graph = graph
        self.names = names
        self.around: dict[int, Path | None] = {}
        """The path around each item: what the names of its layers with weights have in common."""
        self.hinted: set[str] = set()
        """The joins whose own names say where they stand."""

    def find_hints(self, body: Body) -> None:
        """Which names of joins to believe: those of joins side by side that all say a path around their arms.

        In DenseNet each concat is called after the layer behind it, which reads it, and not after that in its arm.
        """
        found: dict[tuple[str, Path], list[str]] = {}
        wrong = set()
        for item in layers_within(body):
            path, place = self._path(item) if item.arms else None, self.names.places.get(item.node)
            self.around.pop(id(item), None)
            if path is not None and place is not None:
                side = (self.graph.by_name[item.node].text, path[:-1])
                found.setdefault(side, []).append(item.node)
                if place != path[: len(place)]:
                    wrong.add(side)
        self.hinted = {node for side, nodes in found.items() if side not in wrong for node in nodes}

    def body(self, body: Body, prefix: Path, taken: set[str], *, start: str) -> Body:
        """The items of a body that stands under `prefix`, where the names in `taken` are used."""
        body = self._outputs_apart(body, start)
        # After a side output that stands apart, the text may go on elsewhere at once.
        behind = [*body[1:], None]
        body = [at for at, b in zip(body, behind, strict=False) if not (isinstance(at, Goto) and isinstance(b, Goto))]
        scopes = self._scopes(body, prefix)
        return self._nested(list(zip(body, scopes, strict=True)), prefix, taken, start=start)

    # --- where items belong ----------------------------------------------------------------------------

    def _path(self, item: Item) -> Path | None:
        """The path that all kept names within an item share; None where there are none.

        For a side output named as the layers in it are, that is the path before its name, and for a join whose own
        name says where it stands, that.
        """
        if id(item) not in self.around:
            found = [self.names.paths[at.node][:-1] for at in layers_within([item]) if at.node in self.names.paths]
            path = commonprefix(found) if found else None
            if path is not None and isinstance(item, Output) and item.name in path:
                path = path[: path.index(item.name)]
            if path is not None and isinstance(item, Layer) and item.arms and item.node in self.hinted:
                path = self.names.places[item.node]
            self.around[id(item)] = path
        return self.around[id(item)]

    def _outputs_apart(self, body: Body, start: str) -> list[Item]:
        """Side outputs whose layers are not named after them: the layers first, and the output at their end."""
        items: list[Item] = []
        for item in body:
            before = end_of(items, start)
            if isinstance(item, Output) and item.body:
                found = [self.names.paths[at.node] for at in layers_within([item]) if at.node in self.names.paths]
                if found and item.name not in commonprefix(found):
                    items.extend([*item.body, Output(item.name, []), Goto(before)])
                    continue
            items.append(item)
        return items

    def _scopes(self, body: Body, prefix: Path) -> list[Path]:
        """For each item of a body, the path that it stands under."""
        scopes = [prefix] * len(body)
        before = prefix
        waiting: list[int] = []
        for number, own in enumerate([*(self._path(item) for item in body), prefix]):
            if own is None:
                waiting.append(number)
                continue
            path = own if own[: len(prefix)] == prefix else prefix
            for place, scope in zip(waiting, self._between([body[i] for i in waiting], before, path), strict=True):
                scopes[place] = scope
            waiting.clear()
            before = path
            if number < len(body):
                scopes[number] = path
        return scopes

    def _between(self, items: Body, left: Path, right: Path) -> list[Path]:
        """The paths of items without kept names that stand between two others.

        They leave the groups of what stands before step by step, and then enter those of what stands behind, since
        a group stands in one place.
        """
        current, entering = left, False
        scopes = []
        for item in items:
            place = self._place(item, left, right, beside=not entering and current == left)
            if not entering and place == left[: len(place)]:
                current = min(current, place, key=len)
            elif place == right[: len(place)]:
                current = max(current, place, key=len) if entering else place
                entering = True
            scopes.append(current)
        return scopes

    def _place(self, item: Item, left: Path, right: Path, *, beside: bool) -> Path:
        """Where an item would stand by its name, or for lack of one by what it is.

        `beside` tells that nothing stands between it and the layers on its left.
        """
        both = commonprefix([left, right])
        if not isinstance(item, Layer):
            return both
        node = self.graph.by_name[item.node]
        if item.node in self.names.places:
            place = self.names.places[item.node]
            best = max((commonprefix([place, left]), commonprefix([place, right])), key=len)
            return max(best, both, key=len)
        if beside and node.op is not None and (node.op.activation is not None or node.op.transparent):
            return left
        return both

    # --- groups ----------------------------------------------------------------------------------------

    def _nested(self, items: list[tuple[Item, Path]], prefix: Path, taken: set[str], *, start: str) -> Body:
        """The items with those that share the next part of their paths put in one group."""
        depth = len(prefix)
        body: Body = []
        number = 0
        while number < len(items):
            item, scope = items[number]
            if len(scope) == depth:
                body.append(self._inside(item, prefix, taken, start=end_of(body, start)))
                number += 1
                continue
            last = number
            while last < len(items) and items[last][1][: depth + 1] == scope[: depth + 1]:
                last += 1
            layers = layers_within([at for at, _ in items[number:last]])
            inside = [at.node for at in layers if at.node in self.names.paths]
            if scope[depth] in taken and len(inside) <= FEW:
                for node in inside:
                    path = self.names.paths[node]
                    self.names.paths[node] = (*path[:depth], "_".join(path[depth:]))
                body.extend(self._inside(at, prefix, taken, start=end_of(body, start)) for at, _ in items[number:last])
                number = last
                continue
            label = free(scope[depth], taken)
            inner = self._nested(items[number:last], scope[: depth + 1], set(), start=end_of(body, start))
            body.append(Group(label, inner))
            number = last
        return body

    def _inside(self, item: Item, prefix: Path, taken: set[str], *, start: str) -> Item:
        """One item, with what it holds in groups and with its label."""
        match item:
            case Layer():
                item.arms = [self.body(arm, prefix, taken, start=start) for arm in item.arms]
                if item.node in self.names.paths:
                    item.label = free(self.names.paths[item.node][-1], taken)
            case Output():
                item.body = self.body(item.body, (*prefix, item.name), set(), start=start)
            case Group():
                raise AssertionError("groups are made here")
        return item


def free(name: str, taken: set[str]) -> str:
    """A label that is not taken yet; it is taken then."""
    label, number = name, 1
    while label in taken:
        number += 1
        label = f"{name}_{number}"
    taken.add(label)
    return label
