"""From the syntax tree to the graph: expand blocks, repeats and conditions; infer and check every shape.

All mistakes of a network are collected and raised together. After a mistake the current tensor's type is
unknown (None) and nothing that depends on it is reported, until a layer or a shape assertion makes it known
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from cnndsl import syntax as ast
from cnndsl.errors import CnnError, Diagnostic, Label, Span, in_order
from cnndsl.files import Program
from cnndsl.ir import Graph, InputSpec, Node, verify
from cnndsl.ops import operations
from cnndsl.ops.base import Op
from cnndsl.ops.fields import show_value
from cnndsl.passes.assertions import check_assertion, input_type
from cnndsl.passes.bind import convert_arguments
from cnndsl.passes.inputs import input_spec
from cnndsl.passes.ledger import MAX_LAYERS, MAX_STEPS, Ledger, StopError
from cnndsl.passes.names import Names, call_span
from cnndsl.passes.parameters import (
    Parameters,
    block_parameters,
    check_settings,
    network_parameters,
    repeat_count,
)
from cnndsl.passes.scope import Entry, Scope, Value, no_label, planned_labels
from cnndsl.passes.shapes import MAX_VALUES, Joined, Tensors, infer
from cnndsl.passes.values import POISON, Evaluator, Poison

__all__ = ["MAX_DEPTH", "MAX_LAYERS", "MAX_STEPS", "MAX_VALUES", "elaborate"]

MAX_DEPTH = 60
"""Bodies within bodies, through blocks too; bounds Python's own recursion."""



def elaborate(program: Program, network: ast.Definition, settings: Mapping[str, Any] | None = None) -> Graph:
    """The graph of a network with its parameters set.

    Raises CnnError with all the mistakes found (E02xx, E03xx).
    """
    return _Expander(program, network).run(dict(settings or {}))


