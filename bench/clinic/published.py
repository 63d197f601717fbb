"""Published faulty programs, rebuilt from their facts (`cases.json`) in Pellucid's own layers.

As the originals do it: Keras' default initial weights and rates, losses on probabilities, softmax over one unit,
validation on the last rows, raw inputs and targets, a constant rate and the last epoch (`plain`). Every set is made
here, or stands in for one that is not at hand; sizes are capped so that a case takes seconds (`published_sets.py` says
where).
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Case, Setup
from labels import meaning

import pellucid as pc
from pellucid.network.activations import Activation

FACTS = Path(__file__).with_name("cases.json")
Words = dict[str, Any]
# programs that cannot be rebuilt, and why
LEFT_OUT: dict[str, str] = {}
UNSAID = 50  # epochs, where the source does not say
EPOCHS = {  # where so many as the source says would take minutes
    "TDC-IPS_11": 8,  # on 600 of 60,000 rows
    "MF-46247619": 300,  # 10,000 updates on five rows, of 6 million weights
    "AT-MNIST-model_70e5f698": 25,  # on 1,500 of 60,000 rows
}
TDC_CNN_EPOCHS = 12  # on 600 of 60,000 rows: 50 would take minutes


@pc.layer("keras_exponential")
class Exponential(Activation):
    """y = e^x, as Keras' activation "exponential" is."""

    def apply(self, p, x, ctx):
        import jax.numpy as jnp

        return jnp.exp(x)


def facts() -> list[Words]:
    return json.loads(FACTS.read_text())


def cases() -> list[Case]:
    return [rebuilt(fact) for fact in facts() if fact["id"] not in LEFT_OUT]


def rebuilt(fact: Words) -> Case:
    healthy = fact["labelled_faults"] == ["healthy"]
    live: dict[str, str] = {}
    settings: Words = {
        "network": network_of(fact), "plain": True, "split": [0.8, 0.2, 0.0], "standardize": False,
        "batch_size": fact["batch_size"], "epochs": epochs_of(fact),
    }  # fmt: skip
    for word, value in (("loss", loss_of(fact)), ("optimizer", optimizer_of(fact))):
        (live if isinstance(value, str) else settings)[word] = value
    if fact["id"] in METRIC:
        settings["metric"] = METRIC[fact["id"]]
    setup = Setup({"set": f"published:{fact['id']}"}, settings, live, raw_targets=True)
    return Case(
        fact["id"], "published", "healthy" if healthy else fact["suite"], setup, meaning(fact), tier=fact["tier"],
        floor=0.75 if healthy else None, notes=fact["notes"],
    )  # fmt: skip


METRIC = {"SO-56380303": "loss", "MF-68321264": "loss", "SO-50079585": "loss"}  # no score is defined for such outputs


def epochs_of(fact: Words) -> int:
    if fact["id"].startswith("TDC-cnn"):
        return TDC_CNN_EPOCHS
    return EPOCHS.get(fact["id"], UNSAID if fact["epochs"] == "n/a" else fact["epochs"])


# -- layers -------------------------------------------------------------------------------------------------------


def network_of(fact: Words) -> Words:
    layers: list[list[Any]] = [["input", {"type": "input"}]]
    counts: dict[str, int] = {}

    def add(kind: str, **settings: Any) -> None:
        counts[kind] = counts.get(kind, 0) + 1
        layers.append([f"{kind}{counts[kind]}", {"type": kind, **settings}])

    for number, part in enumerate(fact["layers"]):
        last = number == len(fact["layers"]) - 1
        _add_layer(add, part, flat=any(p["type"].lower().startswith("conv") for p in fact["layers"][:number]))
        activation = part.get("activation")
        if activation in (None, "linear") or (last and _on_logits(fact)):
            continue
        add("keras_exponential" if activation == "exponential" else activation)
    if any(part["type"] in ("gru", "lstm") for part in fact["layers"]):
        add("flatten")  # [n, steps, 1] -> [n, steps]: a target for each step
    return {"type": "sequential", "layers": layers}


