"""The networks of the benchmark as plain data: which arrays they own, and what products they compute. NumPy alone.

Every contender builds its own network and takes these initial weights, so that all begin alike. Weights have the layout
and the paths that Pellucid gives them: dense [in, out], convolutions [height, width, in, out], recurrent gates side by
side ([n, gates * width]), images channels last.
"""

import math
from dataclasses import dataclass

import numpy as np

Weights = dict[str, np.ndarray]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """A matrix product or a convolution of the forward pass of one example.

    flops: multiplications and additions, 2 for each pair.   into_input: backwards, its gradient is asked for with
    respect to what arrives as well as to its weights; of the data, where a network begins, it is not.
    """

    name: str
    flops: int
    into_input: bool = True


def dense(name: str, n: int, m: int, into_input: bool = True, places: int = 1) -> Product:
    """`places` rows of n numbers times [n, m]."""
    return Product(name, 2 * places * n * m, into_input)


@dataclass(frozen=True)
class MLP:
    """Dense layers with ReLU between them: 784-128-10 has widths (784, 128, 10). Two widths are a perceptron."""

    widths: Shape

    @property
    def shapes(self) -> dict[str, Shape]:
        found: dict[str, Shape] = {}
        for i in range(1, len(self.widths)):
            found |= {f"dense{i}/w": (self.widths[i - 1], self.widths[i]), f"dense{i}/b": (self.widths[i],)}
        return found

    @property
    def products(self) -> list[Product]:
        pairs = zip(self.widths, self.widths[1:], strict=False)
        return [dense(f"dense{i}", n, m, i > 1) for i, (n, m) in enumerate(pairs, 1)]


