"""From the syntax tree to the graph: expand blocks, repeats and conditions; infer and check every shape.

All mistakes of a network are collected and raised together. After a mistake the current tensor's type is unknown
(None) and nothing that depends on it is reported, until a layer or a shape assertion makes it known again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from cnndsl import syntax as ast
from cnndsl.errors import CnnError, Diagnostic, Label, Span, did_you_mean, problem
from cnndsl.files import Program
from cnndsl.ir import Graph, InputSpec, Node, TensorType, verify
from cnndsl.ops import operations
from cnndsl.ops.base import Op, ShapeError
from cnndsl.ops.fields import show_value
from cnndsl.ops.joins import ArmError
from cnndsl.passes.bind import Callee, convert_arguments, pair_arguments
from cnndsl.passes.inputs import input_spec
from cnndsl.passes.scope import Entry, Scope, Value, planned_labels
from cnndsl.passes.values import POISON, Evaluator

MAX_LAYERS = 20_000
MAX_STEPS = 100_000
"""Elements visited while expanding: bounds `repeat` and blocks that make no layers."""
MAX_DEPTH = 60
"""Bodies within bodies, through blocks too; bounds Python's own recursion."""
MAX_VALUES = 2**36
"""Values of one tensor or weight: 256 GiB in fp32."""

Settings = Mapping[str, Any]


def elaborate(program: Program, network: ast.Definition, settings: Settings | None = None) -> Graph:
    """The graph of a network with its parameters set.

    Raises CnnError with all the mistakes found (E02xx, E03xx).
    """
    return _Expander(program).run(network, dict(settings or {}))


class _TooLargeError(Exception):
    """The expansion passed a limit, which was reported."""


