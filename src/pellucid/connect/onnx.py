"""A trained network as an ONNX file, for onnxruntime and whatever else reads that format: no Python, no JAX there.

    pellucid export RUN --onnx                 # writes RUN/network.onnx
    done = export(net, "net.onnx", rows)       # the same from Python; rows as the network takes them in

The graph is the network as it evaluates: standardisation inside, dropout off, batch normalisation by its running
statistics, and the link at the end: class probabilities, or values in the targets' own units. What comes before the
network (categories to numbers, text to ids) is not in it; the file's metadata tell it, tokenizer and vocabulary too.

After writing the file is read by onnxruntime and its outputs are compared with the network's own; where they differ,
no file is left behind, and one that was there before stays. Any JAX code whose operations have a rule in
`connect.onnx_graph` can be written, layers of one's own too. Needs `pip install "pellucid[onnx]"`.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pellucid import __version__, files
from pellucid.errors import DataError, MissingExtra, NetworkError
from pellucid.native import one_operation
from pellucid.network.layer import Context, flatten, nest
from pellucid.network.link import apply_link, link_to_json
from pellucid.network.network import Network, forward
from pellucid.network.trace import block_rows

TOLERANCE = 1e-5  # relative, and absolute in units of the output's scale
CHECKED = 64  # rows that are compared at most
INPUT = "input"


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its outputs are from the network's own.

    input, output: (name, type, shape), a free axis as its name.   difference: the largest, in the output's own units.
    """

    path: Path
    size: int
    input: tuple[str, str, tuple[int | str, ...]]
    output: tuple[str, str, tuple[int | str, ...]]
    difference: float
    rows: int
    nodes: int

    @property
    def free_batch(self) -> bool:
        """Whether it takes any number of rows at once."""
        return isinstance(self.input[2][0], str)


def export(network: Network, path: str | Path, sample: Any = None) -> Exported:
    """Write `network` to `path`, and compare what onnxruntime makes of it with the network's own outputs.

    sample: rows as the network takes them in, [n, ...] (`net.features.transform(...)` of a table or of texts); without
    them, made-up ones of the right kind. Raises `NetworkError` where the network has no weights, computes what cannot
    be said in ONNX, or where the outputs differ by more than 1e-5; `MissingExtra` where onnx or onnxruntime
    is not installed.
    """
    _, runtime = _libraries()
    params, state = network._weights()
    path = Path(path)
    rows = _sample(network, sample)
    scale, mean = _units(network)
    model = _model(network, params, state, rows, scale, mean)
    files.make_folder(path.parent)
    unproven = path.with_name(f".{path.name}.unproven")  # what was there stays until the new file is known to be right
    files.write_bytes(unproven, model.SerializeToString())
    try:
        done = _checked(runtime, network, unproven, rows, scale, mean, len(model.graph.node))
        with files.disk_errors(path):
            unproven.replace(path)
    finally:
        unproven.unlink(missing_ok=True)
    return replace(done, path=path)


def _libraries() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(
            "ONNX files need a package that is not installed", got=error, fix='pip install "pellucid[onnx]"'
        ) from error
    return onnx, onnxruntime


# -- what is written --------------------------------------------------------------------------------------------------


def _model(network: Network, params: Any, state: Any, rows: np.ndarray, scale: Any, mean: Any) -> Any:
    """The file's content: with a free batch axis, or where that cannot be traced, for one row at a time."""
    from jax.export import symbolic_shape

    from pellucid.connect.onnx_graph import BATCH, Unsupported

    try:
        return _converted(network, params, state, rows, symbolic_shape(BATCH)[0], scale, mean)
    except Exception as first:  # JAX, and layers that ask for the number of rows, say it in several classes
        try:
            return _converted(network, params, state, rows, 1, scale, mean)
        except Unsupported as error:
            raise NetworkError(
                "the network computes something that cannot be written as ONNX", where="connect.onnx", got=error,
                fix="use another layer in its place, or connect.jax on the other side",
            ) from first  # fmt: skip


