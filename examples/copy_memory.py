"""Copy memory: ten symbols are held over a delay, then told. (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016)

The network reads ten symbols out of eight, blanks, a sign to begin, and ten more blanks, at which it is to tell the
symbols in order. Who guesses has a cross-entropy of ln 8 = 2.079 a symbol. The mean over all steps, which counts the
blanks to be told before the symbols, too, is this times 10 / (delay + 20); here those easy steps are not asked.

GRU and LSTM learn it, the simple recurrent network does not; and the LSTM only where its forget gates begin far open.
A cell keeps the share sigmoid(b) of what it holds at each step, so b = ln(T) keeps it for about T steps (Tallec &
Ollivier 2018). Measured beside it: the norm of dL/dh_t at each step t, as `adding_problem.py` explains.

    python examples/copy_memory.py --picture copy_memory.svg     # a few minutes on two cores
    python examples/copy_memory.py --quick                       # seconds, on a short delay; learns nothing
"""

import argparse
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from adding_problem import Beginning, drawn, gradient_norms, reach, write_picture

import pellucid as pc
from pellucid.views.svg import Line, line_chart

SYMBOLS, LENGTH = 8, 10
BLANK, SIGN = SYMBOLS, SYMBOLS + 1


def copy_memory(n, delay, seed):
    """x: [n, delay + 20, 10], one of eight symbols, blank or sign in each step, one-hot; y: [n, 10], the symbols."""
    y = np.random.default_rng(seed).integers(0, SYMBOLS, (n, LENGTH))
    ids = np.full((n, delay + 2 * LENGTH), BLANK)
    ids[:, :LENGTH] = y
    ids[:, -LENGTH - 1] = SIGN
    return np.eye(SYMBOLS + 2, dtype=np.float32)[ids], y


@pc.layer
class LastSteps(pc.Layer):
    """The last `count` steps of a sequence.   x: [batch, steps, n] -> y: [batch, count, n]."""

    count: int

    def apply(self, p, x, ctx):
        return x[:, -self.count :]


def network(cell):
    """At each of the last ten steps eight outputs, one a symbol, side by side: [n, 80]."""
    return pc.Sequential(
        ("input", pc.Input()), ("cell", cell), ("last", LastSteps(LENGTH)), ("symbols", pc.Dense(SYMBOLS)),
        ("flat", pc.Flatten()),
    )  # fmt: skip


def opened(net, x, bias):
    """The network, initialised, with this bias of its LSTM's forget gates."""
    net = pc.Network(net).initialised(jax.random.key(0), x[:1])
    b = net.params["cell"]["b"]  # of the gates i, f, g, o
    width = len(b) // 4
    net.params["cell"]["b"] = b.at[width : 2 * width].set(bias)
    return net


def cross_entropies(y, outputs):
    """The mean over the ten symbols, [n].   y: [n, 10], outputs: [n, 80]."""
    log_p = jax.nn.log_softmax(outputs.reshape(*y.shape, SYMBOLS))
    return -jnp.take_along_axis(log_p, y[..., None], -1).mean((1, 2))


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--quick", action="store_true", help="tiny settings that only show that it runs")
    words.add_argument("--picture", help="write curves and gradients to this SVG file")
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    delay, n, held, width, epochs = (5, 300, 100, 8, 1) if given.quick else (30, 30_000, 1_000, 64, 14)
    x, y = copy_memory(n + 2 * held, delay, given.seed)
    part = partial(pc.Dataset, task="classification")
    validation, test = (part(x[a : a + held], y[a : a + held]) for a in (n, n + held))
    data = part(x[:n], y[:n], name="copy", validation=validation, test=test)
    share = LENGTH / (delay + 2 * LENGTH)
    told = f"{math.log(SYMBOLS):.4f} a symbol, {math.log(SYMBOLS) * share:.4f} a step"
    print(f"delay {delay}, {n:,} sequences an epoch; guessing has a cross-entropy of {told}; 0.125 are right")
    head = f"{'updates':>8} {'seconds':>8} {'a symbol':>9} {'a step':>8} {'right':>7} {'|dL/dh_1| : |dL/dh_T|':>23}"
    print(f"\n{'':20} {head}")

    open_bias = 4.0  # ln(delay + 20) = 3.9
    networks = {
        f"lstm, forget bias {open_bias:g}": (opened(network(pc.LSTM(width)), x, open_bias), 0.01),
        "lstm, forget bias 1": (network(pc.LSTM(width)), 0.01),
        "gru": (network(pc.GRU(width)), 0.01),
        "rnn, orthogonal": (network(pc.RNN(width)), 0.003),
    }
    curves, start, end = [], [], []
    for name, (net, rate) in networks.items():
        beginning = Beginning()
        run = pc.fit(
            net, data, epochs=epochs, batch_size=50, optimizer=f"adam:learning_rate={rate},clip_norm=1", patience=1000,
            seed=given.seed, out=None, baselines=False, callbacks=[beginning],
        )  # fmt: skip
        entropy = partial(cross_entropies, jnp.asarray(test.y[:200]))
        norms = [gradient_norms(one, test.x[:200], entropy) for one in (beginning.network, run.network)]
        loss = run.result["test"]["loss"] / LENGTH  # the sum over the symbols
        right = np.stack(list(run.network.predict(test.x).values()), axis=1) == test.y
        updates = [line["step"] for line in run.history]
        ratios = " -> ".join(map(reach, norms))
        print(
            f"{name:20} {updates[-1]:8,} {run.result['seconds']:8.0f} {loss:9.4f} {loss * share:8.4f} "
            f"{right.mean():7.4f} {ratios:>23}", flush=True,
        )  # fmt: skip
        curves.append(Line(name, updates, [line["validation"]["loss"] / LENGTH for line in run.history]))
        start.append(drawn(name, norms[0]))
        end.append(drawn(name, norms[1]))
    if given.picture:
        over = {"x_label": "step t of the sequence", "y_label": "norm", "log_y": True}
        title = f"Validation cross-entropy of a symbol (guessing: {math.log(SYMBOLS):.3f})"
        charts = [
            line_chart(curves, title=title, x_label="update", y_label="nats", log_y=True),
            line_chart(start, title="Norm of dL/dh_t before training", **over),
            line_chart(end, title="Norm of dL/dh_t after training", **over),
        ]
        write_picture(given.picture, charts, [line.name for line in curves])


if __name__ == "__main__":
    main()
