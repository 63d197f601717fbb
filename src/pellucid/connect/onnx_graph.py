"""From a jaxpr to an ONNX graph: what JAX was told to compute, operation by operation, as ONNX says the same.

`Graph.run(jaxpr, values)` walks the equations; each primitive has a rule in `RULES`. What depends on constants alone is
computed at once, by JAX itself. A `broadcast_in_dim` is put off: ONNX's elementwise operations broadcast by themselves,
so a value may have axes of length 1 where its jaxpr says more, until a rule needs it whole (`Graph.whole`). One axis
may be of unknown length, the batch: a jaxpr traced with a symbolic dimension named "batch" has lengths such as
`6*batch`. A `lax.scan` becomes a `Scan`, its body a graph that sees the names around it.

Opset 18. https://onnx.ai/onnx/operators; https://docs.jax.dev/en/latest/jaxpr.html
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax.extend import core
from onnx import helper

OPSET, IR_VERSION = 18, 9
BATCH = "batch"
NARROW = {"uint8", "int8", "uint16", "int16"}  # onnxruntime computes with few types; ids come in these
LARGEST = 1 << 24  # numbers; what is larger is not computed beforehand

Shape = tuple[Any, ...]  # lengths: whole numbers, or JAX's symbolic dimensions


class Unsupported(Exception):
    """There is no rule for what the network computes; says for what."""


class Value(NamedTuple):
    """What a variable of the jaxpr is in the graph: a constant, or the name of a tensor.

    shape: as in the graph, with 1 where a broadcast was put off.   hint: what a constant is called in the file.
    """

    shape: Shape
    dtype: Any
    name: str = ""
    array: np.ndarray | None = None
    hint: str = ""


def constant(array: Any, hint: str = "") -> Value:
    array = np.asarray(array)
    return Value(array.shape, array.dtype, array=array, hint=hint)


class Graph:
    """Nodes in order, and what is shared with the graphs of loops inside: constants and the names in use."""

    def __init__(self, outer: "Graph | None" = None):
        self.nodes: list[onnx.NodeProto] = []
        self.top: Graph = outer.top if outer else self
        self.constants: dict[str, np.ndarray] = outer.constants if outer else {}
        self.used: dict[str, int] = outer.used if outer else {}
        self._kept: dict[Any, str] = outer._kept if outer else {}

    # -- names and nodes ----------------------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        """A name that is not in use."""
        number = self.used[stem] = self.used.get(stem, 0) + 1
        return stem if number == 1 else f"{stem}_{number}"

    def emit(self, op: str, *inputs: "Value | str", outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node -> the names of its outputs."""
        names = [self.fresh(op.lower()) for _ in range(outputs)]
        read = [self.named(value) if isinstance(value, Value) else value for value in inputs]
        self.nodes.append(helper.make_node(op, read, names, name=self.fresh(f"node_{op.lower()}"), **attributes))
        return names

    def put(self, op: str, *inputs: "Value | str", shape: Sequence[Any], dtype: Any, **attributes: Any) -> Value:
        """Add a node with one output -> its value."""
        return Value(tuple(shape), np.dtype(dtype), self.emit(op, *inputs, **attributes)[0])

    def named(self, value: Value) -> str:
        """The name of a value; a constant is written to the file."""
        if value.array is None:
            return value.name
        key = (
            (value.hint, value.dtype.str, value.shape, value.array.tobytes())
            if value.array.size <= 64
            else id(value.array)
        )
        if key not in self._kept:
            self._kept[key] = self.fresh(value.hint or "constant")
            self.constants[self._kept[key]] = value.array
        return self._kept[key]

    def whole_numbers(self, numbers: Sequence[int]) -> Value:
        """An int64 vector: shapes and axes are tensors in ONNX."""
        return constant(np.array(list(numbers), np.int64))

    # -- shapes -------------------------------------------------------------------------------------------------

    def lengths(self, shape: Shape) -> Value | str:
        """A shape as a tensor; where the batch is in it, computed from the input's."""
        if all(isinstance(n, int) for n in shape):
            return self.whole_numbers(shape)
        key = ("lengths", tuple(map(str, shape)))
        if key not in self._kept:
            top = self.top
            parts = [top.whole_numbers([n]) if isinstance(n, int) else top._batches(n) for n in shape]
            self._kept[key] = top.emit("Concat", *parts, axis=0)[0]
        return self._kept[key]

    def _batches(self, n: Any) -> str:
        """`6*batch` as a tensor of one number."""
        times = batches_in(n)
        key = ("batches", times)
        if key not in self._kept:
            self._kept[key] = BATCH if times == 1 else self.emit("Mul", BATCH, self.whole_numbers([times]))[0]
        return self._kept[key]

    def whole(self, value: Value, shape: Shape) -> Value:
        """The value with every broadcast done."""
        if value.shape == tuple(shape):
            return value
        if value.array is not None and all(isinstance(n, int) for n in shape):
            return constant(np.broadcast_to(value.array, shape))
        return self.put("Expand", value, self.lengths(shape), shape=shape, dtype=value.dtype)

    def reshape(self, value: Value, shape: Shape) -> Value:
        if value.shape == tuple(shape):
            return value
        if value.array is not None:
            return value._replace(array=value.array.reshape(shape), shape=tuple(shape))
        known = [n if isinstance(n, int) else -1 for n in shape]
        if known.count(-1) > 1:
            raise Unsupported(f"two axes of unknown length, {list(shape)}")
        return self.put("Reshape", value, self.whole_numbers(known), shape=shape, dtype=value.dtype)

    def transpose(self, value: Value, order: Sequence[int]) -> Value:
        order = tuple(int(axis) for axis in order)
        if order == tuple(range(len(order))):
            return value
        if value.array is not None:
            turned = np.ascontiguousarray(value.array.transpose(order))
            return value._replace(array=turned, shape=turned.shape)
        shape = tuple(value.shape[axis] for axis in order)
        return self.put("Transpose", value, shape=shape, dtype=value.dtype, perm=order)

    def slice(
        self, value: Value, axes: Sequence[int], starts: Sequence[int], stops: Sequence[int],
        steps: Sequence[int] | None, shape: Shape,
    ) -> Value:  # fmt: skip
        parts = [self.whole_numbers(numbers) for numbers in (starts, stops, axes, steps or [1] * len(axes))]
        return self.put("Slice", value, *parts, shape=shape, dtype=value.dtype) if axes else value

    def cast(self, value: Value, dtype: Any) -> Value:
        if value.dtype == np.dtype(dtype):
            return value
        if value.array is not None:
            return constant(value.array.astype(dtype), value.hint)
        return self.put("Cast", value, shape=value.shape, dtype=dtype, to=kind_of(dtype))

    def wide(self, value: Value) -> Value:
        """Whole numbers in a type that onnxruntime computes with."""
        return self.cast(value, np.int32) if str(value.dtype) in NARROW else value

    # -- the walk -----------------------------------------------------------------------------------------------

    def run(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Value]) -> list[Value]:
        """The outputs of a jaxpr whose constants and inputs have these values."""
        found: dict[Any, Value] = dict(zip(jaxpr.constvars, [as_value(c) for c in consts], strict=True))
        found.update(zip(jaxpr.invars, inputs, strict=True))
        read = lambda v: constant(np.asarray(v.val, _type(v))) if isinstance(v, core.Literal) else found[v]  # noqa: E731
        for equation in jaxpr.eqns:
            outputs = self._equation(equation, [read(v) for v in equation.invars])
            found.update(zip(equation.outvars, outputs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def _equation(self, equation: Any, inputs: list[Value]) -> list[Value]:
        inner = next((equation.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in equation.params), None)
        name = equation.primitive.name
        if inner is not None and name != "scan":
            return self.run(*_opened(inner), inputs)
        if name != "broadcast_in_dim" and (values := _computed(equation, inputs)) is not None:
            return values
        if name not in RULES:
            raise Unsupported(f"the operation {name!r}")
        found = RULES[name](self, equation, *inputs)
        return found if isinstance(found, list) else [found]


def _opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A jaxpr and its constants; JAX's newer ones have none within an equation."""
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


def _type(variable: Any) -> Any:
    return variable.aval.dtype


def as_value(array: Any) -> Value:
    return array if isinstance(array, Value) else constant(array)


def batches_in(n: Any) -> int:
    """How many times the batch a symbolic length is: 6 of `6*batch`."""
    found = re.fullmatch(rf"(?:(\d+)\*)?{BATCH}", str(n))
    if found is None:
        raise Unsupported(f"an axis of {n} places")
    return int(found[1] or 1)


def kind_of(dtype: Any) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def described(name: str, shape: Shape, dtype: Any) -> onnx.ValueInfoProto:
    """A tensor's name, type and shape; only the batch itself is named among unknown lengths."""
    dims = [n if isinstance(n, int) else BATCH if batches_in(n) == 1 else None for n in shape]
    return helper.make_tensor_value_info(name, kind_of(dtype), dims)


def _computed(equation: Any, inputs: list[Value]) -> list[Value] | None:
    """What depends on constants alone, where it is not too large."""
    if any(value.array is None for value in inputs):
        return None
    shapes = [v.aval.shape for v in (*equation.invars, *equation.outvars)]
    if not all(isinstance(n, int) for shape in shapes for n in shape):
        return None
    if any(np.prod(shape, initial=1) > LARGEST for shape in shapes):
        return None
    wholes = [
        jnp.asarray(np.broadcast_to(value.array, v.aval.shape), v.aval.dtype)
        for value, v in zip(inputs, equation.invars, strict=True)
        if value.array is not None
    ]
    found = equation.primitive.bind(*wholes, **equation.params)
    hints = [value.hint for value in inputs if value.hint]
    hint = hints[0] if len(hints) == 1 else ""
    return [constant(part, hint) for part in (found if equation.primitive.multiple_results else [found])]


# -- rules ------------------------------------------------------------------------------------------------------------

Rule = Callable[..., Value | list[Value]]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def joined(*shapes: Shape) -> Shape:
    """The shape of an elementwise result; where a broadcast was put off there is a 1."""
    rank = max(map(len, shapes))
    filled = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    return tuple(
        next((n for n in lengths if not (isinstance(n, int) and n == 1)), 1) for lengths in zip(*filled, strict=True)
    )


def _elementwise(op: str) -> Rule:
    def apply(graph: Graph, equation: Any, *inputs: Value) -> Value:
        wide = [graph.wide(value) for value in inputs]
        out = equation.outvars[0].aval.dtype
        dtype = wide[0].dtype if str(out) in NARROW else out
        return graph.put(op, *wide, shape=joined(*(v.shape for v in wide)), dtype=dtype)

    return apply


ELEMENTWISE = {
    "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "pow": "Pow",
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "sqrt": "Sqrt", "exp": "Exp",
    "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "erf": "Erf", "sin": "Sin", "cos": "Cos", "tan": "Tan",
    "sinh": "Sinh", "cosh": "Cosh", "asin": "Asin", "acos": "Acos", "atan": "Atan", "asinh": "Asinh",
    "acosh": "Acosh", "atanh": "Atanh", "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual",
    "eq": "Equal",
}  # fmt: skip
RULES.update({name: _elementwise(op) for name, op in ELEMENTWISE.items()})


@rule("and", "or", "xor", "not")
def _logical(graph: Graph, equation: Any, *inputs: Value) -> Value:
    if any(value.dtype != bool for value in inputs):
        raise Unsupported("logic on the bits of whole numbers")
    op = equation.primitive.name.capitalize()
    return graph.put(op, *inputs, shape=joined(*(v.shape for v in inputs)), dtype=bool)


@rule("ne")
def _ne(graph: Graph, equation: Any, a: Value, b: Value) -> Value:
    if equation.invars[0] is equation.invars[1] and np.issubdtype(a.dtype, np.floating):  # how JAX asks for NaN
        return graph.put("IsNaN", a, shape=a.shape, dtype=bool)
    same = graph.put("Equal", graph.wide(a), graph.wide(b), shape=joined(a.shape, b.shape), dtype=bool)
    return graph.put("Not", same, shape=same.shape, dtype=bool)


@rule("rem")
def _rem(graph: Graph, equation: Any, a: Value, b: Value) -> Value:
    a, b = graph.wide(a), graph.wide(b)
    return graph.put("Mod", a, b, shape=joined(a.shape, b.shape), dtype=a.dtype, fmod=1)  # the sign of a, as in C


@rule("is_finite")
def _is_finite(graph: Graph, equation: Any, x: Value) -> Value:
    wild = [graph.put(op, x, shape=x.shape, dtype=bool) for op in ("IsInf", "IsNaN")]
    return graph.put("Not", graph.put("Or", *wild, shape=x.shape, dtype=bool), shape=x.shape, dtype=bool)


@rule("square")
def _square(graph: Graph, equation: Any, x: Value) -> Value:
    return graph.put("Mul", x, x, shape=x.shape, dtype=x.dtype)


@rule("rsqrt")
def _rsqrt(graph: Graph, equation: Any, x: Value) -> Value:
    root = graph.put("Sqrt", x, shape=x.shape, dtype=x.dtype)
    return graph.put("Reciprocal", root, shape=x.shape, dtype=x.dtype)


@rule("integer_pow")
def _integer_pow(graph: Graph, equation: Any, x: Value) -> Value:
    return graph.put("Pow", x, constant(np.array(equation.params["y"], x.dtype)), shape=x.shape, dtype=x.dtype)


@rule("exp2", "log1p", "expm1", "erfc", "cbrt")
def _composed(graph: Graph, equation: Any, x: Value) -> Value:
    number = lambda n: constant(np.array(n, x.dtype))  # noqa: E731
    put = lambda op, *inputs: graph.put(op, *inputs, shape=x.shape, dtype=x.dtype)  # noqa: E731
    name = equation.primitive.name
    if name == "exp2":
        return put("Pow", number(2), x)
    if name == "log1p":
        return put("Log", put("Add", x, number(1)))
    if name == "expm1":
        return put("Sub", put("Exp", x), number(1))
    if name == "erfc":
        return put("Sub", number(1), put("Erf", x))
    return put("Mul", put("Sign", x), put("Pow", put("Abs", x), number(1 / 3)))


@rule("clamp")
def _clamp(graph: Graph, equation: Any, low: Value, x: Value, high: Value) -> Value:
    low, x, high = graph.wide(low), graph.wide(x), graph.wide(high)
    raised = graph.put("Max", x, low, shape=joined(x.shape, low.shape), dtype=x.dtype)
    return graph.put("Min", raised, high, shape=joined(raised.shape, high.shape), dtype=x.dtype)


@rule("select_n")
def _select(graph: Graph, equation: Any, which: Value, *cases: Value) -> Value:
    if which.dtype != bool or len(cases) != 2:
        raise Unsupported("a choice among more than two")
    no, yes = cases
    shape = joined(which.shape, no.shape, yes.shape)
    if yes.dtype != bool:
        return graph.put("Where", which, yes, no, shape=shape, dtype=yes.dtype)
    put = lambda op, *inputs: graph.put(op, *inputs, shape=shape, dtype=bool)  # noqa: E731
    return put("Or", put("And", which, yes), put("And", put("Not", which), no))


@rule("convert_element_type")
def _convert(graph: Graph, equation: Any, x: Value) -> Value:
    return graph.cast(x, equation.params["new_dtype"])


@rule("copy", "copy_p", "stop_gradient", "optimization_barrier", "reduce_precision")
def _same(graph: Graph, equation: Any, *inputs: Value) -> list[Value]:
    return list(inputs)


@rule("broadcast_in_dim")
def _broadcast(graph: Graph, equation: Any, x: Value, *_: Value) -> Value:
    places = equation.params["broadcast_dimensions"]
    shape: list[Any] = [1] * len(equation.outvars[0].aval.shape)
    for place, length in zip(places, x.shape, strict=True):
        shape[place] = length
    if x.array is not None or x.shape == tuple(shape):
        return graph.reshape(x, tuple(shape))
    axes = [axis for axis in range(len(shape)) if axis not in places]
    return graph.put("Unsqueeze", x, graph.whole_numbers(axes), shape=shape, dtype=x.dtype)


def _wholes(graph: Graph, equation: Any, *inputs: Value) -> list[Value]:
    return [graph.whole(value, v.aval.shape) for value, v in zip(inputs, equation.invars, strict=True)]


@rule("reshape")
def _reshape(graph: Graph, equation: Any, x: Value, *_: Value) -> Value:
    return graph.reshape(graph.whole(x, equation.invars[0].aval.shape), equation.outvars[0].aval.shape)


@rule("squeeze")
def _squeeze(graph: Graph, equation: Any, x: Value) -> Value:
    gone = equation.params["dimensions"]
    shape = tuple(n for axis, n in enumerate(x.shape) if axis not in gone)
    return graph.put("Squeeze", x, graph.whole_numbers(gone), shape=shape, dtype=x.dtype)


@rule("transpose")
def _transpose(graph: Graph, equation: Any, x: Value) -> Value:
    return graph.transpose(x, equation.params["permutation"])


@rule("concatenate")
def _concatenate(graph: Graph, equation: Any, *inputs: Value) -> Value:
    out = equation.outvars[0].aval
    parts = _wholes(graph, equation, *inputs)
    return graph.put("Concat", *parts, shape=out.shape, dtype=parts[0].dtype, axis=equation.params["dimension"])


@rule("stack")  # an operation of its own from JAX 0.12 on, as `unstack` is
def _stack(graph: Graph, equation: Any, *inputs: Value) -> Value:
    out, axis = equation.outvars[0].aval, equation.params["axis"]
    parts = _wholes(graph, equation, *inputs)
    one = (*out.shape[:axis], 1, *out.shape[axis + 1 :])
    wide = [graph.put("Unsqueeze", v, graph.whole_numbers([axis]), shape=one, dtype=v.dtype) for v in parts]
    return graph.put("Concat", *wide, shape=out.shape, dtype=parts[0].dtype, axis=axis)


@rule("unstack")
def _unstack(graph: Graph, equation: Any, x: Value) -> list[Value]:
    (x,), axis, n = _wholes(graph, equation, x), equation.params["axis"], len(equation.outvars)
    names = graph.emit("Split", x, graph.whole_numbers([1] * n), outputs=n, axis=axis)
    shape, gone = (*x.shape[:axis], 1, *x.shape[axis + 1 :]), graph.whole_numbers([axis])
    return [
        graph.put("Squeeze", Value(shape, x.dtype, name), gone, shape=v.aval.shape, dtype=x.dtype)
        for name, v in zip(names, equation.outvars, strict=True)
    ]


@rule("split")
def _split(graph: Graph, equation: Any, x: Value) -> list[Value]:
    (x,) = _wholes(graph, equation, x)
    sizes = graph.whole_numbers(equation.params["sizes"])
    names = graph.emit("Split", x, sizes, outputs=len(equation.outvars), axis=equation.params["axis"])
    return [Value(v.aval.shape, x.dtype, name) for name, v in zip(names, equation.outvars, strict=True)]


@rule("slice")
def _slice(graph: Graph, equation: Any, x: Value) -> Value:
    (x,) = _wholes(graph, equation, x)
    starts, stops = equation.params["start_indices"], equation.params["limit_indices"]
    steps = equation.params["strides"] or (1,) * len(starts)
    cut = [
        axis for axis, (a, z, s) in enumerate(zip(starts, stops, steps, strict=True))
        if not (str(a) == "0" and z == x.shape[axis] and s == 1)
    ]  # fmt: skip
    pick = lambda numbers: [numbers[axis] for axis in cut]  # noqa: E731
    return graph.slice(x, cut, pick(starts), pick(stops), pick(steps), equation.outvars[0].aval.shape)


@rule("rev")
def _rev(graph: Graph, equation: Any, x: Value) -> Value:
    axes = equation.params["dimensions"]
    (x,) = _wholes(graph, equation, x)
    n = len(axes)
    return graph.slice(x, axes, [-1] * n, [np.iinfo(np.int64).min] * n, [-1] * n, x.shape)


@rule("pad")
def _pad(graph: Graph, equation: Any, x: Value, filler: Value) -> Value:
    x = graph.whole(x, equation.invars[0].aval.shape)
    before, after, between = zip(*equation.params["padding_config"], strict=True)
    if any(between):
        raise Unsupported("padding between numbers")
    pads = graph.whole_numbers([*before, *after])
    return graph.put("Pad", x, pads, filler, shape=equation.outvars[0].aval.shape, dtype=x.dtype)


@rule("dynamic_slice")
def _dynamic_slice(graph: Graph, equation: Any, x: Value, *starts: Value) -> Value:
    x = graph.whole(x, equation.invars[0].aval.shape)
    return _cut(graph, x, range(len(starts)), _known(starts), equation.params["slice_sizes"])


def _known(values: Sequence[Value]) -> list[int]:
    if any(value.array is None for value in values):
        raise Unsupported("a slice whose place is computed")
    return [int(value.array) for value in values if value.array is not None]


def _cut(graph: Graph, x: Value, axes: Sequence[int], starts: Sequence[int], sizes: Shape) -> Value:
    """The part of x that begins at `starts` on these axes, `sizes` large; it lies inside, as JAX sees to."""
    cut = [(axis, start) for axis, start in zip(axes, starts, strict=True) if sizes[axis] != x.shape[axis]]
    where = [axis for axis, _ in cut]
    begin = [max(min(start, x.shape[axis] - sizes[axis]), 0) for axis, start in cut]
    stops = [a + sizes[axis] for axis, a in zip(where, begin, strict=True)]
    return graph.slice(x, where, begin, stops, None, tuple(sizes))


@rule("gather")
def _gather(graph: Graph, equation: Any, x: Value, places: Value) -> Value:
    """Two of its many uses: a slice at a known place, and rows of an axis by their numbers (an embedding)."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    x, places = _wholes(graph, equation, x, places)
    out = equation.outvars[0].aval
    gone, axes = numbers.collapsed_slice_dims, numbers.start_index_map
    if numbers.operand_batching_dims or numbers.start_indices_batching_dims:
        raise Unsupported("a gather in batches")
    if len(places.shape) == 1 and places.array is not None:
        part = _cut(graph, x, axes, [int(n) for n in places.array], sizes)
        return graph.reshape(part, out.shape) if gone else part
    full = all(axis in gone or sizes[axis] == n for axis, n in enumerate(x.shape))
    if len(axes) != 1 or gone != axes or not full:
        raise Unsupported("a gather of blocks")
    axis, rank = axes[0], len(places.shape) - 1
    ids = graph.reshape(graph.wide(places), places.shape[:-1])
    length = int(x.shape[axis])
    number = lambda n: constant(np.array(n, ids.dtype))  # noqa: E731
    put = lambda op, *inputs: graph.put(op, *inputs, shape=ids.shape, dtype=ids.dtype)  # noqa: E731
    fills = equation.params["mode"] == jax.lax.GatherScatterMode.FILL_OR_DROP
    known = ids.array is not None and ids.array.min() >= 0 and ids.array.max() < length
    inside = ids if known else put("Min", put("Max", ids, number(0)), number(length - 1))
    shape = (*x.shape[:axis], *ids.shape, *x.shape[axis + 1 :])
    found = graph.put("Gather", x, inside, shape=shape, dtype=x.dtype, axis=axis)
    if fills and not known:  # an id that is none shows as NaN
        real = graph.put("Equal", ids, inside, shape=ids.shape, dtype=bool)
        spread = (*ids.shape, *(1,) * (len(x.shape) - 1 - axis))
        real = graph.reshape(real, spread)
        filler = constant(np.array(equation.params["fill_value"], x.dtype))
        found = graph.put("Where", real, found, filler, shape=shape, dtype=x.dtype)
    # ONNX puts the axes of the ids in the place of the axis; JAX where offset_dims leave room
    rest = [n for n in range(len(shape)) if not axis <= n < axis + rank]
    order, by_ids, by_rest = [], iter(range(axis, axis + rank)), iter(rest)
    for place in range(len(shape)):
        order.append(next(by_rest) if place in numbers.offset_dims else next(by_ids))
    return graph.transpose(found, order)


@rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or")
def _reduce(graph: Graph, equation: Any, x: Value) -> Value:
    (x,) = _wholes(graph, equation, graph.wide(x))
    kind, out = equation.primitive.name.removeprefix("reduce_"), equation.outvars[0].aval
    op = str({"and": "min", "or": "max"}.get(kind, kind)).capitalize()
    numbers = graph.cast(x, np.int32) if x.dtype == bool else x
    axes = graph.whole_numbers(equation.params["axes"])
    y = graph.put(f"Reduce{op}", numbers, axes, shape=out.shape, dtype=numbers.dtype, keepdims=0)
    return graph.cast(y, bool) if x.dtype == bool else y


@rule("dot_general")
def _dot(graph: Graph, equation: Any, a: Value, b: Value) -> Value:
    a, b = _wholes(graph, equation, a, b)
    (over_a, over_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    out = equation.outvars[0].aval
    a, b = graph.cast(a, out.dtype), graph.cast(b, out.dtype)
    last = (len(a.shape) - 1,)
    if not batch_a and tuple(over_a) == last and len(b.shape) <= 2 and len(over_b) == 1:
        b = graph.transpose(b, (1, 0)) if tuple(over_b) == (1,) else b
        return graph.put("MatMul", a, b, shape=out.shape, dtype=out.dtype)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    named_a = [next(letters) for _ in a.shape]
    shared = dict(zip((*over_b, *batch_b), (named_a[axis] for axis in (*over_a, *batch_a)), strict=True))
    named_b = [shared[axis] if axis in shared else next(letters) for axis in range(len(b.shape))]
    result = [named_a[axis] for axis in batch_a]
    result += [n for axis, n in enumerate(named_a) if axis not in over_a and axis not in batch_a]
    result += [n for axis, n in enumerate(named_b) if axis not in over_b and axis not in batch_b]
    formula = f"{''.join(named_a)},{''.join(named_b)}->{''.join(result)}"
    return graph.put("Einsum", a, b, shape=out.shape, dtype=out.dtype, equation=formula)


@rule("conv_general_dilated")
def _conv(graph: Graph, equation: Any, x: Value, w: Value) -> Value:
    """A convolution, or with input dilation its transpose: images to [batch, channels, ...], and back."""
    x, w = _wholes(graph, equation, x, w)
    told, out = equation.params, equation.outvars[0].aval
    x, w = graph.cast(x, out.dtype), graph.cast(w, out.dtype)
    if told["batch_group_count"] != 1:
        raise Unsupported("a convolution in groups of the batch")
    numbers = told["dimension_numbers"]
    x, w = graph.transpose(x, numbers.lhs_spec), graph.transpose(w, numbers.rhs_spec)
    before, after = zip(*told["padding"], strict=True)
    shape = tuple(out.shape[axis] for axis in numbers.out_spec)
    same = {"dilations": told["rhs_dilation"], "group": told["feature_group_count"]}
    if all(n == 1 for n in told["lhs_dilation"]):
        y = graph.put(
            "Conv", x, w, shape=shape, dtype=out.dtype, strides=told["window_strides"], pads=[*before, *after], **same
        )
    else:
        y = _conv_back(graph, told, x, w, shape, out.dtype, before, after, same)
    return graph.transpose(y, np.argsort(numbers.out_spec).tolist())


def _conv_back(graph: Graph, told: Any, x: Value, w: Value, shape: Shape, dtype: Any, before, after, same) -> Value:
    """Zeros between the inputs, then a convolution: ONNX's ConvTranspose of the turned weights.

    It gives (n - 1) * stride + span places; what padding leaves out is cut off, what it adds is 0.
    """
    if w.array is None or any(n != 1 for n in told["window_strides"]):
        raise Unsupported("a transposed convolution with computed weights or strides")
    groups, axes = told["feature_group_count"], tuple(range(2, len(w.shape)))
    turned = np.flip(w.array, axes).reshape(groups, -1, *w.shape[1:]).swapaxes(1, 2)  # [g, out / g, in / g, ..]
    turned = constant(np.ascontiguousarray(turned.reshape(-1, *turned.shape[2:])), w.hint)  # -> [in, out / g, ..]
    spans = [(n - 1) * d + 1 for n, d in zip(w.shape[2:], told["rhs_dilation"], strict=True)]
    excess = [(s - 1 - lo, s - 1 - hi) for s, lo, hi in zip(spans, before, after, strict=True)]
    cut, more = [[max(n, 0) for n in pair] for pair in excess], [[max(-n, 0) for n in pair] for pair in excess]
    inner = (*shape[:2], *(n - sum(m) for n, m in zip(shape[2:], more, strict=True)))
    y = graph.put(
        "ConvTranspose", x, turned, shape=inner, dtype=dtype, strides=told["lhs_dilation"],
        pads=[*(a for a, _ in cut), *(z for _, z in cut)], **same,
    )  # fmt: skip
    if not any(map(sum, more)):
        return y
    pads = graph.whole_numbers([0, 0, *(a for a, _ in more), 0, 0, *(z for _, z in more)])
    return graph.put("Pad", y, pads, constant(np.zeros((), dtype)), shape=shape, dtype=dtype)


@rule("iota")
def _iota(graph: Graph, equation: Any) -> Value:
    told = equation.params
    shape, axis = told["shape"], told["dimension"]
    if not isinstance(shape[axis], int):
        raise Unsupported("numbers along the batch")
    lengths = [1] * len(shape)
    lengths[axis] = shape[axis]
    return constant(np.arange(shape[axis]).astype(told["dtype"]).reshape(lengths))


@rule("scan")
def _scan(graph: Graph, equation: Any, *inputs: Value) -> list[Value]:
    told = equation.params
    jaxpr, given = _opened(told["jaxpr"])
    # constants, carries, parts -> carries, sequences; by rank, for JAX's own counts differ between versions
    rank = lambda v: len(v.aval.shape)  # noqa: E731
    sequences = sum(rank(o) > rank(i) for o, i in zip(equation.outvars, jaxpr.outvars, strict=True))
    carries = len(jaxpr.outvars) - sequences
    consts = sum(rank(o) == rank(i) for o, i in zip(equation.invars, jaxpr.invars, strict=True)) - carries
    wholes = [graph.wide(value) for value in _wholes(graph, equation, *inputs)]
    first, xs = wholes[consts : consts + carries], wholes[consts + carries :]
    if not xs:  # ONNX needs something to count by
        xs = [constant(np.zeros(told["length"], np.float32))]
    body = Graph(graph)
    states = [Value(v.shape, v.dtype, graph.fresh("state")) for v in first]
    parts = [Value(v.shape[1:], v.dtype, graph.fresh("part")) for v in xs]
    fed = [*wholes[:consts], *states, *parts][: len(jaxpr.invars)]
    outputs = body.run(jaxpr, given, fed)
    ends = []
    for value, v in zip(outputs, jaxpr.outvars, strict=True):
        whole = body.whole(value, v.aval.shape)
        ends.append(body.put("Identity", whole, shape=v.aval.shape, dtype=whole.dtype))
    inner = helper.make_graph(
        body.nodes, graph.fresh("loop"), [described(v.name, v.shape, v.dtype) for v in (*states, *parts)],
        [described(v.name, v.shape, v.dtype) for v in ends],
    )  # fmt: skip
    backwards = int(told["reverse"])
    names = graph.emit(
        "Scan", *first, *xs, outputs=len(ends), body=inner, num_scan_inputs=len(xs),
        scan_input_directions=[backwards] * len(xs),
        **({"scan_output_directions": [backwards] * sequences} if sequences else {}),
    )  # fmt: skip
    return [Value(v.aval.shape, end.dtype, name) for name, end, v in zip(names, ends, equation.outvars, strict=True)]
