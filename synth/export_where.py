"""--where EXPR: which samples, by an expression over columns of the index, e.g. `split == 'train' and covered > 0.1`.

Python's grammar, none of its evaluation: the parsed tree may hold comparisons, `and or not`, `in`, + - * /, numbers,
texts and names of columns, and nothing else. What the columns mean: `synth.store_record.Row`.
"""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from synth.errors import UserError
from synth.store import Dataset

#: Longest expression and deepest nesting: a stranger's text must not exhaust the parser.
_LONGEST, _DEEPEST = 4000, 100

_COMPARE = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}  # fmt: skip
_ARITHMETIC: dict[type, Callable] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.true_divide
}  # fmt: skip

_Kind = Literal["number", "text", "truth", "list", "choices"]


class BadWhere(UserError):
    """An expression that cannot be applied; one line that names it and what is wrong."""


@dataclass(frozen=True, eq=False)
class _Value:
    kind: _Kind
    """`list` is a column of lists of texts, `choices` a list that is written out."""
    value: Any
    """A number, text or bool; (N,) float64, object or bool; pyarrow for `list`; a tuple of values for `choices`."""
    name: str
    """As it stands in the expression."""


def where_columns(dataset: Dataset) -> tuple[str, ...]:
    """Names that an expression may use."""
    return tuple(
        name
        for name in dataset.table().column_names
        if name != "shard" and not name.endswith(("_off", "_len", "_sha256"))
    )


def choose(dataset: Dataset, expression: str) -> np.ndarray:
    """(N,) bool, for which samples the expression holds. Raises BadWhere."""
    if len(expression) > _LONGEST:
        raise BadWhere(f"--where: {len(expression)} characters are too many, at most {_LONGEST}")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise BadWhere(f"--where {expression!r}: is no expression ({reason})") from error
    if _depth(tree) > _DEEPEST:
        raise BadWhere(f"--where: is nested more than {_DEEPEST} levels deep")
    try:
        with np.errstate(all="ignore"):
            found = _Reader(dataset.table(), where_columns(dataset)).value(tree)
        if found.kind != "truth":
            raise BadWhere(f"{found.name} is no condition; compare it with something")
    except BadWhere as error:
        raise BadWhere(f"--where {expression!r}: {error}") from error
    return np.broadcast_to(found.value, len(dataset)).copy()


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    return depth


class _Reader:
    """Values of the nodes of an expression, for all rows of a table."""

    def __init__(self, table: Any, columns: tuple[str, ...]):
        self._table, self._columns = table, columns

    def value(self, node: ast.AST) -> _Value:
        """Of a node and all below it. Raises BadWhere for what is not in the language."""
        name = ast.unparse(node)
        if isinstance(node, ast.Name):
            return self._column(node.id)
        if isinstance(node, ast.Constant):
            return _constant(node.value, name)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return _Value("choices", tuple(self.value(element) for element in node.elts), name)
        if isinstance(node, ast.BoolOp):
            parts = [_of_kind(self.value(part), "truth") for part in node.values]
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return _Value("truth", _joined(join, [part.value for part in parts]), name)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return _Value("truth", np.logical_not(_of_kind(self.value(node.operand), "truth").value), name)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return _Value("number", np.negative(_of_kind(self.value(node.operand), "number").value), name)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            left, right = (_of_kind(self.value(side), "number") for side in (node.left, node.right))
            return _Value("number", _ARITHMETIC[type(node.op)](left.value, right.value), name)
        if isinstance(node, ast.Compare):
            sides = [self.value(side) for side in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return _Value("truth", _joined(np.logical_and, [_compare(*pair) for pair in pairs]), name)
        raise BadWhere(f"{name!r:.60} is not allowed; there are columns, numbers, texts, == != < <= > >= in and or not")

    def _column(self, name: str) -> _Value:
        import pyarrow as pa

        if name not in self._columns:
            raise BadWhere(f"no column {name!r}; there are {', '.join(self._columns)}")
        column = self._table[name]
        if pa.types.is_list(column.type):
            return _Value("list", column.combine_chunks(), name)
        if pa.types.is_string(column.type):
            return _Value("text", np.array(column.to_pylist(), object), name)
        return _Value("number", column.to_numpy().astype(np.float64), name)


def _constant(value: object, name: str) -> _Value:
    if isinstance(value, bool):
        return _Value("truth", np.bool_(value), name)
    if isinstance(value, str):
        return _Value("text", value, name)
    if isinstance(value, int | float):
        try:
            return _Value("number", np.float64(value), name)
        except OverflowError as error:
            raise BadWhere("a number is too large") from error
    raise BadWhere(f"{name:.60} is neither a number nor a text")


def _of_kind(found: _Value, kind: _Kind) -> _Value:
    if found.kind != kind:
        what = {"truth": "a condition", "number": "a number"}[kind]
        raise BadWhere(f"{found.name} is a {found.kind}, where {what} is expected")
    return found


def _joined(join: Callable, values: list) -> Any:
    result = values[0]
    for value in values[1:]:
        result = join(result, value)
    return result


def _compare(op: ast.cmpop, left: _Value, right: _Value) -> Any:
    if isinstance(op, ast.In | ast.NotIn):
        inside = _is_in(left, right)
        return np.logical_not(inside) if isinstance(op, ast.NotIn) else inside
    if type(op) not in _COMPARE:
        raise BadWhere("`is` is not allowed; use ==")
    if "list" in (left.kind, right.kind):
        column = (left if left.kind == "list" else right).name
        raise BadWhere(f"{column} is a list of texts; use 'text' in {column}")
    if left.kind != right.kind or left.kind == "choices":
        raise BadWhere(f"{left.name} is a {left.kind} and {right.name} a {right.kind}: they cannot be compared")
    return _COMPARE[type(op)](left.value, right.value)


def _is_in(left: _Value, right: _Value) -> Any:
    if right.kind == "choices":
        same = [_compare(ast.Eq(), left, choice) for choice in right.value]
        return _joined(np.logical_or, same) if same else np.bool_(False)
    if left.kind != "text" or not isinstance(left.value, str) or right.kind not in ("list", "text"):
        raise BadWhere(f"`{left.name} in {right.name}`: expected 'text' in a column of texts, or a column in [...]")
    if right.kind == "list":
        return _lists_with(right.value, left.value)
    if isinstance(right.value, str):
        return np.bool_(left.value in right.value)
    return np.array([left.value in text for text in right.value], bool)


def _lists_with(lists: Any, text: str) -> np.ndarray:
    """(N,) bool, which lists of a pyarrow column hold a text."""
    import pyarrow.compute as compute

    equal = compute.equal(lists.flatten(), text).to_numpy(zero_copy_only=False).astype(bool)
    rows = compute.list_parent_indices(lists).to_numpy()
    return np.bincount(rows[equal], minlength=len(lists)) > 0