class _Expander:
    """One expansion: the growing list of nodes and of mistakes."""

    def __init__(self, program: Program, network: ast.Definition) -> None:
        self.program = program
        self.network = network
        self.ops = operations()
        self.tensors = Tensors()
        self.outputs: dict[str, tuple[str | None, Span]] = {}
        self.ledger = Ledger()
        self.unknown: set[Span] = set()
        """Conditions and counts that have failed: the next pass of a repeat would only fail again."""
        self.depth = 0

    # --- running -----------------------------------------------------------------------------------

    def run(self, settings: dict[str, Any]) -> Graph:
        """Expand the network."""
        network, end = self.network, None
        check_settings(network, settings)
        parameters: dict[str, Any] = {}
        try:
            self.names = Names(self.program, network, self.ledger.report)
            parameters = network_parameters(network, settings, self.ledger.report)
            end = self._body(network.body, None, Scope("", None, planned_labels(network.body)), parameters)
        except StopError:
            pass
        if end is None and not self.ledger.errors:
            hint = ("begin with: input image [224x224x3]",)
            self.ledger.report(
                Diagnostic("E0307", f"network `{network.name}` has no input", network.name_span, help=hint)
            )
        if self.ledger.errors:
            raise CnnError(in_order(self.ledger.errors.values(), first=self.program.file.source))
        assert end is not None
        assert end.node is not None
        sides = ((name, node) for name, (node, _) in self.outputs.items() if node is not None)
        outputs = (("main", end.node), *sides)
        return verify(
            Graph(network.name, tuple(self.tensors.nodes.values()), outputs, tuple(parameters.items()))
        )

    # --- bodies --------------------------------------------------------------------------------------

    def _body(
        self, body: ast.Body, current: Value | None, scope: Scope, parameters: Parameters
    ) -> Value | None:
        """Expand a pipeline from the current tensor to its end. None means: no input yet."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            message = f"bodies and calls of blocks are nested more than {MAX_DEPTH} deep"
            self.ledger.report(Diagnostic("E0108", message, body.span))
            raise StopError
        for item in body.items:
            self.ledger.spend(1, item.span)
            current = self._item(item, current, scope, parameters)
        self.depth -= 1
        return current

    def _item(
        self, item: ast.Item, current: Value | None, scope: Scope, parameters: Parameters
    ) -> Value | None:
        if isinstance(item, ast.Input):
            return self._input(item, current, scope, parameters)
        if current is None:
            current = self._without_input(item)
        evaluator = Evaluator(parameters, current.type, self.ledger.report)
        match item:
            case ast.Layer():
                return self._layer(item, current, scope, evaluator)
            case ast.Shape():
                return check_assertion(item, current, evaluator, tensors=self.tensors, ledger=self.ledger)
            case ast.Goto():
                return self._lookup(item.target, scope)
            case ast.Group():
                return self._labelled(item.label, item.body, current, scope, parameters)
            case ast.Repeat():
                return self._repeat(item, current, scope, evaluator)
            case ast.If():
                return self._if(item, current, scope, evaluator)
            case ast.Output():
                return self._output(item, current, scope, parameters)

    def _without_input(self, item: ast.Item) -> Value:
        is_known = isinstance(item, ast.Layer) and item.name_span in self.names.failed
        if not is_known:
            message = f"network `{self.network.name}` has no input before its first layer"
            span = item.name_span if isinstance(item, ast.Layer) else item.span
            hint = ("begin with: input image [224x224x3]",)
            self.ledger.report(Diagnostic("E0307", message, span, "nothing flows in here", help=hint))
        return Value(None, None, item.span)

    def _input(self, item: ast.Input, current: Value | None, scope: Scope, parameters: Parameters) -> Value:
        # Whatever this input's mistakes, what follows is checked against the declared shape as far as it is
        # known.
        if scope.prefix or self.ledger.calls or self.depth > 1:
            message = "`input` stands only in the body of a network, not in a block, arm or repeat"
            self.ledger.report(Diagnostic("E0221", message, item.name_span))
            return current or Value(None, None, item.span)
        evaluator = Evaluator(parameters, None, self.ledger.report)
        type_ = input_type(item.shape, evaluator)
        bound = self.names.bound[item.name_span]
        spec = input_spec(bound, type_, evaluator) if type_ is not None else InputSpec()
        name = self._name(ast.Label(item.name, item.name_span), "input", scope)
        value = Value(None, None, item.name_span)
        if type_ is not None:
            value = Value(name, type_, item.name_span)
            self._add(Node(name, None, (), type_, item.span, spec=spec), Label(item.name_span, f"is {type_}"))
        scope.entries[item.name] = Entry(value, item.name_span)
        return value

    def _add(self, node: Node, place: Label) -> None:
        self.tensors.nodes[node.name] = node
        self.tensors.places[node.name] = place
        self.ledger.layers += 1

    # --- names and labels ----------------------------------------------------------------------------

    def _name(self, label: ast.Label | None, base: str, scope: Scope) -> str:
        """The path of a layer: its label, or the next automatic name of its kind."""
        if label is None:
            short = scope.automatic(base)
        else:
            short = scope.indexed(label.name)
            if short in scope.taken:
                first = Label(scope.taken[short], "first used here")
                message = f"the label `{label.name}` is used twice"
                self.ledger.report(Diagnostic("E0211", message, label.span, "used again", (first,)))
                short = scope.automatic(f"{label.name}_")
        scope.taken[short] = label.span if label is not None else self.network.name_span
        return scope.prefix + short

    def _lookup(self, reference: ast.Reference, scope: Scope) -> Value:
        entry = scope.find(reference.path)
        if entry is not None:
            return entry.value
        if not self.ledger.reported("E0209", reference.span):
            self.ledger.report(no_label(reference, scope))
        return Value(None, None, reference.span)

    # --- structure -----------------------------------------------------------------------------------

    def _labelled(
        self, label: ast.Label, body: ast.Body, current: Value, scope: Scope, parameters: Parameters
    ) -> Value:
        """A body under a path of its own."""
        name = self._name(label, "", scope)
        inside = Scope(name + ".", scope, planned_labels(body))
        end = self._body(body, current, inside, parameters)
        assert end is not None
        scope.enter(label, name, Entry(end, label.span, inside))
        return end

    def _repeat(self, item: ast.Repeat, current: Value, scope: Scope, evaluator: Evaluator) -> Value:
        count = None
        if item.count.span not in self.unknown:
            self.ledger.spend_text(item.count.span)
            count = repeat_count(item.count, evaluator, self.ledger)
        if count is None:
            self.unknown.add(item.count.span)
            scope.forget(item)
            return Value(None, None, item.span)
        if item.label is not None:
            return self._labelled_repeat(
                item, item.label, count, current, scope=scope, parameters=evaluator.parameters
            )
        around = scope.passes
        for number in range(count):
            self.ledger.spend(1, item.span)
            mistakes = len(self.ledger.errors)
            scope.passes = (*around, number)
            current = self._body(item.body, current, scope, evaluator.parameters) or current
            if len(self.ledger.errors) > mistakes:
                # The passes to come would fail at the same places.
                current = Value(None, None, item.span)
                break
        scope.passes = around
        return current

    def _labelled_repeat(
        self,
        item: ast.Repeat,
        label: ast.Label,
        count: int,
        current: Value,
        *,
        scope: Scope,
        parameters: Parameters,
    ) -> Value:
        """``label: repeat n``: pass i lives under ``label.i``; a lone unlabelled layer is called so."""
        name = self._name(label, "", scope)
        outer = Scope(name + ".", scope, {})
        layers = [i for i in item.body.items if not isinstance(i, ast.Shape)]
        alone = len(layers) == 1 and isinstance(layers[0], ast.Layer) and layers[0].label is None
        for number in range(count):
            self.ledger.spend(1, item.span)
            mistakes = len(self.ledger.errors)
            index = ast.Label(str(number), label.span)
            if alone:
                named = tuple(
                    replace(i, label=index) if isinstance(i, ast.Layer) else i for i in item.body.items
                )
                current = self._body(replace(item.body, items=named), current, outer, parameters) or current
            else:
                current = self._labelled(index, item.body, current, outer, parameters)
            if len(self.ledger.errors) > mistakes:
                current = Value(None, None, item.span)
                break
        # After a mistake nothing is known to be inside, rather than a part.
        scope.enter(label, name, Entry(current, label.span, outer if current.type is not None else None))
        return current

    def _if(self, item: ast.If, current: Value, scope: Scope, evaluator: Evaluator) -> Value:
        condition: bool | Poison = POISON
        if item.condition.span not in self.unknown:
            self.ledger.spend_text(item.condition.span)
            condition = evaluator.boolean(item.condition)
        if isinstance(condition, Poison):
            self.unknown.add(item.condition.span)
            scope.forget(item)
            return Value(None, None, item.span)
        body = item.then if condition else item.otherwise
        if body is None:
            return current
        return self._body(body, current, scope, evaluator.parameters) or current

    def _output(self, item: ast.Output, current: Value, scope: Scope, parameters: Parameters) -> Value:
        label = ast.Label(item.name, item.name_span)
        first = self.outputs.get(item.name)
        if first is not None or item.name == "main":
            labels = (Label(first[1], "first used here"),) if first is not None else ()
            why = "belongs to the network's last layer" if first is None else "is used twice"
            self.ledger.report(
                Diagnostic("E0211", f"the output name `{item.name}` {why}", item.name_span, "", labels)
            )
            label = ast.Label(f"{item.name}_", item.name_span)
        end = self._labelled(label, item.body, current, scope, parameters)
        self.outputs.setdefault(item.name, (end.node, item.name_span))
        return current

    # --- layers --------------------------------------------------------------------------------------

    def _layer(self, item: ast.Layer, current: Value, scope: Scope, evaluator: Evaluator) -> Value:
        block = self.program.blocks.get(item.name)
        op = self.ops.get(item.name) if block is None else None
        if item.name_span in self.names.failed:
            return self._failed(item, scope, evaluator)
        self.ledger.spend_text(call_span(item))
        if block is not None:
            return self._call(item, block, current, scope, evaluator)
        assert op is not None, "unknown layers have failed before"
        return self._operation(item, op, current, scope, evaluator)

    def _failed(self, item: ast.Layer, scope: Scope, evaluator: Evaluator) -> Value:
        """A layer whose mistake was reported: its output is unknown, and so is what its name refers to.

        The values of the arguments that are known are looked at all the same.
        """
        value = Value(None, None, item.name_span)
        bound = self.names.bound.get(item.name_span)
        if bound is not None and item.name not in self.program.blocks:
            convert_arguments(self.names.declared[item.name], bound, evaluator, title=item.name)
        known = item.name in self.ops or item.name in self.program.blocks
        base = item.name if known else self.names.guess(item.name) or item.name
        if item.label is not None:
            short = scope.indexed(item.label.name)
            scope.taken.setdefault(short, item.label.span)
            scope.enter(item.label, scope.prefix + short, Entry(value, item.name_span))
        else:
            scope.enter(None, self._name(None, base, scope), Entry(value, item.name_span))
        scope.forget(item)
        return value

    def _operation(
        self, item: ast.Layer, cls: type[Op], current: Value, scope: Scope, evaluator: Evaluator
    ) -> Value:
        name = self._name(item.label, cls.name, scope)
        where = item.label.span if item.label is not None else item.name_span
        span = call_span(item)
        inputs: list[Joined] = [(current, None)]
        if cls.joins:
            inputs = self._join_inputs(item, current, scope, evaluator)
        declared, bound = self.names.declared[cls.name], self.names.bound[item.name_span]
        values, good = convert_arguments(declared, bound, evaluator, title=cls.name)
        value, op = Value(None, None, where), None
        if good:
            found, op = infer(cls(**values), inputs, span, tensors=self.tensors, ledger=self.ledger)
            value = replace(found, span=where)
        if op is None:
            self.names.failed.add(item.name_span)
        reads = tuple(i.node for i, _ in inputs if i.node is not None)
        type_ = value.type
        if op is not None and type_ is not None and len(reads) == len(inputs):
            value = replace(value, node=name)
            calls = tuple(label.span for _, label in self.ledger.calls)
            self._add(Node(name, op, reads, type_, span, calls), Label(where, f"makes {type_}"))
        scope.enter(item.label, name, Entry(value, where))
        return value

    def _join_inputs(
        self, item: ast.Layer, current: Value, scope: Scope, evaluator: Evaluator
    ) -> list[Joined]:
        """What a join joins: its arms' ends, or the current tensor; then the references."""
        inputs: list[Joined] = []
        for arm in item.arms or ():
            if arm.label is None:
                end = self._body(arm.body, current, scope, evaluator.parameters)
            else:
                end = self._labelled(arm.label, arm.body, current, scope, evaluator.parameters)
            assert end is not None
            inputs.append((end, arm))
        if not inputs:
            inputs.append((current, None))
        inputs.extend(
            (self._lookup(argument.value, scope), None)
            for argument in item.arguments
            if argument.name is None and isinstance(argument.value, ast.Reference)
        )
        if len(inputs) < 2:
            hint = f"write {item.name} {{ {{ ... }} {{ ... }} }} with arms, or {item.name}(@label)"
            self.ledger.report(
                Diagnostic("E0220", f"{item.name} joins at least two tensors", item.name_span, help=(hint,))
            )
            inputs.append((Value(None, None, item.span), None))
        return inputs

    # --- blocks --------------------------------------------------------------------------------------

    def _call(
        self, item: ast.Layer, block: ast.Definition, current: Value, scope: Scope, evaluator: Evaluator
    ) -> Value:
        name = self._name(item.label, block.name, scope)
        inside = Scope(name + ".", None, planned_labels(block.body), caller=scope)
        self.ledger.spend_text(Span(block.name_span.source, block.name_span.start, block.body.span.start))
        parameters = block_parameters(block, self.names.bound[item.name_span], evaluator)
        shown = [f"{k} = {show_value(v)}" for k, v in parameters.items() if v is not POISON]
        values = f": {', '.join([*shown[:6], *['...'][: len(shown) - 6]])}" if shown else ""
        label = Label(call_span(item), f"in this call of {block.name}{values}")
        self.ledger.calls.append((block.name, label))
        end = self._body(block.body, current, inside, parameters)
        self.ledger.calls.pop()
        assert end is not None
        scope.enter(item.label, name, Entry(end, item.name_span, inside))
        return end
