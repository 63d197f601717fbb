"""The adding problem: is a gradient left after 200 steps? (Hochreiter & Schmidhuber 1997; Le et al. 2015)

A step is a number from 0 to 1 and a mark; two steps are marked, and the target is the sum of their numbers. Who only
guesses 1 has a mean squared error of 1/6 = 0.167. LSTM and GRU solve it; the simple recurrent network does no better
than guessing with the same updates, and does not solve it with six times as many; how far it then comes hangs on its
initial recurrent weights and on luck.

Measured beside it: the norm of dL/dh_t, the gradient of an example's loss by its state h_t at each step t, before and
after training. It is found by adding a zero to each h_t and differentiating by that; of an LSTM, the cell c_t is not
moved itself, but feels h_t from step t + 1 on.

    python examples/adding_problem.py --picture adding_problem.svg     # a few minutes on two cores
    python examples/adding_problem.py --quick                          # seconds, on short sequences; solves nothing
"""

import argparse
import re
from functools import partial
from html import escape
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import pellucid as pc
from pellucid.views.report_style import CSS
from pellucid.views.svg import HEIGHT, WIDTH, Line, line_chart

FAINTEST = 1e-12  # of the gradients that are drawn


def adding_problem(n, steps, seed):
    """x: [n, steps, 2], numbers and marks, one mark in each half; y: [n]."""
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    first, second = rng.integers(0, steps // 2, n), rng.integers(steps // 2, steps, n)
    x = np.zeros((n, steps, 2), np.float32)
    x[..., 0] = rng.random((n, steps))
    x[rows, first, 1] = x[rows, second, 1] = 1
    return x, x[rows, first, 0] + x[rows, second, 0]


class Beginning(pc.Callback):
    """Keeps the network as it was before the first update."""

    def started(self, session):
        self.network = session.network.replace(params=jax.tree.map(np.asarray, session.network.params))


def gradient_norms(network, x, loss):
    """The norm of dL/dh_t at each step t, [steps], the mean over examples x of L = loss(outputs), [n].

    The step is written out here, so that something can be added to h_t; that the outputs stay the same is checked.
    """
    layers, params = network.layer.layers, network.params
    place = next(i for i, (_, layer) in enumerate(layers) if isinstance(layer, pc.RNN | pc.LSTM | pc.GRU))
    (name, cell), p = layers[place], params[layers[place][0]]
    before, after = (
        pc.Network(pc.Sequential(*part), params, network.state) for part in (layers[:place], layers[place + 1 :])
    )
    z = (before(x) @ p["w"] + p["b"]).swapaxes(0, 1)  # [n, steps, gates * width] -> [steps, n, gates * width]
    v = jnp.concatenate([jnp.zeros(2 * cell.width), p["v"]]) if "v" in p else 0.0  # of a GRU

    def outputs(added):
        def step(state, now):
            z, added = now
            h, *rest = cell.bend(cell.split(z), cell.split(state[0] @ p["u"] + v), state)
            return (h + added, *rest), h + added

        first = (jnp.zeros_like(added[0]),) * cell.states
        last, hs = jax.lax.scan(step, first, (z, added))
        return after.apply(params, network.state, hs.swapaxes(0, 1) if cell.each_step else last[0])[0]

    zeros = jnp.zeros((*z.shape[:2], cell.width))
    assert np.allclose(outputs(zeros), network(x), atol=1e-4), f"{name} is not what is written out here"
    found = jax.jit(jax.grad(lambda added: loss(outputs(added)).sum()))(zeros)  # examples do not mix: dL_i/dh_it
    return np.asarray(jnp.linalg.norm(found, axis=-1).mean(-1))  # [steps, n, width] -> [steps]


def squared_errors(goal, outputs):
    return ((outputs - goal) ** 2).mean(-1)


def reach(norms):
    """How much of the gradient at the last step is left at the first; float32 ends near 1e-38."""
    return f"{norms[0] / norms[-1]:.0e}" if norms[0] > 1e-30 else "< 1e-30"


def drawn(name, norms):
    """A curve of gradients, without those too faint to matter."""
    return Line(name, list(range(1, len(norms) + 1)), [float(v) if v > FAINTEST else float("nan") for v in norms])


def write_picture(path, charts, names):
    """Charts of lines that all have these names, one below the other, as an SVG file with one legend."""
    style = re.search(r":root\{.*?\}\n@media.*?\}\}", CSS, re.S)[0] + "".join(
        re.findall(r"svg (?:text|\.|line).*\n", CSS)
    )
    style = style.replace("svg ", "") + "text{font:12px system-ui,sans-serif}.title{fill:var(--fg);font-size:14px}"
    room, parts, at = HEIGHT + 34, [], 12
    for place, name in enumerate(names):
        parts.append(f'<path class="line" style="stroke:var(--c{place + 1})" d="M{at} 14h18"/>')
        parts.append(f'<text x="{at + 24}" y="18">{escape(name)}</text>')
        at += 36 + 6 * len(name)
    for row, chart in enumerate(charts):
        title = re.search(r"<figcaption>(.*?)</figcaption>", chart)[1]
        body = re.search(r"<svg.*</svg>", chart, re.S)[0]
        parts.append(f'<text class="title" x="12" y="{row * room + 48}">{title}</text>')
        parts.append(body.replace("<svg", f'<svg y="{row * room + 56}" width="{WIDTH}" height="{HEIGHT}"', 1))
    height = len(charts) * room + 30
    size = f'viewBox="0 0 {WIDTH} {height}" width="{1.5 * WIDTH:.0f}" height="{1.5 * height:.0f}"'
    page = f'<rect width="100%" height="100%" style="fill:var(--bg)"/>{"".join(parts)}'
    text = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{page}</svg>\n'
    Path(path).write_text(text, encoding="utf-8")


def networks(width):
    """{name: (network, learning rate, how many times the epochs of the gated ones)}."""
    spread = f"uniform:{-(width**-0.5):.4f},{width**-0.5:.4f}"  # PyTorch's default: the largest eigenvalue is near 0.58
    small = pc.RNN(width, each_step=False, recurrent_initial=spread)
    return {
        "lstm": (f"lstm:{width}", 0.01, 1),
        "gru": (f"gru:{width}", 0.01, 1),
        "rnn, orthogonal": (f"rnn:{width}", 0.001, 6),
        "rnn, uniform": (pc.Sequential(pc.Input(), small, pc.Output()), 0.001, 6),
    }


def main():
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--quick", action="store_true", help="tiny settings that only show that it runs")
    words.add_argument("--picture", help="write curves and gradients to this SVG file")
    words.add_argument("--seed", type=int, default=0)
    given = words.parse_args()
    steps, n, held, epochs = (20, 500, 100, 1) if given.quick else (200, 10_000, 1_000, 6)
    x, y = adding_problem(n + 2 * held, steps, given.seed)
    validation, test = (pc.Dataset(x[a : a + held], y[a : a + held]) for a in (n, n + held))
    data = pc.Dataset(x[:n], y[:n], name="adding", validation=validation, test=test)
    baseline = float(((test.y - 1) ** 2).mean())
    print(f"{steps} steps, {n:,} sequences an epoch; guessing 1 has a test MSE of {baseline:.4f}")
    print(f"\n{'':16} {'updates':>8} {'seconds':>8} {'MSE':>8} {'  the same after':16} {'|dL/dh_1| : |dL/dh_T|':>22}")

    curves, start, end = [], [], []
    for name, (network, rate, times) in networks(8 if given.quick else 32).items():
        beginning = Beginning()
        run = pc.fit(
            network, data, epochs=epochs * times, batch_size=50, optimizer=f"adam:learning_rate={rate},clip_norm=1",
            patience=1000, seed=given.seed, out=None, baselines=False, callbacks=[beginning],
        )  # fmt: skip
        unit = float(run.network.targets.scale[0] ** 2)
        goal = jnp.asarray(run.network.targets.encode(test.y))[:200]
        squares = partial(squared_errors, goal)
        norms = [gradient_norms(net, test.x[:200], squares) for net in (beginning.network, run.network)]
        updates = [line["step"] for line in run.history]
        errors = [line["validation"]["loss"] * unit for line in run.history]
        mse = float(((run.network.predict(test.x) - test.y) ** 2).mean())
        early = f"{errors[epochs - 1]:.4f} at {updates[epochs - 1]:,}"
        ratios = " -> ".join(map(reach, norms))
        print(
            f"{name:16} {updates[-1]:8,} {run.result['seconds']:8.0f} {mse:8.4f}   {early:14} {ratios:>22}", flush=True
        )
        curves.append(Line(name, updates, errors))
        start.append(drawn(name, norms[0]))
        end.append(drawn(name, norms[1]))
    if given.picture:
        over = {"x_label": "step t of the sequence", "y_label": "norm", "log_y": True}
        charts = [
            line_chart(
                curves,
                title=f"Validation MSE (guessing 1: {baseline:.3f})",
                x_label="update",
                y_label="MSE",
                log_y=True,
            ),
            line_chart(start, title="Norm of dL/dh_t before training", **over),
            line_chart(end, title="Norm of dL/dh_t after training", **over),
        ]
        write_picture(given.picture, charts, [line.name for line in curves])


if __name__ == "__main__":
    main()