def _converted(network: Network, params: Any, state: Any, rows: np.ndarray, batch: Any, scale: Any, mean: Any) -> Any:
    from onnx import helper

    from pellucid.connect import onnx_graph as og

    trained, running = flatten(params), flatten(state)
    names = [*sorted(trained), *sorted(running)]

    def run(trained: Any, running: Any, x: Any) -> Any:
        y = apply_link(network.link, Context(state=nest(running)).run(network.layer, nest(trained), x))
        return y if scale is None else y * jnp.asarray(scale) + jnp.asarray(mean)

    with one_operation():
        closed = jax.make_jaxpr(run)(trained, running, jax.ShapeDtypeStruct((batch, *rows.shape[1:]), rows.dtype))
    if len(closed.jaxpr.outvars) != 1:
        raise NetworkError("a network with several outputs cannot be written as ONNX", got=len(closed.jaxpr.outvars))
    graph = og.Graph()
    shape = (batch, *rows.shape[1:])
    x = og.Value(shape, rows.dtype, graph.fresh(INPUT))
    if not isinstance(batch, int):
        lengths = graph.emit("Shape", x)[0]
        graph.used[og.BATCH] = 1
        parts = [graph.named(graph.whole_numbers([n])) for n in (0, 1)]
        graph.nodes.append(helper.make_node("Slice", [lengths, *parts], [og.BATCH]))
    arrays = [og.constant(value, name) for name, value in zip(names, _leaves(trained, running), strict=True)]
    (found,) = graph.run(closed.jaxpr, closed.consts, [*arrays, x])
    out = closed.jaxpr.outvars[0].aval
    output = _output_name(network)
    graph.nodes.append(helper.make_node("Identity", [graph.named(graph.whole(found, out.shape))], [output]))
    made = helper.make_graph(
        _needed(graph.nodes, output), "pellucid", [og.described(INPUT, shape, rows.dtype)],
        [og.described(output, out.shape, found.dtype)],
    )  # fmt: skip
    read = {name for node in made.node for name in _reads(node)}
    made.initializer.extend(_tensor(name, array) for name, array in graph.constants.items() if name in read)
    model = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", og.OPSET)], ir_version=og.IR_VERSION, producer_name="pellucid",
        producer_version=__version__,
    )  # fmt: skip
    told = {**metadata(network), "batch": "one row" if isinstance(batch, int) else "free"}
    helper.set_model_props(model, {k: v if isinstance(v, str) else _json(v) for k, v in told.items()})
    return model


def _leaves(trained: dict[str, Any], running: dict[str, Any]) -> list[np.ndarray]:
    return [np.asarray(part[name]) for part in (trained, running) for name in sorted(part)]


def _tensor(name: str, array: np.ndarray) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _reads(node: Any) -> list[str]:
    """What a node reads, and the loop inside it."""
    inner = [name for a in node.attribute if a.HasField("g") for part in a.g.node for name in _reads(part)]
    return [*node.input, *inner, *(o.name for a in node.attribute if a.HasField("g") for o in a.g.output)]


def _needed(nodes: list[Any], output: str) -> list[Any]:
    """The nodes that the output depends on."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(_reads(node))
            kept.append(node)
    return kept[::-1]


def _output_name(network: Network) -> str:
    if network.link in ("softmax", "sigmoid"):
        return "probabilities"
    return "values" if network.targets is not None and network.targets.task == "regression" else "output"


def _units(network: Network) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(scale, mean) that bring standardised targets to their own units, a number for each output; None for classes."""
    if network.targets is None or not any(column.kind == "number" for column in network.targets.columns):
        return None, None
    columns = network.targets.columns
    scale, mean = np.ones(columns[-1].stop, np.float32), np.zeros(columns[-1].stop, np.float32)
    for column in columns:
        if column.kind == "number":
            scale[column.start : column.stop], mean[column.start : column.stop] = column.scale, column.mean
    return scale, mean


def metadata(network: Network) -> dict[str, Any]:
    """What the file says of the network beside its graph: texts, and values that are written as JSON.

    features: the preprocessing that comes before the graph, as in `network.json`; for texts its "tokenizer" has the
    vocabulary.   targets: what each output means.   classes: of one target of classes, in the order of the outputs.
    """
    found: dict[str, Any] = {"pellucid_version": __version__, "link": link_to_json(network.link)}
    if (features := network.features) is not None:
        found |= {"input_names": list(features.names), "features": _standardised_inside(features.to_json())}
        tokenizer = getattr(features.encoder, "tokenizer", None)
        if tokenizer is not None:
            found |= {"tokenizer": tokenizer.to_json(), "vocabulary": list(tokenizer.names)}
    if (targets := network.targets) is not None:
        found |= {"task": targets.task, "targets": targets.to_json()}
        if len(targets.columns) == 1 and targets.columns[0].classes:
            found["classes"] = list(targets.columns[0].classes)
    return found


def _standardised_inside(features: dict[str, Any]) -> dict[str, Any]:
    """The preprocessing without mean and scale, which the graph applies."""
    return {name: value for name, value in features.items() if name not in ("mean", "scale", "per")}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# -- the check --------------------------------------------------------------------------------------------------------


