"""Generated cases: a network that learns its set, with one fault planted. Every family yields at least twenty.

A fault is kept only where it harms: `checked.json` says by how much, measured over five seeds without the doctor
(`python bench/clinic/check.py`), and whether the reference repair gains more than the seeds' noise ("repairable").
"""

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from bases import BASES, changed, dense_chain, mlp, normal
from case import Case, Setup

CHECKED = Path(__file__).with_name("checked.json")
Cases = Iterator[Case]
FAMILIES: dict[str, Callable[[], Cases]] = {}
TABLES = ("iris", "wine", "breast-cancer", "digits", "moons", "circles", "xor", "blobs", "spirals", "sine", "friedman")


def family(function: Callable[[], Cases]) -> Callable[[], Cases]:
    FAMILIES[function.__name__] = function
    return function


def cases(all_planted: bool = False) -> list[Case]:
    """Those that harm, where that has been measured; `all_planted`: every one."""
    import families_data  # noqa: F401  (each adds its families to the table)
    import families_output  # noqa: F401

    found = [case for make in FAMILIES.values() for case in make()]
    return found if all_planted else [case for case in found if checked().get(case.id, {}).get("harmful", True)]


@lru_cache
def checked() -> dict[str, dict[str, Any]]:
    return json.loads(CHECKED.read_text()) if CHECKED.is_file() else {}


def repairable(case: Case) -> bool:
    return bool(checked().get(case.id, {}).get("repairable"))


@lru_cache
def _measures() -> dict[str, str]:
    return {case.id: case.measure for case in cases()}


def measure_of(id: str) -> str:
    """What "better" is measured in, of a case."""
    return _measures()[id]


def planted(problem: str, name: str, fault: Setup, fix: Setup, **more: Any) -> Case:
    return Case(f"{problem}/{name}", "generated", problem, fault, (problem,), fix=fix, **more)


# -- gradient flow ------------------------------------------------------------------------------------------------

DEEP = "so many layers without shortcuts are the other half of the cause"
SMALL_WEIGHTS = "the gradients vanish because the initial weights are this small"
LARGE_WEIGHTS = "the gradients explode because the initial weights are this large"


@family
def vanishing_gradients() -> Cases:
    """Chains of sigmoids or tanhs; sigmoids from Glorot's weights, tanhs from small ones."""
    for name in TABLES:
        base = BASES[name]
        for activation, depth, initial in (("sigmoid", 8, None), ("sigmoid", 12, None), ("tanh", 10, 0.05)):
            if name in ("spirals", "wine") and depth == 12:
                continue
            network = mlp(*[16] * depth, activation=activation)
            if initial:
                network["initial"] = normal(initial)
            accepted = {"too_deep": DEEP, "bad_initial_weights": SMALL_WEIGHTS}
            yield planted(
                "vanishing_gradients", f"{name}-{activation}{depth}", changed(base, network),
                changed(base, mlp(*[16] * depth, norm="batch")), accepted=accepted,
            )  # fmt: skip


@family
def exploding_gradients() -> Cases:
    """Initial weights whose gain is above 1 at each of several layers, or at each step of a sequence."""
    for name in TABLES:
        for std, depth in ((0.8, 6), (1.5, 4)):
            rate = {"type": "momentum", "learning_rate": 0.01}
            base = changed(BASES[name], optimizer=rate)
            network = mlp(*[32] * depth, initial=normal(std))
            yield planted(
                "exploding_gradients", f"{name}-std{std}", changed(base, network), changed(base, mlp(*[32] * depth)),
                accepted={"bad_initial_weights": LARGE_WEIGHTS},
            )  # fmt: skip
    for name in ("digits-rows", "adding"):
        for gain in (2.0, 3.0, 5.0):
            base = BASES[name]
            cell = lambda gain: {  # noqa: E731
                "type": "sequential", "layers": [
                    ["input", {"type": "input"}],
                    ["rnn1", {
                        "type": "rnn", "width": 24, "each_step": False, "activation": {"type": "relu"},
                        "recurrent_initial": {"type": "orthogonal", "gain": gain},
                    }],
                    ["output", {"type": "output"}],
                ],
            }  # fmt: skip
            yield planted(
                "exploding_gradients", f"{name}-u{gain:g}", changed(base, cell(gain)), changed(base, cell(0.9)),
                accepted={"bad_initial_weights": LARGE_WEIGHTS}, layers=("rnn1",),
            )  # fmt: skip


@family
def dead_units() -> Cases:
    """Biases far below zero in one layer, or in all."""
    bias = "a bias this far below zero is an initial weight of the wrong size"
    for name in TABLES:
        widths = tuple(BASES[name].settings["network"]["widths"])
        for low, where in ((-6.0, "first"), (-20.0, "last"), (-12.0, "first")):
            if low == -12 and name in ("spirals", "sine"):
                continue
            network = dense_chain(widths, "relu")
            at = 1 if where == "first" else len(widths)
            for part, settings in network["layers"]:
                if part == f"hidden{at}":
                    settings["bias_initial"] = {"type": "constant", "value": low}
            yield planted(
                "dead_units", f"{name}-{where}{low:g}", changed(BASES[name], network),
                changed(BASES[name], dense_chain(widths, "relu")), layers=(f"hidden{at}", f"relu{at}"),
                accepted={"bad_initial_weights": bias},
            )  # fmt: skip


# -- step size ----------------------------------------------------------------------------------------------------

SWINGS = "the swinging is the step's, and the repair is the same: a smaller one"
FAST = {"adam": 1.0, "adamw": 0.5, "rmsprop": 0.5, "momentum": 5.0, "sgd": 20.0}
SLOW = {"adam": 3e-6, "adamw": 5e-6, "rmsprop": 3e-6, "momentum": 2e-5, "sgd": 2e-4}
GOOD = {"adam": 0.003, "adamw": 0.003, "rmsprop": 0.002, "momentum": 0.02, "sgd": 0.1}


