"""Names, checked in the text before anything is expanded.

Whether a layer, an argument or a parameter exists does not depend on any number, so it is asked once for each
place of the text, in branches that are not taken and blocks that nobody calls too, and never blamed on a
caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cnndsl import syntax as ast
from cnndsl.errors import Diagnostic, Span, did_you_mean
from cnndsl.files import Program
from cnndsl.ops import operations
from cnndsl.ops.base import Argument, Op
from cnndsl.passes.bind import Callee, pair_arguments
from cnndsl.passes.inputs import INPUT_ARGUMENTS, pair_options
from cnndsl.passes.values import IN_FIELDS, Report, unknown_field, unknown_name

BLOCK_WORDS = ("same",)
"""Bare words that pass through a block's parameter to the layer that knows them (``pad=same``)."""

Bound = Mapping[str, ast.Argument]


def operation_callee(op: type[Op]) -> Callee:
    """What an operation takes."""
    declared = op.arguments()
    return Callee(
        op.name, tuple(a.name for a in declared), frozenset(a.name for a in declared if a.required),
        usage=op.example if op.example != op.name else "",
    )


def block_callee(block: ast.Definition) -> Callee:
    """What a block takes."""
    names = tuple(p.name for p in block.parameters)
    required = frozenset(p.name for p in block.parameters if p.default is None)
    shown = [n if n in required else f"{n}=..." for n in names[:8]] + (["..."] if len(names) > 8 else [])
    usage = f"{block.name}({', '.join(shown)})" if names else ""
    return Callee(f"block `{block.name}`", names, required, block.name_span, usage)