class _Expander:
    """One expansion: the growing list of nodes and of mistakes."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ops = operations()
        self.nodes: list[Node] = []
        self.outputs: list[tuple[str, str, Span]] = []
        self.errors: dict[tuple[Any, ...], Diagnostic] = {}
        self.calls: list[tuple[str, Label]] = []
        self.producers: dict[str, Label] = {}
        self.steps = 0
        self.depth = 0

    # --- running -----------------------------------------------------------------------------------

    def run(self, network: ast.Definition, settings: dict[str, Any]) -> Graph:
        parameters = self._network_parameters(network, settings)
        self.network = network
        scope = Scope("", None, planned_labels(network.body))
        end: Value | None = None
        try:
            end = self._body(network.body, None, scope, parameters)
        except _TooLargeError:
            pass
        if end is None and not self.errors:
            self._report(
                Diagnostic(
                    "E0307", f"network `{network.name}` has no input", network.name_span,
                    help=("begin with: input image [224x224x3]",),
                )
            )
        if self.errors:
            raise CnnError(_in_order(self.errors.values()))
        assert end is not None
        assert end.node is not None
        outputs = (("main", end.node), *((name, node) for name, node, _ in self.outputs))
        shown = tuple((k, v) for k, v in parameters.items() if v is not POISON)
        return verify(Graph(network.name, tuple(self.nodes), outputs, shown))

    def _network_parameters(self, network: ast.Definition, settings: dict[str, Any]) -> dict[str, Any]:
        names = [p.name for p in network.parameters]
        for name in settings:
            if name not in names:
                guess = did_you_mean(name, names)
                takes = f"it takes {', '.join(f'`{n}`' for n in names)}" if names else "it takes no parameters"
                hint = f"did you mean `{guess}`?" if guess else takes
                raise problem("E0219", f"network `{network.name}` has no parameter `{name}`", help=(hint,))
        values: dict[str, Any] = {}
        for p in network.parameters:
            if p.name in values:
                self._report(Diagnostic("E0211", f"parameter `{p.name}` is declared twice", p.span))
            elif p.name in settings:
                values[p.name] = settings[p.name]
            elif p.default is not None:
                values[p.name] = Evaluator(dict(values), None, self._report).value(p.default)
            else:
                values[p.name] = POISON
                self._report(
                    Diagnostic(
                        "E0203", f"network `{network.name}` needs `{p.name}`", p.span, "has no default",
                        help=(f"give it from outside, --set {p.name}=..., or write a default: {p.name} = ...",),
                    )
                )
        return values

    def _report(self, d: Diagnostic) -> None:
        """Keep a mistake, once for each place however often a loop or a block repeats it."""
        assert d.span is not None
        key = (d.code, id(d.span.source), d.span.start, d.span.end)
        if key in self.errors:
            return
        called = tuple(label for _, label in reversed(self.calls[-3:]))
        self.errors[key] = replace(d, labels=(*d.labels, *called)) if called else d

    def _too_large(self, message: str, span: Span) -> _TooLargeError:
        self._report(Diagnostic("E0218", message, span))
        return _TooLargeError()

    # --- bodies --------------------------------------------------------------------------------------

    def _body(self, body: ast.Body, current: Value | None, scope: Scope, parameters: dict[str, Any]) -> Value | None:
        """Expand a pipeline from the current tensor to its end. None means: no input yet."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._report(Diagnostic("E0108", f"bodies are nested more than {MAX_DEPTH} deep", body.span))
            raise _TooLargeError
        for item in body.items:
            self.steps += 1
            if self.steps > MAX_STEPS or len(self.nodes) > MAX_LAYERS:
                limit = f"{MAX_LAYERS:,} layers" if len(self.nodes) > MAX_LAYERS else f"{MAX_STEPS:,} steps"
                raise self._too_large(f"the network is too large: more than {limit} when expanded", item.span)
            current = self._item(item, current, scope, parameters)
        self.depth -= 1
        return current

    def _item(self, item: ast.Item, current: Value | None, scope: Scope, parameters: dict[str, Any]) -> Value | None:
        if isinstance(item, ast.Input):
            return self._input(item, current, scope, parameters)
        if current is None:
            current = self._without_input(item.span)
        evaluator = Evaluator(parameters, current.type, self._report)
        match item:
            case ast.Layer():
                return self._layer(item, current, scope, evaluator)
            case ast.Shape():
                return self._assert_shape(item, current, evaluator)
            case ast.Goto():
                return self._lookup(item.target, scope) or Value(None, None, item.span)
            case ast.Group():
                return self._group(item, current, scope, parameters)
            case ast.Repeat():
                return self._repeat(item, current, scope, evaluator)
            case ast.If():
                return self._if(item, current, scope, evaluator)
            case ast.Output():
                return self._output(item, current, scope, parameters)

    def _without_input(self, span: Span) -> Value:
        self._report(
            Diagnostic(
                "E0307", f"network `{self.network.name}` has no input before its first layer", span,
                "nothing flows in here", help=("begin with: input image [224x224x3]",),
            )
        )
        return Value(None, None, span)

    def _input(self, item: ast.Input, current: Value | None, scope: Scope, parameters: dict[str, Any]) -> Value:
        # Whatever this input's mistakes, what follows is checked against the declared shape as far as it is known.
        if scope.prefix or self.calls or self.depth > 1:
            self._report(
                Diagnostic(
                    "E0221", "`input` stands only in the body of a network, not in a block, arm or repeat",
                    item.name_span,
                )
            )
            return current or Value(None, None, item.span)
        evaluator = Evaluator(parameters, None, self._report)
        type_ = self._input_type(item.shape, evaluator)
        spec = input_spec(item, type_, evaluator) if type_ is not None else InputSpec()
        name = self._name(ast.Label(item.name, item.name_span), "input", scope)
        value = Value(None, None, item.name_span)
        if type_ is not None:
            value = Value(name, type_, item.name_span)
            self.nodes.append(Node(name, None, (), type_, item.span, spec=spec))
            self.producers[name] = Label(item.name_span, f"is {type_}")
        scope.entries[item.name] = Entry(value, item.name_span)
        return value

    def _input_type(self, shape: ast.Shape, evaluator: Evaluator) -> TensorType | None:
        dims = self._dims(shape, evaluator)
        if dims is None:
            return None
        if any(d is None for d in dims):
            self._report(Diagnostic("E0308", "an input needs every size; `_` is for shape assertions", shape.span))
            return None
        sizes = tuple(d for d in dims if d is not None)
        if prod(sizes) > MAX_VALUES:
            self._report(Diagnostic("E0218", f"an input of {prod(sizes):,} values is absurdly large", shape.span))
            return None
        return TensorType(sizes)

    def _dims(self, shape: ast.Shape, evaluator: Evaluator) -> tuple[int | None, ...] | None:
        """The sizes of a shape, None for ``_``; None for the whole when it is wrong (reported)."""
        dims: list[int | None] = []
        good = True
        for expr in shape.dims:
            match expr:
                case ast.Dims(values):
                    dims.extend(values)
                    continue
                case ast.Name("_"):
                    dims.append(None)
                    continue
            value = evaluator.value(expr)
            if value is POISON:
                good = False
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                hint = ("`/` gives a number with a fraction; `//` divides whole numbers",)
                self._report(
                    Diagnostic(
                        "E0205", f"a size must be a whole number, found {show_value(value)}", expr.span,
                        help=hint if isinstance(value, float) else (),
                    )
                )
                good = False
                continue
            dims.append(value)
        if not good:
            return None
        if any(d is not None and d < 1 for d in dims):
            self._report(Diagnostic("E0308", "a size must be at least 1", shape.span))
            return None
        if len(dims) not in {1, 3}:
            self._report(
                Diagnostic(
                    "E0308", f"a shape has one or three sizes, found {len(dims)}", shape.span,
                    help=("a feature map is [height x width x channels], a vector [features]; the batch is left out",),
                )
            )
            return None
        return tuple(dims)

    def _assert_shape(self, item: ast.Shape, current: Value, evaluator: Evaluator) -> Value:
        dims = self._dims(item, evaluator)
        if dims is None:
            return current
        if current.type is None:
            # After a mistake, the author's own word is the best guess at what comes next.
            sizes = tuple(d for d in dims if d is not None)
            known = len(sizes) == len(dims) and prod(sizes) <= MAX_VALUES
            return Value(None, TensorType(sizes), item.span) if known else current
        found = current.type.shape
        if len(found) == len(dims) and all(d is None or d == f for d, f in zip(dims, found, strict=True)):
            return current
        self._report(self._wrong_shape(item, dims, current))
        return current

    def _wrong_shape(self, item: ast.Shape, dims: tuple[int | None, ...], current: Value) -> Diagnostic:
        assert current.type is not None
        expected = "[" + "x".join("_" if d is None else str(d) for d in dims) + "]"
        labels = (self.producers[current.node],) if current.node in self.producers else ()
        node = next((n for n in reversed(self.nodes) if n.name == current.node), None)
        notes: tuple[str, ...] = ()
        if node is not None and node.op is not None:
            types = tuple(t.type for name in node.inputs for t in self.nodes if t.name == name)
            notes = node.op.explain(*types)
        hints: tuple[str, ...] = ()
        if len(dims) == 1 and current.type.is_map and dims[0] == current.type.size:
            hints = ("`flatten` makes a vector of it",)
        return Diagnostic(
            "E0301", f"expected {expected}, found {current.type}", item.span, f"should be {current.type}", labels,
            notes, hints,
        )

    # --- names and labels ----------------------------------------------------------------------------

    def _name(self, label: ast.Label | None, base: str, scope: Scope) -> str:
        """The path of a layer: its label, or the next automatic name of its kind."""
        if label is None:
            short = scope.automatic(base)
        else:
            short = scope.indexed(label.name)
            if short in scope.taken:
                first = Label(scope.taken[short], "first used here")
                self._report(
                    Diagnostic("E0211", f"the label `{label.name}` is used twice", label.span, "again", (first,))
                )
                short = scope.automatic(f"{label.name}_")
        scope.taken[short] = label.span if label is not None else self.network.name_span
        return scope.prefix + short

    def _enter(self, label: ast.Label, entry: Entry, scope: Scope) -> None:
        scope.entries[label.name] = entry

    def _lookup(self, reference: ast.Reference, scope: Scope) -> Value | None:
        entry = scope.find(reference.path)
        if entry is not None:
            return entry.value
        later = scope.later(reference.path)
        if later is not None:
            self._report(
                Diagnostic(
                    "E0210", f"`@{reference.path}` is used before it is computed", reference.span,
                    labels=(Label(later, "computed here"),),
                )
            )
            return None
        visible = scope.visible()
        guess = did_you_mean(reference.path, visible)
        if guess is not None:
            hints: tuple[str, ...] = (f"did you mean `@{guess}`?",)
        elif "." in reference.path and scope.find(reference.path.split(".")[0]) is not None:
            hints = (f"`{reference.path.split('.')[0]}` has no such layer inside",)
        else:
            hints = ("a label is written in front of a layer: conv1: conv(64, 3x3)",)
        self._report(Diagnostic("E0209", f"there is no label `{reference.path}` here", reference.span, help=hints))
        return None

    # --- structure -----------------------------------------------------------------------------------

    def _group(self, item: ast.Group, current: Value, scope: Scope, parameters: dict[str, Any]) -> Value:
        return self._labelled(item.label, item.body, current, scope, parameters)

    def _labelled(
        self, label: ast.Label, body: ast.Body, current: Value, scope: Scope, parameters: dict[str, Any]
    ) -> Value:
        """A body under a path of its own."""
        inside = Scope(self._name(label, "", scope) + ".", scope, planned_labels(body))
        end = self._body(body, current, inside, parameters)
        assert end is not None
        scope.entries[label.name] = Entry(end, label.span, inside)
        return end

    def _repeat(self, item: ast.Repeat, current: Value, scope: Scope, evaluator: Evaluator) -> Value:
        count = evaluator.value(item.count)
        if count is POISON:
            return Value(None, None, item.span)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            code = "E0206" if isinstance(count, int) and not isinstance(count, bool) else "E0205"
            message = f"`repeat` needs a whole number of at least 0, found {show_value(count)}"
            self._report(Diagnostic(code, message, item.count.span))
            return Value(None, None, item.span)
        if count > MAX_STEPS:
            raise self._too_large(f"`repeat {count}` is more than {MAX_STEPS:,} passes", item.count.span)
        parameters = dict(evaluator.parameters)
        if item.label is None:
            around = scope.passes
            for number in range(count):
                self.steps += 1
                scope.passes = (*around, number)
                current = self._body(item.body, current, scope, parameters) or current
                if self.steps > MAX_STEPS:
                    raise self._too_large(f"the network is too large: more than {MAX_STEPS:,} steps", item.span)
            scope.passes = around
            return current
        return self._labelled_repeat(item, item.label, count, current, scope=scope, parameters=parameters)

    def _labelled_repeat(
        self,
        item: ast.Repeat,
        label: ast.Label,
        count: int,
        current: Value,
        *,
        scope: Scope,
        parameters: dict[str, Any],
    ) -> Value:
        """``label: repeat n``: pass i lives under ``label.i``; a lone unlabelled layer is itself called so."""
        outer = Scope(self._name(label, "", scope) + ".", scope, {})
        layers = [i for i in item.body.items if not isinstance(i, ast.Shape)]
        alone = len(layers) == 1 and isinstance(layers[0], ast.Layer) and layers[0].label is None
        for number in range(count):
            self.steps += 1
            if self.steps > MAX_STEPS:
                raise self._too_large(f"the network is too large: more than {MAX_STEPS:,} steps", item.span)
            index = ast.Label(str(number), label.span)
            if alone:
                named = tuple(
                    replace(i, label=index) if isinstance(i, ast.Layer) else i for i in item.body.items
                )
                current = self._body(replace(item.body, items=named), current, outer, parameters) or current
            else:
                current = self._labelled(index, item.body, current, outer, parameters)
        scope.entries[label.name] = Entry(current, label.span, outer)
        return current

    def _if(self, item: ast.If, current: Value, scope: Scope, evaluator: Evaluator) -> Value:
        condition = evaluator.boolean(item.condition)
        if not isinstance(condition, bool):
            return Value(None, None, item.span)
        body = item.then if condition else item.otherwise
        if body is None:
            return current
        return self._body(body, current, scope, dict(evaluator.parameters)) or current

    def _output(self, item: ast.Output, current: Value, scope: Scope, parameters: dict[str, Any]) -> Value:
        label = ast.Label(item.name, item.name_span)
        first = next((span for name, _, span in self.outputs if name == item.name), None)
        if first is not None or item.name == "main":
            labels = (Label(first, "first used here"),) if first is not None else ()
            why = "is the name of the last layer's output" if first is None else "is used twice"
            self._report(Diagnostic("E0211", f"the output name `{item.name}` {why}", item.name_span, "", labels))
            label = ast.Label(f"{item.name}_", item.name_span)
        end = self._labelled(label, item.body, current, scope, parameters)
        if end.node is not None:
            self.outputs.append((item.name, end.node, item.name_span))
        return current

    # --- layers --------------------------------------------------------------------------------------

    def _layer(self, item: ast.Layer, current: Value, scope: Scope, evaluator: Evaluator) -> Value:
        op = self.ops.get(item.name)
        block = self.program.blocks.get(item.name)
        if op is not None and block is None:
            return self._operation(item, op, current, scope, evaluator)
        if block is not None:
            return self._call(item, block, current, scope, evaluator)
        names = [*self.ops, *self.program.blocks]
        guess = did_you_mean(item.name, names) or _OTHER_NAMES.get(item.name.lower())
        if guess is None and item.name in self.program.networks:
            hint = f"`{item.name}` is a network; only blocks can stand inside another body"
        else:
            hint = f"did you mean `{guess}`?" if guess else "`cnndsl explain E0201` lists the layers"
        self._report(Diagnostic("E0201", f"unknown layer `{item.name}`", item.name_span, help=(hint,)))
        value = Value(None, None, item.name_span)
        if item.label is not None:
            scope.taken[scope.indexed(item.label.name)] = item.label.span
            scope.entries[item.label.name] = Entry(value, item.label.span)
        return value

    def _operation(
        self, item: ast.Layer, cls: type[Op], current: Value, scope: Scope, evaluator: Evaluator
    ) -> Value:
        name = self._name(item.label, cls.name, scope)
        span = item.name_span if item.arms is not None else item.span
        where = item.label.span if item.label is not None else item.name_span
        inputs = [current]
        arguments = item.arguments
        if cls.joins:
            inputs = self._join_inputs(item, current, scope, evaluator)
            arguments = tuple(a for a in arguments if not isinstance(a.value, ast.Reference) or a.name is not None)
        elif item.arms is not None:
            self._report(Diagnostic("E0220", f"{item.name} takes no arms", span))
        declared = cls.arguments()
        usage = cls.example if cls.example != cls.name else ""
        callee = Callee(
            cls.name, tuple(a.name for a in declared), frozenset(a.name for a in declared if a.required), usage=usage
        )
        bound = pair_arguments(callee, arguments, span, report=self._report)
        values = None
        if bound is not None:
            values = convert_arguments(declared, bound, evaluator, title=cls.name)
        type_, op = None, None
        if values is not None:
            op = cls(**values)
            type_, op = self._infer(op, inputs, span)
        value = Value(None, type_, where)
        if op is not None and type_ is not None and all(i.node is not None for i in inputs):
            value = Value(name, type_, where)
            reads = tuple(i.node for i in inputs if i.node is not None)
            calls = tuple(label.span for _, label in self.calls)
            self.nodes.append(Node(name, op, reads, type_, span, calls))
            self.producers[name] = Label(where, f"makes {type_}")
        # Automatic names can be referred to as well: they are what `summary` prints.
        short = item.label.name if item.label is not None else name.removeprefix(scope.prefix)
        scope.entries[short] = Entry(value, where)
        return value

    def _infer(self, op: Op, inputs: list[Value], span: Span) -> tuple[TensorType | None, Op | None]:
        types = [i.type for i in inputs]
        known = [t for t in types if t is not None]
        if len(known) < len(types):
            return self._guess_type(op), op
        try:
            op = op.resolve(*known)
            type_ = op.infer(*known)
        except ShapeError as error:
            blamed = inputs if not isinstance(error, ArmError) else [inputs[i] for i in error.pair]
            labels = tuple(self.producers[i.node] for i in blamed if i.node is not None)
            self._report(
                Diagnostic(error.code, str(error), span, error.arithmetic, tuple(dict.fromkeys(labels)), help=error.help)
            )
            return None, None
        largest = max([type_.size, *(w.size for w in op.weights(*known))])
        if largest > MAX_VALUES:
            message = f"{op.name} needs a tensor of {largest:,} values; at most {MAX_VALUES:,}"
            raise self._too_large(message, span)
        return type_, op

    @staticmethod
    def _guess_type(op: Op) -> TensorType | None:
        """The output's type where it does not depend on the input's."""
        units = getattr(op, "units", None)
        return TensorType((units,)) if isinstance(units, int) else None

    def _join_inputs(self, item: ast.Layer, current: Value, scope: Scope, evaluator: Evaluator) -> list[Value]:
        """What a join joins: its arms' ends, or the current tensor; then the references."""
        inputs: list[Value] = []
        parameters = dict(evaluator.parameters)
        for arm in item.arms or ():
            if arm.label is None:
                end = self._body(arm.body, current, scope, parameters)
            else:
                end = self._labelled(arm.label, arm.body, current, scope, parameters)
            assert end is not None
            inputs.append(end)
        if not inputs:
            inputs.append(current)
        for argument in item.arguments:
            if argument.name is None and isinstance(argument.value, ast.Reference):
                inputs.append(self._lookup(argument.value, scope) or Value(None, None, argument.span))
        if len(inputs) < 2:
            hint = f"write {item.name} {{ {{ ... }} {{ ... }} }} with arms, or {item.name}(@label)"
            self._report(Diagnostic("E0220", f"{item.name} joins at least two tensors", item.name_span, help=(hint,)))
            inputs.append(Value(None, None, item.span))
        return inputs

    # --- blocks --------------------------------------------------------------------------------------

    def _call(
        self, item: ast.Layer, block: ast.Definition, current: Value, scope: Scope, evaluator: Evaluator
    ) -> Value:
        title = f"block `{block.name}`"
        if any(name == block.name for name, _ in self.calls):
            chain = " -> ".join([*(name for name, _ in self.calls), block.name])
            self._report(
                Diagnostic("E0217", f"{title} calls itself", item.name_span, chain, help=("use `repeat`",))
            )
            return Value(None, None, item.span)
        if item.arms is not None:
            self._report(Diagnostic("E0220", f"{title} takes no arms", item.name_span))
        name = self._name(item.label, block.name, scope)
        names = tuple(p.name for p in block.parameters)
        required = frozenset(p.name for p in block.parameters if p.default is None)
        usage = f"{block.name}({', '.join(n if n in required else f'{n}=...' for n in names)})" if names else ""
        callee = Callee(title, names, required, block.name_span, usage)
        bound = pair_arguments(callee, item.arguments, item.span, report=self._report)
        end: Value | None = Value(None, None, item.name_span)
        inside = Scope(name + ".", None, planned_labels(block.body))
        if bound is not None:
            parameters = self._block_parameters(block, bound, evaluator)
            shown = ", ".join(f"{k} = {show_value(v)}" for k, v in parameters.items() if v is not POISON)
            label = Label(item.span, f"in this call of {block.name}" + (f": {shown}" if shown else ""))
            self.calls.append((block.name, label))
            end = self._body(block.body, current, inside, parameters)
            self.calls.pop()
        assert end is not None
        short = item.label.name if item.label is not None else name.removeprefix(scope.prefix)
        scope.entries[short] = Entry(end, item.name_span, inside)
        return end

    def _block_parameters(
        self, block: ast.Definition, bound: Mapping[str, ast.Argument], evaluator: Evaluator
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for p in block.parameters:
            if p.name in values:
                self._report(Diagnostic("E0211", f"parameter `{p.name}` is declared twice", p.span))
            elif p.name in bound:
                # `pad=same` passes through a block's parameter to the layer that knows the word.
                words = ("same",)
                local = Evaluator(evaluator.parameters, evaluator.current, evaluator.report, words)
                values[p.name] = local.value(bound[p.name].value)
            else:
                assert p.default is not None
                values[p.name] = Evaluator(dict(values), evaluator.current, self._report, ("same",)).value(p.default)
        return values


def _in_order(diagnostics: Any) -> list[Diagnostic]:
    """File by file, in the order of the text."""
    order: dict[int, int] = {}
    for d in diagnostics:
        order.setdefault(id(d.span.source), len(order))
    return sorted(diagnostics, key=lambda d: (order[id(d.span.source)], d.span.start, d.span.end))


_OTHER_NAMES = {
    "conv2d": "conv",
    "convolution": "conv",
    "convolutional": "conv",
    "linear": "dense",
    "fc": "dense",
    "fullyconnected": "dense",
    "innerproduct": "dense",
    "connected": "dense",
    "bn": "batchnorm",
    "batchnorm2d": "batchnorm",
    "maxpool2d": "maxpool",
    "avgpool2d": "avgpool",
    "pool": "maxpool",
    "swish": "silu",
    "sum": "add",
    "shortcut": "add",
    "cat": "concat",
    "route": "concat",
    "localresponsenorm": "lrn",
    "gap": "globalavgpool",
}
"""What other frameworks call a layer."""
