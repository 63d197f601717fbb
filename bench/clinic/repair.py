"""What a repair is worth: the doctor's, beside no change and beside random search at the same budget.

Random search draws from all remedies that the doctor could name (`REMEDIES`), trains each from the start, and keeps the
best on validation, no change included. It may train for as many updates as the doctor spent on trials and repairs,
and one whole training at least. All three are scored on the test part (of a language model: on validation), which
none of them has chosen by.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from case import Case, Setup
from execute import UNSEEN, examine, score, train

Words = dict[str, Any]
Change = Callable[[Words], Words | None]  # settings -> settings, or None where it does not apply


def _optimizer(settings: Words) -> Words:
    given = settings.get("optimizer") or {"type": "adam"}
    return dict(given) if isinstance(given, dict) else {"type": given}


def rate(factor: float) -> Change:
    def change(settings: Words) -> Words | None:
        optimizer = _optimizer(settings)
        base = settings.get("learning_rate") or optimizer.get("learning_rate", 1e-3)
        return {**settings, "optimizer": {**optimizer, "learning_rate": base * factor}}

    return change


def optimizer(**more: Any) -> Change:
    return lambda settings: {**settings, "optimizer": {**_optimizer(settings), **more}}


def setting(**more: Any) -> Change:
    return lambda settings: {**settings, **more}


def longer(factor: int) -> Change:
    def change(settings: Words) -> Words | None:
        word = "steps" if "steps" in settings else "epochs"
        return {**settings, word: settings[word] * factor} if settings.get(word) else None

    return change


def network(types: tuple[str, ...], **more: Any) -> Change:
    """Fields of an architecture; a network that was put together by hand has none."""

    def change(settings: Words) -> Words | None:
        given = settings["network"]
        return {**settings, "network": {**given, **more}} if given.get("type") in types else None

    return change


def _by_hand(network: Words) -> bool:
    return network["type"] == "sequential"


def layers(kind: str, **more: Any) -> Change:
    """The same for every layer of a kind of a network that was put together by hand."""

    def change(settings: Words) -> Words | None:
        given = copy.deepcopy(settings["network"])
        found = [part for _, part in given["layers"] if part.get("type") == kind] if _by_hand(given) else []
        for part in found:
            part.update(more)
        return {**settings, "network": given} if found else None

    return change


def other_activation(name: str) -> Change:
    bends = ("relu", "sigmoid", "tanh", "identity", "keras_exponential")

    def change(settings: Words) -> Words | None:
        given = settings["network"]
        if not _by_hand(given):
            return network(("mlp", "cnn"), activation=name)(settings)
        hidden = [[n, {"type": name} if p.get("type") in bends else p] for n, p in given["layers"][:-1]]
        return {**settings, "network": {**given, "layers": [*hidden, given["layers"][-1]]}}

    return change


def widths(factor: float) -> Change:
    def change(settings: Words) -> Words | None:
        given = settings["network"].get("widths")
        if given is None:
            return None
        wider = [max(8, round(width * factor)) for width in given] or [32]
        return {**settings, "network": {**settings["network"], "widths": wider}}

    return change


def without(word: str) -> Change:
    return lambda settings: {k: v for k, v in settings.items() if k != word} if word in settings else None


def fitting_output(settings: Words) -> Words | None:
    """An output that the targets decide, and their usual loss; an architecture with a name has the first already."""
    if not _by_hand(settings["network"]):
        return None
    return {**{k: v for k, v in settings.items() if k != "loss"}, "output": "auto"}


REMEDIES: dict[str, Change] = {
    "rate / 100": rate(0.01), "rate / 10": rate(0.1), "rate x 10": rate(10), "rate x 100": rate(100),
    "adam": setting(optimizer={"type": "adam", "learning_rate": 1e-3}), "clip": optimizer(clip_norm=1.0),
    "no decay": optimizer(weight_decay=0.0), "decay": optimizer(weight_decay=0.01),
    "longer": longer(3), "early stop": setting(keep="best", patience=50), "batch 128": setting(batch_size=128),
    "one cycle": setting(schedule="one_cycle"), "standardize": setting(standardize=True),
    "balanced": setting(class_weights="balanced"), "usual loss": without("loss"), "unfrozen": without("freeze"),
    "usual rates": without("rates"), "relu": other_activation("relu"), "tanh": other_activation("tanh"),
    "leaky": other_activation("leaky_relu"), "batch norm": network(("mlp", "cnn"), norm="batch"),
    "usual weights": network(("mlp", "cnn"), initial=None), "no dropout": network(("mlp", "cnn"), dropout=0.0),
    "dropout": network(("mlp", "cnn"), dropout=0.3), "he": layers("dense", initial="he_normal"),
    "zero bias": layers("dense", bias_initial="zeros"), "suited weights": setting(initial="auto"),
    "fitting output": fitting_output, "wider": widths(4), "narrower": widths(0.25),
}  # fmt: skip


def remedied(setup: Setup, change: Change) -> Setup | None:
    """The setup with a change; None where it does not apply. A loss that no recipe can hold counts as one."""
    own = {word: name for word, name in setup.live.items() if word == "loss"}
    settings = change({**setup.settings, **own})
    if settings is None:
        return None
    stays = lambda word, name: settings.get(word) == name if word in own else word not in settings  # noqa: E731
    live = {word: name for word, name in setup.live.items() if stays(word, name)}
    return replace(setup, settings={k: v for k, v in settings.items() if k not in live}, live=live)


def examine_with_repair(case: Case, seed: int, **more: Any) -> dict[str, Any]:
    """The row of `examine`, with the scores of the doctor's repair, of no change, and of random search."""
    row = examine(case, seed, repair=True, **more)
    plain, _ = train(case.setup, seed, **UNSEEN)
    steps = (plain.result["steps"] if plain is not None else 0) or 1
    spent = int(row.pop("spent", 0) or 0)
    tries = max(1, round(spent / steps))
    found, names = random_search(case, seed, tries, plain)
    row["repaired"] = {
        "doctor": row.pop("held", None), "unchanged": _held(case, plain), "random": _held(case, found),
        "tries": tries, "chosen": names,
    }  # fmt: skip
    return row


def random_search(case: Case, seed: int, tries: int, unchanged: Any) -> tuple[Any, list[str]]:
    """(the run that was best on validation, the names of the remedies that were tried)."""
    digest = hashlib.sha256(f"{case.id} {seed}".encode()).digest()
    order = np.random.default_rng(list(digest)).permutation(len(REMEDIES))
    best, names = unchanged, []
    for place in order:
        if len(names) == tries:
            break
        name = list(REMEDIES)[place]
        setup = remedied(case.setup, REMEDIES[name])
        if setup is None:
            continue
        names.append(name)
        run, trouble = train(setup, seed, **UNSEEN)
        if trouble is None and score(run, "validation", case.measure) > score(best, "validation", case.measure):
            best = run
    return best, names


def _held(case: Case, run: Any) -> float | str:
    """The score on what was not chosen by."""
    part = "test" if run is not None and run.result.get("test") else "validation"
    value = score(run, part, case.measure)
    return value if np.isfinite(value) else str(value)