class Names:
    """What the names mean in a network and all blocks: which argument goes where, which layers are wrong."""

    def __init__(self, program: Program, network: ast.Definition, report: Report) -> None:
        self.program = program
        self.report = report
        self.ops = operations()
        self.bound: dict[Span, Bound] = {}
        """For each layer by the place of its name: its arguments."""
        self.failed: set[Span] = set()
        """Layers, by the place of their names, that are not to be expanded."""
        self.callees: dict[str, Callee] = {}
        self.guesses: dict[str, str | None] = {}
        self.declared: dict[str, tuple[Argument, ...]] = {n: op.arguments() for n, op in self.ops.items()}
        for definition in (network, *program.blocks.values()):
            self._definition(definition)
        self._recursion()

    # --- walking -------------------------------------------------------------------------------------

    def _definition(self, definition: ast.Definition) -> None:
        seen: dict[str, ast.Parameter] = {}
        for p in definition.parameters:
            if p.default is not None:
                self._expression(p.default, seen, BLOCK_WORDS, flows=definition.kind == "block")
            seen.setdefault(p.name, p)
        self._body(definition.body, seen)

    def _body(self, body: ast.Body, parameters: Mapping[str, ast.Parameter]) -> None:
        items = body.items
        index = 0
        while index < len(items):
            meant = self._misspelt_input(items[index : index + 3])
            if meant:
                index += meant
                continue
            self._item(items[index], parameters)
            index += 1

    def _item(self, item: ast.Item, parameters: Mapping[str, ast.Parameter]) -> None:
        match item:
            case ast.Layer():
                self._layer(item, parameters)
            case ast.Shape():
                self._shape(item, parameters)
            case ast.Group():
                self._body(item.body, parameters)
            case ast.Repeat():
                self._expression(item.count, parameters, ())
                self._body(item.body, parameters)
            case ast.If():
                self._expression(item.condition, parameters, ())
                self._body(item.then, parameters)
                if item.otherwise is not None:
                    self._body(item.otherwise, parameters)
            case ast.Output():
                self._body(item.body, parameters)
            case ast.Input():
                self._shape(item.shape, parameters, flows=False)
                self.bound[item.name_span] = pair_options(item, self.report)
                known = {a.name: a.kind.words for a in INPUT_ARGUMENTS}
                every = tuple(word for words in known.values() for word in words)
                for option in item.options:
                    self._expression(option.value, parameters, known.get(option.name or "", every), flows=False)

    def _layer(self, item: ast.Layer, parameters: Mapping[str, ast.Parameter]) -> None:
        for arm in item.arms or ():
            self._body(arm.body, parameters)
        op, block = self.ops.get(item.name), self.program.blocks.get(item.name)
        if op is None and block is None:
            self.failed.add(item.name_span)
            self.report(self._unknown_layer(item))
            return
        arguments = item.arguments
        words: Mapping[str, tuple[str, ...]] = {}
        if item.name not in self.callees:
            self.callees[item.name] = block_callee(block) if block is not None else operation_callee(
                self.ops[item.name]
            )
        callee = self.callees[item.name]
        if block is None:
            assert op is not None
            words = {a.name: a.kind.words for a in self.declared[item.name]}
            if op.joins:
                arguments = self._without_references(item)
        if item.arms is not None and (op is None or block is not None or not op.joins):
            self.failed.add(item.name_span)
            hint = (f"write {item.name}: {{ ... }} if these are layers under a name",)
            self.report(Diagnostic("E0220", f"{callee.title} takes no arms", item.name_span, help=hint))
        bound, good = pair_arguments(callee, arguments, call_span(item), report=self.report)
        self.bound[item.name_span] = bound
        if not good:
            self.failed.add(item.name_span)
        places = {id(argument): name for name, argument in bound.items()}
        for argument in arguments:
            if self._compares(argument, callee, parameters):
                self.failed.add(item.name_span)
                continue
            allowed = BLOCK_WORDS if block is not None else words.get(
                places.get(id(argument), ""), BLOCK_WORDS
            )
            self._expression(argument.value, parameters, allowed)

    def _compares(
        self, argument: ast.Argument, callee: Callee, parameters: Mapping[str, ast.Parameter]
    ) -> bool:
        """Whether ``stride==2`` stands where ``stride=2`` was meant (reported)."""
        match argument.value:
            case ast.Binary(first=ast.Name(name, span), rest=(("==", value),)):
                if name not in callee.known or name in parameters:
                    return False
                hint = (f"write {name}={value.span.text}",)
                whole = span.to(value.span)
                self.report(Diagnostic("E0115", "an argument is given with one `=`", whole, help=hint))
                return True
        return False

    def _without_references(self, item: ast.Layer) -> tuple[ast.Argument, ...]:
        """The arguments of a join but its references; a bare name there is one without its `@`."""
        rest = []
        for argument in item.arguments:
            if argument.name is None and isinstance(argument.value, ast.Reference):
                continue
            if argument.name is None and isinstance(argument.value, ast.Name):
                name = argument.value.name
                self.failed.add(item.name_span)
                self.report(
                    Diagnostic(
                        "E0205", f"{item.name} joins tensors, and `{name}` is none", argument.span,
                        help=(f"`@{name}` refers to the output of the layer with that label",),
                    )
                )
                continue
            rest.append(argument)
        return tuple(rest)

    # --- expressions -----------------------------------------------------------------------------------

    def _shape(
        self, shape: ast.Shape, parameters: Mapping[str, ast.Parameter], *, flows: bool = True
    ) -> None:
        for expr in shape.dims:
            self._expression(expr, parameters, ("_",), shape=True, flows=flows)

    def _expression(
        self,
        expr: ast.Expr,
        parameters: Mapping[str, ast.Parameter],
        words: tuple[str, ...],
        *,
        shape: bool = False,
        flows: bool = True,
    ) -> None:
        """Check the names of an expression. `flows` tells that there is a current tensor."""
        match expr:
            case ast.Name(name, span):
                if name not in parameters and name not in words:
                    self.report(unknown_name(name, span, parameters, words, shape=shape))
            case ast.Field():
                if expr.owner != "in" or expr.name not in IN_FIELDS:
                    self.report(unknown_field(expr))
                elif not flows:
                    hint = ("`in` is what flows into a layer; here the network has not begun",)
                    self.report(Diagnostic("E0208", "there is no `in` here", expr.span, help=hint))
            case ast.Tuple(items):
                for item in items:
                    self._expression(item, parameters, words, flows=flows)
            case ast.Unary():
                self._expression(expr.operand, parameters, words, flows=flows)
            case ast.Binary():
                for operand in (expr.first, *(e for _, e in expr.rest)):
                    self._expression(operand, parameters, words, flows=flows)

    # --- layers that do not exist ------------------------------------------------------------------------

    def _misspelt_input(self, items: tuple[ast.Item, ...]) -> int:
        """How many items of ``inptu image [32x32x3]`` stand here; it reads as two layers and an assertion."""
        match items:
            case (
                ast.Layer(label=None, arguments=(), arms=None) as first,
                ast.Layer(label=None, arms=None) as second,
                ast.Shape() as shape,
            ):
                known = first.name in self.ops or first.name in self.program.blocks
                line = first.span.line
                if known or second.span.line != line or shape.span.line != line:
                    return 0
                if did_you_mean(first.name, ("input",)) is None:
                    return 0
                hint = ("did you mean `input`?",)
                self.report(
                    Diagnostic("E0105", f"`{first.name}` is not a keyword", first.name_span, help=hint)
                )
                self.failed.update((first.name_span, second.name_span))
                return 3
        return 0

    def _unknown_layer(self, item: ast.Layer) -> Diagnostic:
        guess = self.guess(item.name)
        if guess is not None:
            hint = f"did you mean `{guess}`?"
        elif item.name in self.program.networks:
            hint = f"`{item.name}` is a network; only blocks can stand inside another body"
        else:
            hint = "`cnndsl explain E0201` lists the layers"
        return Diagnostic("E0201", f"unknown layer `{item.name}`", item.name_span, help=(hint,))

    def guess(self, name: str) -> str | None:
        """The layer or block that a misspelt one probably was."""
        if name not in self.guesses:
            near = did_you_mean(name, [*self.ops, *self.program.blocks])
            self.guesses[name] = near or OTHER_NAMES.get(name.lower().replace("_", ""))
        return self.guesses[name]

    # --- recursion -------------------------------------------------------------------------------------

    def _recursion(self) -> None:
        """Report each call that leads back to its own block. Without recursion: chains may be long."""
        done: set[str] = set()
        for start in self.program.blocks:
            if start in done:
                continue
            path: dict[str, Iterator[ast.Layer]] = {start: self._calls(start)}
            while path:
                name, calls = next(reversed(path.items()))
                call = next(calls, None)
                if call is None:
                    done.add(name)
                    del path[name]
                elif call.name in path:
                    self._recursive(call, list(path))
                elif call.name not in done:
                    path[call.name] = self._calls(call.name)

    def _calls(self, name: str) -> Iterator[ast.Layer]:
        blocks = self.program.blocks
        return (layer for layer in _layers(blocks[name].body) if layer.name in blocks)

    def _recursive(self, call: ast.Layer, path: list[str]) -> None:
        circle = path[path.index(call.name) :]
        shown = circle if len(circle) <= 6 else [*circle[:3], "...", *circle[-2:]]
        label = " -> ".join([*shown, call.name]) if len(circle) > 1 else "this call never ends"
        self.failed.add(call.name_span)
        hint = ("a block cannot call itself; `repeat n { ... }` expands a body n times",)
        self.report(
            Diagnostic("E0217", f"block `{call.name}` calls itself", call.name_span, label, help=hint)
        )


