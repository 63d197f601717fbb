"""A module of another JAX library as one leaf of a network. `connect.jax` makes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pellucid.errors import NetworkError
from pellucid.network.initial import Initializer
from pellucid.network.layer import Layer, flatten, layer


@dataclass(frozen=True)
class Brought(Initializer):
    """What a foreign module's weights begin as: they come with it, and cannot be drawn anew."""

    def __call__(self, key, shape, dtype):
        raise NetworkError(
            "a foreign module brings its own weights, and cannot be given new ones",
            where="net.init",
            fix="make the module anew, with another key, and bring it in again with pc.connect.jax",
        )


@layer
class Foreign(Layer):
    """`run(weights, state, x, train, key) -> (y, state)`, pure, on dicts of arrays by path; x: [batch, ...].

    weights: a (path, `Param`) pair for each array.   library, module: what it is, for a person to read.
    Its activations are seen where they leave it; each of its weights is seen by itself. Two are equal only where `run`
    is the same function. A file holds its arrays but not its code: `pc.connect.jax.load` puts both together.
    """

    run: Any
    weights: tuple[Any, ...]
    library: str
    module: str
    reproducible: ClassVar[bool] = False

    def declare(self, x):
        return dict(self.weights)

    def apply(self, p, x, ctx):
        flat = flatten(p)
        trained = {path: flat[path] for path, param in self.weights if param.trained}
        running = {path: flat[path] for path, param in self.weights if not param.trained}
        if ctx is None or not ctx.train:
            return self.run(trained, running, x, False, None)[0]
        y, after = self.run(trained, running, x, True, None if ctx.key is None else ctx.random())
        if after:
            ctx.update(**after)
        return y

    def to_json(self, full: bool = False):
        return {"type": self.name, "library": self.library, "module": self.module}

    @classmethod
    def make(cls, settings: Mapping[str, Any]):
        raise NetworkError(
            f"the network holds {settings.get('module', 'a module')} of {settings.get('library', 'another library')}, "
            "whose code no file of Pellucid's can hold",
            fix="pc.connect.jax.load(path, module), with the module at hand; "
            'to go on with a run: pc.resume(path, live={"network": pc.connect.jax.from_...(module)})',
        )

    def __repr__(self):
        return f"Foreign({self.library}: {self.module})"
