"""A network: a layer (its structure), the weights that belong to it, and what is needed to use it on real data.

Under everything lies the pure pair, which any JAX code can call, differentiate, batch and compile:

    params, state = net.init(key, x)
    y, state = net.apply(params, state, x, train=True, key=key)
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from pellucid.data import Features, Targets
from pellucid.errors import NetworkError
from pellucid.network import storage
from pellucid.network.adapt import built, find_input
from pellucid.network.architecture import Arriving
from pellucid.network.dispatch import keep_memory, run_in_caller
from pellucid.network.initial import Initializer
from pellucid.network.layer import Context, Layer, Param, Params, flatten, nest
from pellucid.network.line import Answers
from pellucid.network.link import Link, apply_link, linked
from pellucid.network.rows import pad_rows, power_of_two
from pellucid.network.summary import summary
from pellucid.network.trace import block_rows, trace
from pellucid.shown import Shown

run_in_caller()
keep_memory()


@partial(jax.jit, static_argnums=1)
def _initialise(key: jax.Array, declared: tuple[tuple[str, Param], ...]) -> dict[str, jax.Array]:
    import zlib

    return {
        path: Initializer.of(param.initial)(
            jax.random.fold_in(key, zlib.crc32(path.encode())), param.shape, jnp.dtype(param.dtype)
        )
        for path, param in declared
    }


@partial(jax.jit, static_argnums=(0, 4))
def forward(layer: Layer, params: Params, state: Params, x: Any, link: Link | None) -> Any:
    """The compiled pass for evaluation: outputs, through the link where one is given."""
    y = Context(state=state).run(layer, params, x)
    return y if link is None else apply_link(link, y)


@jax.tree_util.register_pytree_with_keys_class
class Network(Shown):
    """Structure, weights and running state together; a pytree whose leaves are the arrays.

    layer: the structure.   params, state: nested dicts of arrays, `None` until initialised.
    features, targets: the fitted preprocessing of the data it was trained on.   link: outputs -> what is predicted.

    >>> from pellucid.network.architectures import mlp
    >>> net = mlp((3,), outputs=2)
    >>> params, state = net.init(jax.random.key(0), jnp.zeros((1, 4)))
    >>> y, state = net.apply(params, state, jnp.ones((5, 4)))
    >>> y.shape
    (5, 2)
    """

    def __init__(
        self,
        layer: Layer,
        params: Params | None = None,
        state: Params | None = None,
        *,
        features: Features | None = None,
        targets: Targets | None = None,
        link: Link = "identity",
    ):
        self.layer, self.params, self.state = layer, params, state
        self.features, self.targets, self.link = features, targets, link
        self._answers = Answers()

    # -- the pure pair ------------------------------------------------------------------------------------------

    def init(self, key: jax.Array, x: Any) -> tuple[Params, Params]:
        """Fresh weights and running state for inputs like `x` ([batch, ...] arrays, or shapes of them).

        Each weight's key is `key` folded by the crc32 of its path: adding a layer leaves the others' weights as they
        were.
        """
        declared = trace(self.layer, x).declared
        values = _initialise(key, tuple(declared.items()))
        trained = {path: value for path, value in values.items() if declared[path].trained}
        running = {path: value for path, value in values.items() if not declared[path].trained}
        return nest(trained), nest(running)

    def apply(
        self, params: Params, state: Params, x: Any, *, train: bool = False, key: jax.Array | None = None
    ) -> tuple[Any, Params]:
        """The outputs for `x` (logits where the loss has a link), and the running state after."""
        ctx = Context(train=train, key=key, state=state)
        y = ctx.run(self.layer, params, x)
        return y, merge_updates(state, ctx.updates)

    # -- the friendly face --------------------------------------------------------------------------------------

    def initialised(self, key: jax.Array, x: Any) -> "Network":
        """This network with fresh weights, built for such inputs where it was a blueprint."""
        network = self.replace(layer=built(self.layer, Arriving.of(x)))
        params, state = network.init(key, x)
        return network.replace(params=params, state=state)

    def replace(self, **changes: Any) -> "Network":
        kept = {name: getattr(self, name) for name in ("params", "state", "features", "targets", "link")}
        layer = changes.pop("layer", self.layer)
        return Network(layer, **{**kept, **changes})

    def __call__(self, x: Any) -> Any:
        """Raw outputs (logits) for arrays as the network takes them in: [batch, ...] -> [batch, width]. A NumPy array
        gives a NumPy array, a JAX array a JAX array."""
        if type(x) is not np.ndarray:
            return forward(self.layer, *self._weights(), x, None)
        answer = self._answers(self, x)
        return jax.tree.map(_as_numpy, forward(self.layer, *self._weights(), x, None)) if answer is None else answer

    def probabilities(self, x: Any) -> Any:
        """Outputs through the link: class probabilities [n, classes], or values in the targets' own units."""
        out = self._outputs(x)
        return out if self.targets is None or self.targets.task != "regression" else self.targets.decode(out)

    def predict(self, x: Any) -> Any:
        """Classes in their own labels, or values in their own units, for rows of the data's own form: a table (with
        the columns trained on, in any order) or an array. With a target at every step: [n, steps], None (or NaN among
        numbers) where a step only fills up a shorter sequence."""
        if self.targets is not None and self.targets.task == "pairs":
            from pellucid.network.generate import completed

            return completed(self, x)
        if self.targets is not None and self.targets.steps and self.features is not None:
            rows = self.features.transform(x)
            return self.targets.decode_steps(self._forward(rows), rows)
        out = self._outputs(x)
        if self.targets is not None:
            return self.targets.decode(out)
        return out.argmax(-1) if self.link == "softmax" else out

    def generate(
        self, prompt: str | None = None, tokens: int = 500, *, temperature: float = 1.0, top_k: int | None = None,
        top_p: float | None = None, seed: int = 0,
    ) -> Iterator[str]:  # fmt: skip
        """What a language model writes after `prompt`, piece by piece: `"".join(net.generate("To be"))`.

        tokens: how many.   temperature, top_k, top_p: see `pellucid.network.generate.chances`.
        prompt None: a new line.
        Raises `DataError` for characters that were not trained, `NetworkError` where the network is no language model.
        """
        from pellucid.network.generate import generate

        return generate(self, prompt, tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)

    def _outputs(self, x: Any) -> np.ndarray:
        return self._forward(self.features.transform(x) if self.features is not None else np.asarray(x))

    def _forward(self, rows: np.ndarray, raw: bool = False) -> np.ndarray:
        """Outputs for encoded rows, in blocks; raw: before the link."""
        answer = self._answers(self, rows)
        if answer is not None:
            return answer if raw else linked(self.link, answer)
        params, state = self._weights()
        size = min(
            block_rows(self.layer, jax.ShapeDtypeStruct((1, *rows.shape[1:]), rows.dtype)), power_of_two(len(rows))
        )
        out = []
        for start in range(0, max(len(rows), 1), size):
            block, n = pad_rows(rows[start : start + size], size)
            out.append(np.asarray(forward(self.layer, params, state, block, None if raw else self.link))[:n])
        return np.concatenate(out)

    def _weights(self) -> tuple[Params, Params]:
        if self.params is None:
            raise NetworkError(
                "the network has no weights yet", fix="train it with pc.fit(net, data), or net.initialised(key, x)"
            )
        return self.params, self.state or {}

    @property
    def parameters(self) -> int:
        """How many trained numbers it has."""
        return sum(int(a.size) for a in jax.tree.leaves(self.params)) if self.params is not None else 0

    def example(self, batch: int = 1) -> jax.ShapeDtypeStruct:
        """The shape and dtype of an input batch, known once the network has met data."""
        shape, dtype = None, "float32"
        if self.features is not None:
            shape, dtype = tuple(self.features.shape), self.features.dtype
        else:
            found = find_input(self.layer)
            if found is not None and found[1].shape is not None:
                shape, dtype = found[1].shape, found[1].dtype or "float32"
        if shape is None:
            raise NetworkError("the network does not know its input yet", fix="pass an example: net.summary(x)")
        return jax.ShapeDtypeStruct((batch, *shape), dtype)

    def summary(self, x: Any = None) -> str:
        """One line a layer: path, layer, output shape, parameters."""
        return summary(self, self.example() if x is None else x)

    def save(self, path: str | Path) -> Path:
        """Write `network.json` and `weights.safetensors` into the folder `path`."""
        return storage.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> "Network":
        """Read what `save`, or a run, wrote."""
        return storage.load(Path(path), cls)

    def __repr__(self) -> str:
        size = f"{self.parameters:,} parameters" if self.params is not None else "not initialised"
        return f"Network({self.layer}, {size})"

    # -- pytree -------------------------------------------------------------------------------------------------

    def tree_flatten_with_keys(self):
        keys = jax.tree_util.GetAttrKey
        children = ((keys("params"), self.params), (keys("state"), self.state))
        return children, (self.layer, self.features, self.targets, self.link)

    def tree_flatten(self):
        return (self.params, self.state), (self.layer, self.features, self.targets, self.link)

    @classmethod
    def tree_unflatten(cls, aux, children):
        layer, features, targets, link = aux
        return cls(layer, *children, features=features, targets=targets, link=link)


def _as_numpy(y: Any) -> Any:
    return y if isinstance(y, Tracer) else np.array(y)


def merge_updates(state: Params, updates: Mapping[str, Mapping[str, Any]]) -> Params:
    """The running state with what a pass has set."""
    if not updates:
        return state
    flat = flatten(state)
    for path, values in updates.items():
        for name, value in values.items():
            flat[f"{path}/{name}" if path else name] = value
    return nest(flat)


def as_network(value: Any) -> Network:
    """A Network from a Network, a Layer, or the JSON or name of a layer."""
    return value if isinstance(value, Network) else Network(Layer.of(value))
