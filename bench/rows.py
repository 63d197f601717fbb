"""The rows of the benchmark: each a piece of work that every contender does alike."""

from dataclasses import dataclass

from bench.models import CNN, GPT, MLP, Model, Recurrent, ResNet

MAIN = ("pellucid", "torch")
TRAINING = ("pellucid", "torch", "torch-compile", "keras", "flax", "equinox", "sklearn")


@dataclass(frozen=True)
class Row:
    """kind: "train" (a step of training), "infer" (a pass forward), or "reach", "cold", "shell" (see `whole.py`).

    batch: examples a step; of inference, `batches`: one process measures them all.   steps: updates in an epoch; the
    first epoch warms up, and is checked.   tolerance: how far the losses may lie apart, relatively.
    target: the ratio to the best peer that is asked for.   of_limit: the share of the machine's largest SGEMM.
    quick: a headline row.   rounds: so many at most.
    """

    name: str
    title: str
    kind: str = "train"
    model: Model | None = None
    data: str = ""
    batch: int = 1
    batches: tuple[int, ...] = ()
    steps: int = 1
    optimizer: str = "adam"
    rate: float = 1e-3
    tolerance: float = 1e-2
    contenders: tuple[str, ...] = TRAINING
    target: float | None = None
    of_limit: float | None = None
    quick: bool = False
    rounds: int = 99

    @property
    def examples(self) -> int:
        return self.batch * self.steps

    @property
    def checked(self) -> int:
        """So many examples the loss is compared on."""
        return min(self.examples, max(self.batch, 512))


SMALL, PERCEPTRON, WIDE = MLP((784, 128, 10)), MLP((784, 10)), MLP((784, 1024, 1024, 10))
SGD = {"optimizer": "sgd", "rate": 0.01}


def _dense(name: str, title: str, model: MLP, batch: int, steps: int, **more) -> Row:
    return Row(name, title, model=model, data="mnist", batch=batch, steps=steps, **more)


def _recurrent(kind: str, width: int, steps: int, features: int = 32, **more) -> Row:
    shown = {"rnn": "Elman", "lstm": "LSTM", "gru": "GRU"}[kind]
    # a GRU's biases are drawn up differently in each library, so the paths part a little
    loose = {"tolerance": 0.02} if kind == "gru" else {}
    # torch.compile leaves recurrent layers as they are: one row shows it
    contenders = tuple(
        c for c in TRAINING if c != "sklearn" and (c != "torch-compile" or (kind, width) == ("lstm", 256))
    )
    return Row(
        f"{kind}{width}", f"{shown} {features}-{width}, 64 steps, Adam, batch 64",
        model=Recurrent(kind, width, features),
        data="sequences", batch=64, steps=steps, contenders=contenders, target=1.3, **{**loose, **more},
    )  # fmt: skip


def _convolutional(name: str, title: str, model: Model, **more) -> Row:
    contenders = tuple(c for c in TRAINING if c != "sklearn")
    return Row(name, title, model=model, **{"batch": 64, "contenders": contenders, **more})


def _inference(name: str, title: str, model: Model, data: str, many: int, target: float) -> Row:
    contenders = tuple(c for c in TRAINING if c != "sklearn" or isinstance(model, MLP))
    return Row(
        name, title, "infer", model, data, batches=(1, many), contenders=contenders, target=target, quick=True,
        tolerance=1e-3,
    )  # fmt: skip


ROWS = {
    row.name: row
    for row in (
        _dense("perceptron-1", "784-10, SGD, single examples", PERCEPTRON, 1, 6000, **SGD),
        _dense("perceptron-64", "784-10, Adam, batch 64", PERCEPTRON, 64, 937),
        _dense("perceptron-full", "784-10, SGD, all 10,000", PERCEPTRON, 10_000, 1, **SGD),
        # a unit's sum that rounds to the other side of 0 parts the paths: some once in 6,000 single steps
        _dense(
            "mlp-1", "784-128-10, SGD, single examples", SMALL, 1, 6000, **SGD, target=20.0, quick=True, tolerance=0.03,
        ),
        _dense("mlp-64", "784-128-10, Adam, batch 64", SMALL, 64, 937, target=3.5, quick=True),
        _dense("mlp-full", "784-128-10, SGD, all 10,000", SMALL, 10_000, 1, **SGD),
        _dense("wide", "784-1024-1024-10, Adam, batch 128", WIDE, 128, 60, target=1.3, of_limit=0.6, quick=True),
        _convolutional(
            "cnn28", "CNN, 28 x 28 x 1, Adam, batch 64", CNN(28, 1), data="mnist", steps=40, target=2.0, of_limit=0.6,
            quick=True,
        ),
        _convolutional("cnn32", "CNN, 32 x 32 x 3, Adam, batch 64", CNN(32, 3), data="colour", steps=30, target=2.0),
        _convolutional(
            "resnet18", "ResNet-18, 32 x 32 x 3, Adam, batch 32", ResNet(), data="colour", batch=32, steps=2,
            tolerance=0.03, contenders=("pellucid", "torch", "torch-compile", "keras", "flax"),
        ),
        _recurrent("rnn", 128, 60, quick=True),
        _recurrent("rnn", 512, 12),
        _recurrent("lstm", 128, 40),
        _recurrent("lstm", 256, 15, features=64, of_limit=0.5, quick=True),
        _recurrent("lstm", 512, 6),
        _recurrent("gru", 128, 40, quick=True),
        _recurrent("gru", 512, 6),
        Row(
            "transformer", "transformer, nanoGPT's CPU recipe, Adam, batch 12", model=GPT(), data="text", batch=12,
            steps=30, contenders=tuple(c for c in TRAINING if c != "sklearn"), target=1.5, quick=True,
        ),
        _inference("infer-mlp", "784-128-10", SMALL, "flat", 1024, 5.0),
        _inference("infer-cnn", "CNN, 28 x 28 x 1", CNN(28, 1), "grey", 256, 2.0),
        _inference("infer-lstm", "LSTM 64-256, 64 steps", Recurrent("lstm", 256, 64), "sequences", 64, 2.0),
        Row("reach-mnist", "MNIST, to 98 % of the test part", "reach", contenders=MAIN),
        Row("reach-text", "tinyshakespeare, to a validation loss of 1.8857", "reach", contenders=MAIN, rounds=1),
        Row(
            "cold", "784-128-10, from process start to the end of the first step", "cold", SMALL, "cold", batch=64,
            contenders=(*MAIN, "pellucid-cached", "torch-compile", "torch-compile-cached", "keras", "flax", "equinox"),
        ),
        Row(
            "shell", "from a cold shell to 98 % on MNIST's test part", "shell", contenders=MAIN, quick=True, rounds=2,
        ),
    )
}  # fmt: skip