def _rated(rates: dict[str, float], problem: str, **more: Any) -> Cases:
    for place, (name, base) in enumerate(BASES.items()):
        kinds = list(rates)
        for kind in (kinds[place % 5], kinds[(place + 2) % 5]):
            if name.startswith(("grammar", "reviews")) and kind in ("momentum", "sgd"):
                kind = "adam"
            make = lambda table, kind=kind: {"type": kind, "learning_rate": table[kind]}  # noqa: E731
            fix = base if kind == "adam" else changed(base, optimizer=make(GOOD))
            yield planted(problem, f"{name}-{kind}", changed(base, optimizer=make(rates)), fix, **more)


def _once(found: Cases) -> Cases:
    """Each id once."""
    seen = {case.id: case for case in found}
    yield from seen.values()


@family
def learning_rate_too_high() -> Cases:
    return _once(_rated(FAST, "learning_rate_too_high", accepted={"oscillation": SWINGS}, measure="loss"))


@family
def learning_rate_too_low() -> Cases:
    return _once(_rated(SLOW, "learning_rate_too_low"))


# -- capacity, regularisation, time -------------------------------------------------------------------------------


@family
def overfitting() -> Cases:
    """A large network, few rows, many epochs, and the last one is kept."""
    few = {"digits": 100, "mnist": 100, "moons": 40, "breast-cancer": 60, "wine": 30, "diabetes": 100, "friedman": 80,
           "spirals": 80, "blobs": 50, "iris": 30, "circles": 40}  # fmt: skip
    noisy = {"label_noise": "the wrong labels are what is learned by heart"}
    for name, rows in few.items():
        base = BASES[name]
        for noise in (0.0, 0.1, 0.25):
            data = {"rows": rows} | ({"noise": noise} if noise else {})
            fault = changed(base, mlp(128, 128), data, steps=1500, optimizer={"type": "adam", "learning_rate": 0.003})
            fix = changed(fault, keep="best", patience=100)
            yield planted(
                "overfitting", f"{name}-{rows}" + (f"-noise{noise:g}" if noise else ""), fault, fix, measure="loss",
                accepted=noisy if noise else {},
            )  # fmt: skip


@family
def underfitting() -> Cases:
    """Too few units, or none, for the pattern."""
    hard = ("digits", "circles", "xor", "spirals", "friedman", "mnist", "sine")
    small: list[tuple[str, tuple[int, ...], str]] = [
        *((name, (1,), "relu") for name in (*hard, "moons")),
        *((name, (1,), "tanh") for name in (*hard, "wine")),
        *((name, (2,), "tanh") for name in ("digits", "spirals", "sine", "mnist", "circles")),
        *((name, (), "relu") for name in ("moons", "circles", "xor", "spirals", "sine", "friedman")),
    ]  # fmt: skip
    overfit = "the other side of it: too few units to learn even the training rows"
    for name, widths, activation in small:
        base = BASES[name]
        network = mlp(*widths, activation=activation)
        accepted = {"cannot_overfit": overfit}
        if not widths:
            accepted["no_nonlinearity"] = "without a hidden layer there is no activation anywhere"
        label = "x".join(map(str, widths)) or "none"
        yield planted("underfitting", f"{name}-{activation}{label}", changed(base, network), base, accepted=accepted)


@family
def no_nonlinearity() -> Cases:
    """Hidden layers without an activation, on sets that no straight line parts."""
    for name in ("moons", "circles", "xor", "spirals", "sine", "friedman"):
        for widths in ((16,), (32, 16), (16, 16, 16), (64, 32, 16, 8)):
            yield planted(
                "no_nonlinearity", f"{name}-{len(widths)}", changed(BASES[name], mlp(*widths, activation="identity")),
                changed(BASES[name], mlp(*widths)),
            )  # fmt: skip


@family
def over_regularized() -> Cases:
    """A penalty, or a share dropped, that outweighs the data."""
    names = ("iris", "wine", "breast-cancer", "digits", "moons", "circles", "xor", "blobs", "diabetes", "friedman")
    for name in names:
        base = BASES[name]
        rate = base.settings["optimizer"]["learning_rate"]
        heavy = {**base.settings["optimizer"], "weight_decay": 1.0}
        yield planted("over_regularized", f"{name}-l2", changed(base, optimizer=heavy), base)
        decoupled = {"type": "adamw", "learning_rate": rate, "weight_decay": 0.2 / rate}
        kept = {**decoupled, "weight_decay": 0.01}
        yield planted(
            "over_regularized", f"{name}-adamw", changed(base, optimizer=decoupled), changed(base, optimizer=kept)
        )
        yield planted("over_regularized", f"{name}-dropout", changed(base, {"dropout": 0.95}), base)


@family
def stopped_too_early() -> Cases:
    """The same training, ended after a small part of it."""
    few = {"iris": 8, "wine": 6, "breast-cancer": 4, "digits": 25, "moons": 12, "circles": 20, "xor": 8, "blobs": 5,
           "spirals": 100, "sine": 40, "friedman": 25, "mnist": 15, "digits-image": 18, "digits-rows": 25, "adding": 30,
           "reviews": 15, "reviews-attention": 20, "grammar": 20, "grammar-attention": 20, "diabetes": 10}  # fmt: skip
    for name, steps in few.items():
        yield planted("stopped_too_early", f"{name}-{steps}", changed(BASES[name], steps=steps), BASES[name])
    for name in ("digits", "mnist", "digits-image", "digits-rows", "sine"):
        yield planted("stopped_too_early", f"{name}-half", changed(BASES[name], steps=few[name] // 2), BASES[name])
