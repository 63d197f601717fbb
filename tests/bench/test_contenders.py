"""Every library builds the same network: from the same weights, the same outputs."""

import numpy as np
import pytest
from bench.contenders import made
from bench.models import CNN, GPT, MLP, Recurrent, initial
from bench.rows import Row

MODELS = {
    "mlp": (MLP((12, 8, 10)), (12,)),
    "cnn": (CNN(8, 3), (8, 8, 3)),
    "rnn": (Recurrent("rnn", 6, features=5, steps=7), (7, 5)),
    "lstm": (Recurrent("lstm", 6, features=5, steps=7), (7, 5)),
    "gru": (Recurrent("gru", 6, features=5, steps=7), (7, 5)),
    "gpt": (GPT(layers=2, heads=2, width=16, context=8, vocabulary=11), (8,)),
}


def answers(contender: str, kind: str) -> np.ndarray:
    from bench.data import Data

    model, shape = MODELS[kind]
    random = np.random.default_rng(1)
    x = (
        random.integers(0, 11, (4, *shape)).astype(np.int32)
        if kind == "gpt"
        else random.standard_normal((4, *shape), np.float32)
    )
    weights = {
        path: value + random.normal(size=value.shape).astype(np.float32) / 10 for path, value in initial(model).items()
    }
    module, told = made(contender)
    y = random.integers(0, 10, 4) if contender != "sklearn" else np.arange(4)
    return np.asarray(module.infer(Row(kind, kind, "infer", model), Data(x, y, "made"), weights, **told)(x))


# Flax's GRU has no bias inside its reset gate
PAIRS = [(c, kind) for c in ("torch", "equinox", "flax") for kind in MODELS if (c, kind) != ("flax", "gru")]


@pytest.mark.parametrize(("contender", "kind"), PAIRS)
@pytest.mark.filterwarnings("ignore")  # other libraries' own
def test_the_same_outputs(contender, kind):
    pytest.importorskip(contender)
    np.testing.assert_allclose(answers(contender, kind), answers("pellucid", kind), rtol=1e-3, atol=2e-5)