@dataclass(frozen=True)
class CNN:
    """conv 32, conv 64 (3 x 3, each with ReLU and 2 x 2 max pooling), dense 128, ReLU, dense 10."""

    side: int
    channels: int

    @property
    def flat(self) -> int:
        return 64 * (self.side // 4) ** 2

    @property
    def shapes(self) -> dict[str, Shape]:
        return {
            "conv1/w": (3, 3, self.channels, 32), "conv1/b": (32,), "conv2/w": (3, 3, 32, 64), "conv2/b": (64,),
            "dense1/w": (self.flat, 128), "dense1/b": (128,), "dense2/w": (128, 10), "dense2/b": (10,),
        }  # fmt: skip

    @property
    def products(self) -> list[Product]:
        return [
            dense("conv1", 9 * self.channels, 32, False, self.side**2),
            dense("conv2", 288, 64, True, (self.side // 2) ** 2),
            dense("dense1", self.flat, 128), dense("dense2", 128, 10),
        ]  # fmt: skip


@dataclass(frozen=True)
class ResNet:
    """ResNet-18 for 32 x 32 x 3: a convolution, four stages of two blocks (64 to 512 channels), mean, dense."""

    widths: Shape = (64, 128, 256, 512)
    side: int = 32

    @property
    def blocks(self) -> list[tuple[str, int, int, int, int]]:
        """(path, channels in, channels out, stride, side of what it gives)"""
        found, before, side = [], self.widths[0], self.side
        for stage, width in enumerate(self.widths, 1):
            for block in (1, 2):
                stride = 2 if stage > 1 and block == 1 else 1
                side //= stride
                found.append((f"stage{stage}_block{block}", before, width, stride, side))
                before = width
        return found

    @property
    def shapes(self) -> dict[str, Shape]:
        found: dict[str, Shape] = {}

        def convolution(conv: str, norm: str, size: int, n: int, m: int) -> None:
            found.update({f"{conv}/w": (size, size, n, m), f"{norm}/scale": (m,), f"{norm}/bias": (m,)})

        convolution("conv", "norm", 3, 3, self.widths[0])
        for path, n, m, stride, _ in self.blocks:
            convolution(f"{path}/body/conv1", f"{path}/body/norm1", 3, n, m)
            convolution(f"{path}/body/conv2", f"{path}/body/norm2", 3, m, m)
            if stride > 1 or n != m:
                convolution(f"{path}/shortcut/conv", f"{path}/shortcut/norm", 1, n, m)
        return found | {"output/w": (self.widths[-1], 10), "output/b": (10,)}

    @property
    def products(self) -> list[Product]:
        found = [dense("conv", 27, self.widths[0], False, self.side**2)]
        for path, n, m, stride, side in self.blocks:
            found += [
                dense(f"{path}/conv1", 9 * n, m, places=side**2),
                dense(f"{path}/conv2", 9 * m, m, places=side**2),
            ]
            if stride > 1 or n != m:
                found.append(dense(f"{path}/shortcut", n, m, places=side**2))
        return [*found, dense("output", self.widths[-1], 10)]


GATES = {"rnn": 1, "gru": 3, "lstm": 4}


@dataclass(frozen=True)
class Recurrent:
    """One recurrent layer over `steps` steps of `features` numbers, its last state, a dense layer of 10."""

    kind: str  # "rnn" (Elman), "gru", "lstm"
    width: int
    features: int = 32
    steps: int = 64

    @property
    def shapes(self) -> dict[str, Shape]:
        wide = GATES[self.kind] * self.width
        more: dict[str, Shape] = {"cell/v": (self.width,)} if self.kind == "gru" else {}
        return {
            "cell/w": (self.features, wide), "cell/u": (self.width, wide), "cell/b": (wide,), **more,
            "out/w": (self.width, 10), "out/b": (10,),
        }  # fmt: skip

    @property
    def products(self) -> list[Product]:
        wide = GATES[self.kind] * self.width
        return [
            dense("x·w", self.features, wide, False, self.steps), dense("h·u", self.width, wide, True, self.steps),
            dense("out", self.width, 10),
        ]  # fmt: skip


@dataclass(frozen=True)
class GPT:
    """nanoGPT's CPU recipe: pre-norm blocks without biases, learned positions, logits from the tokens' own vectors."""

    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    vocabulary: int = 65

    @property
    def shapes(self) -> dict[str, Shape]:
        n = self.width
        found: dict[str, Shape] = {"w": (self.vocabulary, n), "body/positions/w": (self.context, n)}
        for i in range(1, self.layers + 1):
            block = f"body/block{i}"
            found |= {
                f"{block}/norm1/scale": (n,),
                f"{block}/attention/w": (n, 3 * n),
                f"{block}/attention/out": (n, n),
            }
            found |= {f"{block}/norm2/scale": (n,), f"{block}/feed_forward/hidden/w": (n, 4 * n)}
            found[f"{block}/feed_forward/back/w"] = (4 * n, n)
        return found | {"body/norm/scale": (n,)}

    @property
    def products(self) -> list[Product]:
        n, t = self.width, self.context
        found = []
        for i in range(1, self.layers + 1):  # of attention, the whole square of scores is counted, as nanoGPT does
            found += [
                dense(f"block{i}/qkv", n, 3 * n, places=t), Product(f"block{i}/scores", 2 * t * t * n),
                Product(f"block{i}/values", 2 * t * t * n), dense(f"block{i}/out", n, n, places=t),
                dense(f"block{i}/hidden", n, 4 * n, places=t), dense(f"block{i}/back", 4 * n, n, places=t),
            ]  # fmt: skip
        return [*found, dense("logits", n, self.vocabulary, places=t)]


Model = MLP | CNN | ResNet | Recurrent | GPT


def initial(model: Model, seed: int = 0) -> Weights:
    """Initial weights, the same for every contender: He's for what ReLU follows, N(0, 0.02²) for a GPT, biases 0.

    >>> sorted(initial(MLP((4, 3)))), initial(MLP((4, 3)))["dense1/w"].dtype
    (['dense1/b', 'dense1/w'], dtype('float32'))
    """
    random = np.random.default_rng(seed)

    def draw(path: str, shape: Shape) -> np.ndarray:
        last = path.rpartition("/")[2]
        if last == "scale":
            return np.ones(shape, np.float32)
        if len(shape) == 1:
            return np.zeros(shape, np.float32)
        if isinstance(model, GPT):
            spread = 0.02
        else:
            gain = 1.0 if isinstance(model, Recurrent) or shape[-1] == 10 else 2.0
            spread = math.sqrt(gain / math.prod(shape[:-1]))
        return (random.standard_normal(shape) * spread).astype(np.float32)

    return {path: draw(path, shape) for path, shape in model.shapes.items()}