def call_span(item: ast.Layer) -> Span:
    """The part of a layer to underline: all but its arms."""
    return item.span if item.arms is None else item.name_span


def _layers(body: ast.Body) -> Iterator[ast.Layer]:
    """Every layer in a body, at any depth."""
    for item in body.items:
        match item:
            case ast.Layer():
                yield item
                for arm in item.arms or ():
                    yield from _layers(arm.body)
            case ast.Group() | ast.Repeat() | ast.Output():
                yield from _layers(item.body)
            case ast.If():
                yield from _layers(item.then)
                if item.otherwise is not None:
                    yield from _layers(item.otherwise)


OTHER_NAMES = {
    "conv2d": "conv",
    "convolution": "conv",
    "convolutional": "conv",
    "linear": "dense",
    "fc": "dense",
    "fullyconnected": "dense",
    "innerproduct": "dense",
    "connected": "dense",
    "gemm": "dense",
    "bn": "batchnorm",
    "batchnorm2d": "batchnorm",
    "maxpool2d": "maxpool",
    "averagepool": "avgpool",
    "avgpool2d": "avgpool",
    "pool": "maxpool",
    "pooling": "maxpool",
    "adaptiveavgpool2d": "adaptiveavgpool",
    "swish": "silu",
    "lrelu": "leaky_relu",
    "sum": "add",
    "shortcut": "add",
    "residual": "add",
    "eltwise": "add",
    "cat": "concat",
    "concatenate": "concat",
    "route": "concat",
    "depthconcat": "concat",
    "multiply": "mul",
    "scale": "mul",
    "localresponsenorm": "lrn",
    "localresponsenormalization": "lrn",
    "gap": "globalavgpool",
    "reshape": "flatten",
    "view": "flatten",
    "zeropad": "pad",
    "padding": "pad",
    "logistic": "sigmoid",
}
"""What other frameworks call a layer, without underscores."""
