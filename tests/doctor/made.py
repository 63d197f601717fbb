"""Records made by hand: a run that is well, with one thing changed by each test.

    record(train=lambda e: 0.69)                             # stuck
    record(units={"dead": {"relu1": lambda step: 1.0}})      # a dead layer

The network is `hidden` dense layers with an activation behind each, and an output; an epoch has 50 updates.
"""

import math

from pellucid.doctor.case import Case
from pellucid.doctor.diagnose import diagnose
from pellucid.doctor.progress import progress
from pellucid.doctor.symptoms import symptoms
from pellucid.signals.record import Record, number, numbers

TRIVIAL = math.log(2)
PER_EPOCH = 50
SETUP = {
    "task": "classification", "loss": "cross_entropy", "optimizer": "adam", "learning_rate": 0.001, "batch": 32,
    "rows": 1600, "steps_per_epoch": PER_EPOCH, "outputs": 2, "classes": 2, "trivial_loss": TRIVIAL, "recipe": True,
    "keep": "last", "optimizer_settings": {"type": "adam", "learning_rate": 0.001},
    "settings": ["widths", "activation", "dropout", "norm", "initial"],
}  # fmt: skip


def falls(e):
    """A loss that falls to a twentieth and flattens out."""
    return 0.03 + 0.66 * math.exp(-e / 3)


def wobbles(e):
    """The same values whenever they are asked for, between -1 and 1, of no pattern."""
    return math.sin(12.9898 * (e + 1)) * 43758.5453 % 2 - 1


def lines(epochs):
    """The steps that are measured: 0, 1, 2, 4, ... and every hundredth."""
    last = epochs * PER_EPOCH
    return sorted({0, *(2**k for k in range(12) if 2**k < last), *range(100, last, 100)})


def record(
    *, epochs=20, hidden=3, activation="relu", kinds=None, train=falls, learning=None,
    validation=lambda e: 1.1 * falls(e) + 0.02, batch=None, gradient=lambda step, depth: 1e-2,
    rms=lambda step, depth: 1.0, nonfinite=lambda step, depth: 0.0, zero=lambda step, depth: 0.4,
    ratio=lambda step, path: 1e-3, moves=lambda path: True, weight_gradient=lambda step, path: 1e-2,
    accuracy=None,
    weight=lambda step, path: 0.3, turns=lambda step: 0.6, std=lambda step: 0.1, units=None, setup=None, time=None,
):  # fmt: skip
    """depth counts layers from the input, 0 the first. What has `step` is asked at each measured step."""
    stack = [f"{k}{i}" for i in range(1, hidden + 1) for k in ("hidden", activation) if k != "identity"]
    layers = ["input", *stack, "output"] if kinds is None else [f"{kind}{i}" for i, kind in enumerate(kinds)]
    kinds = kinds or ["input", *("dense" if name.startswith("hidden") else activation for name in stack), "output"]
    paths = [f"{name}/{one}" for name, kind in zip(layers, kinds, strict=True)
             for one in ("b", "w") if kind in ("dense", "output", "conv", "rnn", "lstm", "gru")]  # fmt: skip
    made = Record()
    last = epochs * PER_EPOCH
    told = {**SETUP, "updates": last, "architecture": {"type": "mlp", "widths": [16] * hidden}, **(setup or {})}
    made.add({"kind": "header", "schema": 1, "layers": layers, "weights": paths, "kinds": kinds,
              "setup": {k: v for k, v in told.items() if v is not None}})  # fmt: skip
    batch = batch or (lambda step: train(step / PER_EPOCH))
    each = range(len(layers))
    for step in lines(epochs):
        size = [weight(step, p) if not p.endswith("/b") else 0.1 * (step > 0) for p in paths]
        line = {
            "kind": "step", "step": step, "loss": number(batch(step)), "learning_rate": told.get("learning_rate"),
            "activation": {"rms": numbers([rms(step, d) for d in each]), "zero": numbers([zero(step, d) for d in each]),
                           "nonfinite": numbers([nonfinite(step, d) for d in each])},
            "gradient": {"rms": numbers([gradient(step, d) for d in each])},
            "weight": {"gradient": numbers([weight_gradient(step, p) for p in paths]), "rms": numbers(size),
                       "update": numbers([ratio(step, p) * s * moves(p) for p, s in zip(paths, size, strict=True)])},
        }  # fmt: skip
        made.add(line | ({"time": {layers[time[0]]: numbers(time[1])}} if time else {}))
    for e in range(1, epochs + 1):
        step = e * PER_EPOCH
        mean = (learning or train)(e)
        told = {"mean": mean, "std": std(step) * abs(mean), "min": mean, "max": mean, "turns": turns(step)}
        made.add({"kind": "chunk", "step": step, "loss": {name: number(value) for name, value in told.items()}})
        if units is not None:
            of_layers = {
                name: numbers([of[layer](step) if layer in of else (0.0 if name == "dead" else math.nan)
                               for layer in layers])
                for name, of in {"dead": {}, "saturated": {}, **units}.items()
            }  # fmt: skip
            made.add({"kind": "units", "step": step, **of_layers})
        right = [{"accuracy": a} for a in accuracy(e)] if accuracy else [{}, {}]  # of training, of validation
        scored = {"loss": number(train(e)), **right[0]}
        unseen = None if validation is None else {"loss": number(validation(e)), **right[1]}
        made.add({"kind": "epoch", "epoch": e, "step": step, "train": {"loss": number(mean)}, "sample": scored,
                  "validation": unseen})  # fmt: skip
    return made


def seen(made, name):
    """The symptoms of this name."""
    return [s for s in symptoms(Case(made)) if s.name == name]


def state(made, result=None):
    return progress(Case(made, result))


def alarms(made, result=None, given=()):
    return [f.problem for f in diagnose(made, result, given) if f.alarm]


def named(made, problem, result=None):
    """The one finding of this problem."""
    found = [f for f in diagnose(made, result) if f.problem == problem]
    assert len(found) == 1, [(f.problem, f.severity) for f in diagnose(made, result)]
    return found[0]


def scores(ours, linear, metric="accuracy", majority=0.5, rows=500):
    """result.json's part that compares with simple models."""
    part = {metric: ours, "loss": 0.3}
    simple = [("majority", majority), ("linear", linear)]
    return {"metric": metric, "validation": part, "test": part, "rows": {"validation": rows, "test": rows},
            "baselines": [{"name": n, "metric": metric, "validation": v, "test": v} for n, v in simple]}  # fmt: skip