def _checked(
    runtime: Any, network: Network, path: Path, rows: np.ndarray, scale: Any, mean: Any, nodes: int
) -> Exported:
    """Run the file on the rows, one at a time and (with a free batch) all at once, and compare."""
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    try:
        session = runtime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        fed, given = session.get_inputs()[0], session.get_outputs()[0]
        free = not isinstance(fed.shape[0], int)
        singles = rows if not free else rows[:2]
        found = [session.run(None, {fed.name: row[None]})[0] for row in singles]
        got = np.concatenate(found)
        if free:
            got = np.concatenate([got, session.run(None, {fed.name: rows})[0]])
    except Exception as error:  # onnxruntime's errors have no class in common
        raise NetworkError(
            "onnxruntime cannot run the file", where=path, got=str(error).splitlines()[0][:300],
            fix="report it, please; the network itself is unharmed",
        ) from error  # fmt: skip
    want = _own(network, np.concatenate([singles, rows]) if free else rows)
    unit = np.ones((), np.float32) if scale is None else scale
    want = want if scale is None else want * scale + mean
    difference = _compare(want, got, unit, path, given.name)
    kind = lambda one: (one.name, one.type, tuple(one.shape))  # noqa: E731
    return Exported(path, path.stat().st_size, kind(fed), kind(given), difference, len(rows), nodes)


def _own(network: Network, rows: np.ndarray) -> np.ndarray:
    """The network's own outputs, through the link, a few rows at a time."""
    params, state = network._weights()
    size = block_rows(network.layer, jax.ShapeDtypeStruct((1, *rows.shape[1:]), rows.dtype))
    blocks = [rows[i : i + size] for i in range(0, len(rows), size)]
    return np.concatenate([np.asarray(forward(network.layer, params, state, b, network.link)) for b in blocks])


def _compare(want: np.ndarray, got: np.ndarray, unit: np.ndarray, path: Path, name: str) -> float:
    """The largest difference; an error where one is beyond the tolerance."""
    if got.shape != want.shape:
        raise NetworkError(
            "the ONNX file gives outputs of another shape than the network", where=f"{path}: {name}",
            expected=list(want.shape), got=list(got.shape), fix="report it, please; the file was removed",
        )  # fmt: skip
    difference = np.where(np.isnan(want) & np.isnan(got), 0.0, np.abs(got.astype(np.float64) - want))
    difference = np.where(np.isnan(difference), np.inf, difference)
    excess = difference - TOLERANCE * (np.abs(np.nan_to_num(want)) + unit)
    worst = np.unravel_index(int(excess.argmax()), excess.shape)
    if excess[worst] > 0:
        place = ", ".join(str(int(i)) for i in worst[1:])
        raise NetworkError(
            f"the ONNX file does not compute what the network does: they differ by {difference[worst]:.3g}",
            where=f"{path}: {name}[row, {place}]", expected=f"{want[worst]:.7g}, to {TOLERANCE:g}",
            got=f"{got[worst]:.7g}", fix="report it, please; the file was removed",
        )  # fmt: skip
    return float(difference.max(initial=0))


def _sample(network: Network, given: Any) -> np.ndarray:
    """Some rows as the network takes them in."""
    example = network.example() if given is None or network.features is not None else None
    if given is None:
        assert example is not None
        return made_up(network, example)
    rows = np.asarray(given)
    if example is not None and tuple(rows.shape[1:]) != tuple(example.shape[1:]):
        raise DataError(
            "the sample is not what the network takes in", where="sample", expected=["n", *example.shape[1:]],
            got=list(rows.shape), fix="give encoded rows: net.features.transform(rows)",
        )  # fmt: skip
    if not len(rows):
        raise DataError("the sample is empty", where="sample", expected="one row or more")
    rows = rows[:CHECKED]
    if example is not None:
        return np.ascontiguousarray(rows.astype(example.dtype))
    return (
        rows.astype(np.float32)
        if rows.dtype == np.float64
        else rows.astype(np.int32)
        if rows.dtype == np.int64
        else rows
    )


def made_up(network: Network, example: jax.ShapeDtypeStruct, rows: int = 8) -> np.ndarray:
    """Random rows of the network's kind: ids of its vocabulary, pixels, or numbers about the mean of training."""
    draw, shape, features = np.random.default_rng(0), (rows, *example.shape[1:]), network.features
    lengths = draw.integers(1, shape[1] + 1, rows) if len(shape) > 1 else np.zeros(rows)
    filling = np.arange(shape[1] if len(shape) > 1 else 0) >= lengths[:, None]  # [rows, steps]
    filling[0] = False
    if np.issubdtype(example.dtype, np.integer):
        high = features.vocabulary if features is not None and features.vocabulary else 256
        ids = draw.integers(0, high, shape).astype(example.dtype)
        return np.where(filling, 0, ids).astype(example.dtype) if features is not None and features.padded else ids
    numbers = draw.normal(size=shape)
    if features is not None:
        numbers = numbers * features.scale + features.mean
        if features.padded:
            numbers[filling] = np.nan
    return numbers.astype(example.dtype)
