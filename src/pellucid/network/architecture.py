"""What an architecture is: a few settings that turn into a network once it is known what arrives. The whole contract:

    @register
    class Perceptron(Architecture):
        def build(self, data): ...       # Arriving -> the layers, from Input() or Embed(None, ...) to Output()

An architecture is a spec like any other, so a recipe holds it. What only the data know, its `Input`, `Embed(None)` and
`Output` leave open, and `adapt` fills in; what depends on shapes (how often an image can be halved) `build` decides.
"""

from typing import Any, NamedTuple

from pellucid.errors import NetworkError, SettingError
from pellucid.network.composite import Sequential
from pellucid.network.dense import resolve_output
from pellucid.network.layer import Context, Layer, layer
from pellucid.spec import Spec


class Arriving(NamedTuple):
    """What arrives at a network, without the batch axis.

    vocabulary: how many token ids there are, where ids arrive.   padded: shorter sequences are filled up (ids with 0,
    numbers with NaN).   each_step: there is a target for every step, as in language models or of sequences.
    source: of pairs, how many of the steps are the source; the target's follow.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    vocabulary: int | None = None
    padded: bool = False
    each_step: bool = False
    source: int | None = None

    @property
    def kind(self) -> str:
        """In a word: "tokens", "pairs", "row", "sequence", "image"; or "array" for what has more axes."""
        if self.source is not None:
            return "pairs"
        if self.vocabulary is not None:
            return "tokens"
        return {1: "row", 2: "sequence", 3: "image"}.get(len(self.shape), "array")

    @classmethod
    def of(cls, x: Any) -> "Arriving":
        """What a batch tells by itself."""
        return cls(tuple(x.shape[1:]), str(x.dtype))


class Architecture(Spec, family="network"):
    """Contract: `build(data)` gives the layers; `suggests()` training settings that belong to it, by recipe key."""

    def build(self, data: Arriving) -> Layer:
        raise NotImplementedError  # abstract

    def suggests(self) -> dict[str, Any]:
        return {}

    def refuse_data(self, data: Arriving, reads: str, fix: str) -> NetworkError:
        """The error that says that this architecture cannot read such data."""
        more = ", with a target at every step" if data.each_step and data.kind == "sequence" else ""
        what = {"row": "rows of numbers", "array": "arrays", "pairs": "pairs of texts"}.get(data.kind, data.kind + "s")
        what = what.removesuffix("ss") if data.kind == "tokens" else what
        return NetworkError(
            f"the network {self.name!r} cannot read these data", where=f"--network {self.name}", expected=reads,
            got=f"{what} of shape {list(data.shape)}{more}", fix=fix,
        )  # fmt: skip


def find(text: str) -> Architecture:
    """The architecture that a text such as `mlp:128,64` names."""
    return Architecture.find(text.partition(":")[0]).parse(text)  # each may read its text in its own way


def numbers_first(cls: type[Architecture], text: str, field: str) -> dict[str, Any]:
    """The settings of a text in which bare numbers are the values of `field`, and the rest is `key=value`.

    >>> numbers_first(Architecture, "cnn:32,64,dropout=0.1", "widths")
    {'dropout': '0.1', 'widths': ['32', '64']}
    """
    parts = [part.strip() for part in text.partition(":")[2].split(",") if part.strip()]
    bare = [part for part in parts if "=" not in part]
    settings: dict[str, Any] = {}
    for key, _, value in (part.partition("=") for part in parts if "=" in part):
        if key.strip() in settings:
            raise SettingError(f"{key.strip()!r} is set twice in {text!r}", fix="give it once")
        settings[key.strip()] = value.strip()
    if field in settings:
        if bare:
            raise SettingError(f"{field!r} is set twice in {text!r}", got=", ".join(bare), fix="give it once")
        settings[field] = settings[field].split("x")
    elif bare:
        settings[field] = bare
    return settings


@layer
class Blueprint(Layer):
    """A network that is yet to be built: by `fit` for its data, or for whatever arrives when it is called by hand.

    x: what the architecture reads -> y: its outputs.

    >>> import jax.numpy as jnp
    >>> from pellucid.network.architectures import mlp
    >>> net = mlp((3,), outputs=2)
    >>> net.summary(jnp.zeros((1, 4))).splitlines()[-1].split(";")[0]
    '23 parameters (92 B)'
    """

    architecture: Architecture
    outputs: int | None = None

    def check(self):
        if self.outputs is not None and self.outputs < 1:
            self.refuse("outputs", "a whole number >= 1")

    def built(self, data: Arriving) -> Layer:
        made = self.architecture.build(data)
        if data.each_step and data.kind == "sequence" and isinstance(made, Sequential):
            made = Sequential(*(part for part in made.layers if not part[1].sums_up))  # an answer at every step
        return made if self.outputs is None else resolve_output(made, self.outputs)

    def apply(self, p, x, ctx):
        return (ctx or Context()).run(self.built(Arriving.of(x)), p, x)