def _add_layer(add: Callable[..., None], part: Words, flat: bool) -> None:
    kind = part["type"].lower()
    initial = {"initial": initial_of(part["init"])} if "init" in part else {}
    if kind == "dense":
        if flat and part["units"] == 1024 and "init" not in part:
            add("flatten")  # TDC-IPS_11 lists its reshape with the layer that follows
        add("dense", width=part["units"], **initial)
    elif kind in ("conv2d", "conv1d"):
        more = {"padding": part.get("padding", "valid"), "stride": part.get("stride", 1)}
        add("conv", width=part["filters"], size=part["kernel"], **more, **initial)
    elif kind in ("maxpool2d", "maxpooling2d"):
        add("max_pool", size=part.get("size", 2))
    elif kind == "dropout":
        add("dropout", rate=part["rate"])
    elif kind == "batchnorm":
        add("batch_norm", momentum=0.99, epsilon=1e-3)  # Keras' defaults
    elif kind in ("gru", "lstm"):
        add(kind, width=part["units"], each_step=part["return_sequences"])
    elif kind == "flatten":
        add("flatten")
    else:
        assert kind == "activation", kind


def initial_of(text: str) -> Words:
    """Keras' words for initial weights.

    >>> initial_of("normal(std=0.05)"), initial_of("uniform(-0.05,0.05)")["high"]
    ({'type': 'normal', 'std': 0.05}, 0.05)
    """
    if "VarianceScaling" in text:
        return {"type": "he_normal" if "'normal'" in text else "he_uniform"}
    if text == "RandomUniform" or text.startswith("uniform"):
        return {"type": "uniform", "low": -0.05, "high": 0.05}
    numbers = [float(n) for n in re.findall(r"\d*\.\d+|\d+", text)]
    if text.startswith("truncated"):  # at two standard deviations, which leaves 0.88 of the deviation
        std = (numbers[0] / numbers[1]) ** 0.5 if "sqrt" in text else numbers[0]
        return {"type": "normal", "std": round(0.88 * std, 4)}
    if text.startswith("constant"):
        return {"type": "constant", "value": numbers[0]}
    if "ormal" in text and numbers:
        return {"type": "normal", "std": numbers[0]}
    return {"type": text}


# -- losses and optimizers ----------------------------------------------------------------------------------------


def _on_logits(fact: Words) -> bool:
    """Whether the program's loss applies the last activation itself. Keras takes a sigmoid's logits where it finds
    them, so that with a label of 2 its binary cross-entropy has no bound below."""
    return fact["loss"].startswith("softmax cross-entropy + L2") or fact["id"] == "SO-50079585"


def loss_of(fact: Words) -> Words | str:
    """A loss, or the name of one in `live.py`."""
    loss, last = fact["loss"], fact["layers"][-1]
    if fact["id"] == "SO-50079585":
        return {"type": "binary_cross_entropy"}
    if fact["id"] == "MF-68321264":
        return "keras_binary_one_hot_of_3"
    if fact["labelled_faults"] == ["loss_broadcast_bug"]:
        return "broadcast_squared_error"
    if loss.startswith("softmax cross-entropy"):
        return {"type": "cross_entropy"}
    if loss.startswith("sigmoid cross-entropy"):
        return {"type": "binary_cross_entropy"}
    if loss.startswith("mse"):
        return {"type": "mean_squared_error"}
    if loss.startswith("sum of squared errors"):
        return "halved_squared_error"
    if loss == "poisson":
        return "poisson"
    if loss == "binary_crossentropy":
        return {"type": "binary_cross_entropy", "from_probabilities": True}
    assert loss == "categorical_crossentropy", loss
    softmax = last["activation"] == "softmax"
    return {"type": "cross_entropy", "from_probabilities": True} if softmax else "keras_categorical"


def optimizer_of(fact: Words) -> Words | str:
    given = fact["optimizer"]
    name, rate = given["name"], given["lr"]
    if fact["labelled_faults"] == ["flipped_gradient_sign"]:
        return f"uphill_{name}:{rate}"
    penalty = {"weight_decay": 2e-5} if "L2" in fact["loss"] else {}  # the gradient of 1e-5 w²
    if name == "sgd":
        momentum = given.get("momentum", 0.0)  # the decay of the rate, 1e-6 a step at most, is left out
        kind = {"type": "nesterov", "momentum": momentum} if momentum else {"type": "sgd"}
        return {**kind, "learning_rate": rate, **penalty}
    moments = {b: given[k] for b, k in (("b1", "beta_1"), ("b2", "beta_2")) if k in given}
    return {"type": name, "learning_rate": rate, **moments, **penalty}
