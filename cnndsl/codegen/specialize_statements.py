"""The body of a kernel, written again: constants folded, dead branches and what belongs to them gone."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cnndsl.codegen.specialize_compose import Slot, composed
from cnndsl.codegen.specialize_expressions import Expressions, Helpers, Scope
from cnndsl.codegen.specialize_source import Function, dotted, is_constexpr
from cnndsl.codegen.specialize_types import binary_type, loop_type
from cnndsl.codegen.specialize_values import CHOICE, OTHER, TUPLE, Known, Piece, Type, literal

INDENT = 4


class Reassigned(Exception):
    """A folded parameter gets another value where that may happen or not: it must stay a variable."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass
class Block:
    """Lines of a block, without common indentation dropped, and whether they always return."""

    lines: list[str] = field(default_factory=list)
    returns: bool = False


@dataclass
class Body:
    """Writes the body of one function.

    `dropped` are local variables that nothing reads once constants are folded, `aliases` those that are another by
    another name.
    """

    function: Function
    helpers: Helpers
    dropped: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = field(default_factory=dict)
    constants: dict[str, Known] = field(default_factory=dict)
    """Derived constants that were folded, in source order."""
    returned: list[Type] = field(default_factory=list)
    pure: bool = True
    depth: int = 0
    """Loops and run-time conditions around the current statement."""

    def __post_init__(self) -> None:
        self.module = self.function.module
        self.expressions = Expressions(self.module, self.helpers)

    def write(self, scope: Scope, initialised: Sequence[str]) -> list[str]:
        """The lines of the whole body, its docstring first, then the variables that folded parameters become."""
        statements = self.function.node.body
        first = statements[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        head = self._header_end()
        if statements[0].lineno == head:
            raise self.module.error(statements[0], "a function's body begins on a line of its own")
        documentation: list[str] = []
        if documented:
            assert first.end_lineno is not None
            documentation = self.module.lines[head : first.end_lineno]
            head, statements = first.end_lineno, statements[1:]
        lines = [f"{' ' * INDENT}{name} = {literal(scope.known.pop(name))}" for name in initialised]
        scope.types |= dict.fromkeys(initialised, OTHER)
        lines += self._block(statements, scope, after=head, indent=INDENT).lines
        spaced = documented and head < len(self.module.lines) and not self.module.lines[head].strip()
        lines = without_extra_blanks(lines)
        if not lines and not documented:
            lines = [f"{' ' * INDENT}pass"]
        return [*documentation, *([""] if spaced and lines else []), *lines]

    def _header_end(self) -> int:
        """The line on which the function's signature ends."""
        node = self.function.node
        last = max((a.end_lineno or 0 for a in node.args.args), default=node.lineno)
        for number in range(last, node.body[0].lineno + 1):
            if self.module.lines[number - 1].split("#")[0].rstrip().endswith(":"):
                return number
        return node.body[0].lineno

    # --- blocks ---

    def _block(self, statements: Sequence[ast.stmt], scope: Scope, *, after: int, indent: int) -> Block:
        """Statements one after the other, written at an indentation; `after` is the line before the first."""
        block = Block()
        before: ast.stmt | None = None
        comment: list[str] = []
        for statement in statements:
            if block.returns:
                break
            gap = self.module.lines[after : statement.lineno - 1]
            start = self.module.lines[statement.lineno - 1][: statement.col_offset]
            if start.strip():
                raise self.module.error(statement, "statements stand on lines of their own")
            tail, free, attached = _divided(gap, statement.col_offset)
            shift = indent - statement.col_offset
            block.lines += _shifted(tail if isinstance(before, ast.For) else [], shift)
            before = statement
            written = self._statement(statement, scope, indent)
            block.lines += _shifted(free, shift)
            attached = _shifted(attached, shift) if gap else comment
            # A comment goes with its own statement, but heads the lines below a variable that got another name.
            comment = attached if not gap or written == Block() else []
            if written is not None and written.lines:
                block.lines += [*attached, *written.lines]
                block.returns, comment = written.returns, []
            assert statement.end_lineno is not None
            after = statement.end_lineno
        return block

    def _statement(self, node: ast.stmt, scope: Scope, indent: int) -> Block | None:
        """A statement's lines; None if it goes away, and none if it leaves the comment above it to the next."""
        match node:
            case ast.AnnAssign():
                return self._annotated(node, scope, indent)
            case ast.Assign(targets=[target]):
                return self._assignment(node, target, scope, indent)
            case ast.AugAssign(target=ast.Name(id=name)):
                self._must_be_variable(name, scope)
                piece = self._write(node.value, scope)
                variable = self.expressions.write(ast.copy_location(ast.Name(name), node.target), scope)
                scope.types[name] = binary_type(node.op, variable, piece)
                return self._line(node, [self._whole(node, node.value, piece)], indent)
            case ast.Expr(value=ast.Call(func=function) as call) if dotted(function) == "tl.static_assert":
                return self._static_assert(node, call, scope, indent)
            case ast.Expr():
                return self._line(node, [self._whole(node, node.value, self._write(node.value, scope))], indent)
            case ast.Return(value=None):
                return Block(self._line(node, [], indent).lines, returns=True)
            case ast.Return(value=ast.expr() as value):
                piece = self._write(value, scope)
                self.returned.append(piece.type)
                return Block(self._line(node, [self._whole(node, value, piece)], indent).lines, returns=True)
            case ast.Pass():
                return None
            case ast.If():
                return self._if(node, scope, indent)
            case ast.For(orelse=[]):
                return self._for(node, scope, indent)
        raise self.module.error(node, f"a kernel that is specialised can do without {type(node).__name__}")

    def _write(self, node: ast.expr, scope: Scope) -> Piece:
        piece = self.expressions.write(node, scope)
        self.pure = self.pure and piece.pure
        return piece

    # --- one method for each kind of statement ---

    def _annotated(self, node: ast.AnnAssign, scope: Scope, indent: int) -> Block | None:
        if node.value is None or not isinstance(node.target, ast.Name):
            raise self.module.error(node, "a declaration has one name and a value")
        piece, name = self._write(node.value, scope), node.target.id
        if is_constexpr(node.annotation) and piece.is_known:
            scope.types.pop(name, None)
            scope.known[name] = self.constants[name] = piece.known
            return None
        self._assign(name, piece.type if not is_constexpr(node.annotation) else OTHER, scope)
        return self._line(node, [self._whole(node, node.value, piece)], indent)

    def _assignment(self, node: ast.Assign, target: ast.expr, scope: Scope, indent: int) -> Block | None:
        piece = self._write(node.value, scope)
        match target:
            case ast.Name(id=name):
                type_ = piece.type
                if type_.kind == "literal":
                    type_ = Type("int", 32 if isinstance(piece.value, int) and abs(piece.value) < 2**31 else None, ())
                self._assign(name, type_, scope)
                if name in self.dropped or (name == piece.text and piece.changed):
                    return None
                if name in self.aliases:
                    scope.aliases[name] = piece
                    return Block()
            case ast.Tuple(elts=names) if all(isinstance(each, ast.Name) for each in names):
                for each in names:
                    assert isinstance(each, ast.Name)
                    self._assign(each.id, OTHER, scope)
            case _:
                raise self.module.error(target, "values are assigned to names")
        return self._line(node, [self._whole(node, node.value, piece)], indent)

    def _assign(self, name: str, type_: Type, scope: Scope) -> None:
        if name in scope.known and self.depth > 0:
            raise Reassigned(name)
        scope.assign(name, type_)

    def _must_be_variable(self, name: str, scope: Scope) -> None:
        if name in scope.known:
            raise Reassigned(name)

    def _static_assert(self, node: ast.Expr, call: ast.Call, scope: Scope, indent: int) -> Block | None:
        condition = self._write(call.args[0], scope)
        if condition.is_true:
            return None
        if condition.is_known:
            message = call.args[1] if len(call.args) > 1 else None
            words = f": {message.value}" if isinstance(message, ast.Constant) and isinstance(message.value, str) else ""
            raise self.module.error(node, f"this does not hold for the constants given{words}")
        return self._line(node, [self._whole(node, call, self._write(call, scope))], indent)

    def _if(self, node: ast.If, scope: Scope, indent: int) -> Block | None:
        """A chain of conditions, of which those that are known go away."""
        lines: list[str] = []
        ends: list[Scope] = []
        returns = True
        word = "if"
        current: ast.If = node
        while True:
            test = self._write(current.test, scope)
            head = self._colon(current, current.test)
            branch: Scope | None = None
            if test.is_true or (test.is_known and not current.orelse):
                return self._taken(current.body if test.is_true else [], scope, head, indent, (lines, ends, returns))
            if not test.is_known:
                branch = scope.copy()
                bounds = (self.module.offsets(current)[0], self.module.source.line_starts[head] - 1)
                slot = Slot(current.test, test, CHOICE, (bounds[0], self.module.offsets(current.body[0])[0]))
                header = composed(self.module, bounds, [slot])
                block = self._nested(current.body, branch, after=head, indent=indent + INDENT)
                if header.startswith("elif"):
                    header = header[2:]
                header = header if word == "if" else f"el{header}"
                lines += [*self._header(header, current, indent), *(block.lines or [" " * (indent + INDENT) + "pass"])]
                returns = returns and block.returns
                ends.append(branch)
                word = "elif"
            if not current.orelse:
                ends.append(scope.copy())
                returns = False
                break
            following = current.orelse[0]
            if len(current.orelse) == 1 and isinstance(following, ast.If) and self._is_elif(following):
                if branch is not None:
                    between = self.module.lines[current.body[-1].end_lineno : following.lineno - 1]
                    lines += _shifted([x for x in between if x.strip()], indent - node.col_offset)
                current = following
                continue
            after = self._else_line(current)
            return self._taken(current.orelse, scope, after, indent, (lines, ends, returns), current)
        self._joined(scope, ends)
        return Block(lines, returns)

    def _taken(
        self,
        statements: Sequence[ast.stmt],
        scope: Scope,
        after: int,
        indent: int,
        before: tuple[list[str], list[Scope], bool],
        last: ast.If | None = None,
    ) -> Block | None:
        """The branch that is taken if none of those before it is."""
        lines, ends, returns = before
        if not ends:
            if not statements:
                return None
            block = self._block(statements, scope, after=after, indent=indent)
            return Block(_stripped(block.lines), block.returns) if block.lines else None
        branch = scope.copy()
        block = self._nested(statements, branch, after=after, indent=indent + INDENT)
        if block.lines:
            comment = self.module.lines[after - 1].partition("#")[2] if last is not None else ""
            lines += [" " * indent + "else:" + (f"  #{comment}" if comment else ""), *block.lines]
        self._joined(scope, [*ends, branch])
        return Block(lines, returns and block.returns)

    def _nested(self, statements: Sequence[ast.stmt], scope: Scope, *, after: int, indent: int) -> Block:
        self.depth += 1
        try:
            block = self._block(statements, scope, after=after, indent=indent)
        finally:
            self.depth -= 1
        return Block(_stripped(block.lines), block.returns)

    def _joined(self, scope: Scope, ends: Sequence[Scope]) -> None:
        first, *rest = ends
        for other in rest:
            first.join(other)
        scope.known, scope.types = first.known, first.types

    def _for(self, node: ast.For, scope: Scope, indent: int) -> Block:
        if not isinstance(node.target, ast.Name):
            raise self.module.error(node.target, "a loop has one variable")
        self._must_be_variable(node.target.id, scope)
        piece = self._write(node.iter, scope)
        type_ = OTHER
        if isinstance(node.iter, ast.Call) and dotted(node.iter.func) in ("range", "tl.range", "tl.static_range"):
            type_ = loop_type(
                dotted(node.iter.func), [self.expressions.write(bound, scope) for bound in node.iter.args]
            )
        head = self._colon(node, node.iter)
        # What is known of a variable must hold in every round.
        while True:
            entered, inside, returned = scope.copy(), scope.copy(), len(self.returned)
            inside.assign(node.target.id, type_)
            block = self._nested(node.body, inside, after=head, indent=indent + INDENT)
            scope.join(inside)
            if all(scope.types[name] == type_ for name, type_ in entered.types.items()):
                break
            del self.returned[returned:]
        bounds = (self.module.offsets(node)[0], self.module.source.line_starts[head] - 1)
        slot = Slot(node.iter, piece, TUPLE, (bounds[0], self.module.offsets(node.body[0])[0]))
        header = composed(self.module, bounds, [slot])
        body = block.lines or [" " * (indent + INDENT) + "pass"]
        return Block([*self._header(header, node, indent), *body])

    # --- text ---

    def _is_elif(self, node: ast.If) -> bool:
        return self.module.source.text.startswith("elif", self.module.offsets(node)[0])

    def _colon(self, node: ast.If | ast.For, before: ast.expr) -> int:
        """The line of the colon behind an expression."""
        place = self.module.source.text.index(":", self.module.offsets(before)[1])
        line = self.module.source.position(place)[0]
        if node.body[0].lineno == line:
            raise self.module.error(node.body[0], "statements stand on lines of their own")
        return line

    def _else_line(self, node: ast.If) -> int:
        """The line of the `else:` of an `if`."""
        assert node.body[-1].end_lineno is not None
        number = node.orelse[0].lineno
        while not self.module.lines[number - 1].lstrip().startswith("else"):
            number -= 1
        if number == node.orelse[0].lineno:
            raise self.module.error(node.orelse[0], "statements stand on lines of their own")
        return number

    def _header(self, text: str, node: ast.stmt, indent: int) -> list[str]:
        first, *rest = text.split("\n")
        return [" " * indent + first, *_shifted(rest, indent - node.col_offset)]

    def _whole(self, node: ast.stmt, value: ast.expr, piece: Piece) -> Slot:
        return Slot(value, piece, TUPLE, self.module.offsets(node))

    def _line(self, node: ast.stmt, slots: Sequence[Slot], indent: int) -> Block:
        """A simple statement with the comment behind it."""
        assert node.end_lineno is not None
        bounds = self.module.offsets(node)
        text = composed(self.module, bounds, slots)
        line_end = bounds[1] + len(self.module.source.text[bounds[1] :].split("\n", 1)[0])
        behind = self.module.source.text[bounds[1] : line_end]
        if behind.strip() and not behind.lstrip().startswith("#"):
            raise self.module.error_at(bounds[1], line_end, "statements stand on lines of their own")
        return Block(self._header(text + behind.rstrip(), node, indent))


def _divided(gap: list[str], indent: int) -> tuple[list[str], list[str], list[str]]:
    """Lines between two statements: what belongs to the block before, to neither, and to the statement behind."""
    last = 0
    for number, line in enumerate(gap):
        if not line.strip():
            continue
        if len(line) - len(line.lstrip()) <= indent:
            break
        last = number + 1
    first = len(gap)
    while first > last and gap[first - 1].lstrip().startswith("#"):
        first -= 1
    return gap[:last], gap[last:first], gap[first:]


def _shifted(lines: Sequence[str], shift: int) -> list[str]:
    """Lines moved to the right, or to the left as far as they are blank."""
    if shift >= 0:
        return [" " * shift + line if line.strip() else "" for line in lines]
    return [line[min(-shift, len(line) - len(line.lstrip())) :] if line.strip() else "" for line in lines]


def _stripped(lines: list[str]) -> list[str]:
    """Lines without blank ones at their ends."""
    first, last = 0, len(lines)
    while first < last and not lines[first].strip():
        first += 1
    while last > first and not lines[last - 1].strip():
        last -= 1
    return lines[first:last]


def without_extra_blanks(lines: Sequence[str]) -> list[str]:
    """Lines with no two blank ones together, and none at the ends."""
    kept: list[str] = []
    for line in _stripped(list(lines)):
        if line.strip() or (kept and kept[-1].strip()):
            kept.append(line.rstrip())
    return kept
