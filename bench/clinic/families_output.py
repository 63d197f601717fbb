"""Generated cases, continued: initial weights, and losses, outputs and updates that are wrong. See `families.py`."""

from dataclasses import replace

from bases import BASES, changed, constant, dense_chain, mlp, normal
from case import Setup
from families import TABLES, Cases, family, planted

CLASSES = ("iris", "wine", "breast-cancer", "digits", "moons", "circles", "xor", "blobs", "spirals", "mnist")
TWO = ("breast-cancer", "moons", "circles", "xor", "spirals")
NUMBERS = ("diabetes", "sine", "friedman")


def widths_of(name: str) -> tuple[int, ...]:
    return tuple(BASES[name].settings["network"]["widths"])


# -- initial weights ----------------------------------------------------------------------------------------------


@family
def bad_initial_weights() -> Cases:
    """Far too small, so that nothing arrives, or far too large, so that all units stand at their ends."""
    small = {"vanishing_gradients": "weights this small pass next to no gradient"}
    large = {"saturated_units": "weights this large saturate every unit"}
    blown = {"exploding_gradients": "weights this large multiply every gradient"}
    for name in TABLES:
        base = BASES[name]
        network = mlp(16, 16, 16)
        tanh = mlp(16, 16, 16, activation="tanh")
        yield planted(
            "bad_initial_weights", f"{name}-small", changed(base, {**network, "initial": normal(0.003)}),
            changed(base, network), accepted=small,
        )  # fmt: skip
        yield planted(
            "bad_initial_weights", f"{name}-tanh-large", changed(base, {**tanh, "initial": normal(8.0)}),
            changed(base, tanh), accepted=large,
        )  # fmt: skip
        yield planted(
            "bad_initial_weights", f"{name}-large", changed(base, {**network, "initial": normal(4.0)}),
            changed(base, network), accepted=blown,
        )  # fmt: skip


@family
def symmetric_units() -> Cases:
    """All weights of a layer alike."""
    both = {"bad_initial_weights": "equal weights are wrong initial weights"}
    for name in TABLES:
        for value, activation in ((0.1, "relu"), (0.3, "tanh"), (0.0, "tanh")):
            network = mlp(16, 16, activation=activation)
            fault = {**network, "initial": constant(value)}
            label = f"{name}-{activation}{value:g}"
            yield planted(
                "symmetric_units", label, changed(BASES[name], fault), changed(BASES[name], network), accepted=both
            )


@family
def saturated_units() -> Cases:
    """Inputs a hundred times too large, or biases far out, before tanh or sigmoid."""
    inputs = {"unscaled_inputs": "the units saturate because the inputs are this large"}
    bias = {"bad_initial_weights": "a bias this far out is an initial weight of the wrong size"}
    for name in TABLES:
        for activation in ("tanh", "sigmoid"):
            healthy = changed(BASES[name], mlp(16, 16, activation=activation))
            fault = changed(healthy, data={"scale": 300.0}, standardize=False)
            fix = changed(fault, standardize=True)
            yield planted("saturated_units", f"{name}-{activation}-inputs", fault, fix, accepted=inputs)
        network = dense_chain((16, 16), "tanh", bias_initial=constant(12.0))
        yield planted(
            "saturated_units", f"{name}-tanh-bias", changed(BASES[name], network),
            changed(BASES[name], dense_chain((16, 16), "tanh")), accepted=bias,
        )  # fmt: skip


# -- loss and output ----------------------------------------------------------------------------------------------


@family
def loss_output_mismatch() -> Cases:
    """Softmax, sigmoid, tanh or ReLU before a loss that takes logits; absolute errors on classes."""
    for name in CLASSES:
        slow = {"steps": 300, "optimizer": {"type": "momentum", "learning_rate": 0.01}}
        base, widths = changed(BASES[name], **slow), widths_of(name)
        for end in ("softmax", "sigmoid", "relu"):
            network = dense_chain(widths, "relu", (("output", {"type": "output"}), (end, {"type": end})))
            fix = changed(base, dense_chain(widths, "relu"))
            yield planted("loss_output_mismatch", f"{name}-{end}", changed(base, network), fix, measure="loss")
        yield planted("loss_output_mismatch", f"{name}-absolute", changed(base, loss="mean_absolute_error"), base)


@family
def constant_output() -> Cases:
    """Softmax over a single unit."""
    mismatch = {"loss_output_mismatch": "it is the output that does not fit the loss"}
    blind = {"ignores_input": "a constant does not depend on the input"}
    for name in TWO:
        base = BASES[name]
        for widths in ((16,), (32, 32), (16, 16, 16), (64, 8)):
            end = (("output", {"type": "dense", "width": 1}), ("softmax", {"type": "softmax"}))
            network = dense_chain(widths, "relu", end)
            loss = {"type": "binary_cross_entropy", "from_probabilities": True}
            yield planted(
                "constant_output", f"{name}-{'-'.join(map(str, widths))}", changed(base, network, loss=loss), base,
                accepted=mismatch | blind,
            )  # fmt: skip


@family
def targets_out_of_range() -> Cases:
    """Numbers on both sides of zero asked of a sigmoid, a ReLU or a softmax."""
    mismatch = {"loss_output_mismatch": "the output does not fit what the loss compares it with"}
    for name in NUMBERS:
        for end in ("sigmoid", "relu", "softplus"):
            for widths in ((32, 32), (16,), (64, 32, 16)):
                network = dense_chain(widths, "relu", (("output", {"type": "output"}), (end, {"type": end})))
                yield planted(
                    "targets_out_of_range", f"{name}-{end}-{len(widths)}", changed(BASES[name], network),
                    changed(BASES[name], dense_chain(widths, "relu")), accepted=mismatch,
                )  # fmt: skip


@family
def broadcast_loss() -> Cases:
    """[n, 1] - [n] in a loss written by hand: every prediction is pulled to the mean of all targets."""
    for name in NUMBERS:
        for widths in ((16,), (32, 32), (64, 16), (8,), (16, 16, 16), (48,), (24, 24)):
            base = changed(BASES[name], mlp(*widths))
            fault = replace(base, live={"loss": "broadcast_squared_error"})
            yield planted("broadcast_loss", f"{name}-{'-'.join(map(str, widths))}", fault, base)


@family
def nonfinite_loss() -> Cases:
    """log 0, exp of large numbers, and the root at 0, in losses written by hand."""
    stronger = {
        "exploding_gradients": "the outputs are too large because the first weights make them so",
        "bad_initial_weights": "the outputs are too large because the first weights are",
        "unscaled_inputs": "the outputs are too large because the inputs are",
    }
    for name in CLASSES[:9]:
        large = changed(BASES[name], data={"scale": 1000.0}, standardize=False)
        fault = replace(large, live={"loss": "naive_cross_entropy"})
        yield planted("nonfinite_loss", f"{name}-exp", fault, changed(large, standardize=True), accepted=stronger)
    for name in CLASSES:
        large = changed(BASES[name], mlp(32, 32, initial=normal(20.0)))
        fault = replace(large, live={"loss": "naive_cross_entropy"})
        yield planted("nonfinite_loss", f"{name}-weights", fault, changed(BASES[name], mlp(32, 32)), accepted=stronger)
    for name in NUMBERS:
        zero = changed(BASES[name], mlp(16, initial={"type": "zeros"}))
        fault = replace(zero, live={"loss": "root_squared_error"})
        same = {"symmetric_units": "all weights are 0"}
        yield planted("nonfinite_loss", f"{name}-root", fault, BASES[name], accepted=same)


@family
def frozen_layer() -> Cases:
    """Narrow hidden layers that are not trained."""
    for name in ("digits", "moons", "circles", "xor", "spirals", "sine", "friedman", "mnist"):
        for widths, frozen in (((8, 8), ("hidden1", "hidden2")), ((6, 6, 6), ("hidden1", "hidden2", "hidden3"))):
            base = changed(BASES[name], mlp(*widths))
            label = f"{name}-{len(widths)}"
            yield planted("frozen_layer", label, changed(base, freeze=list(frozen)), base, layers=frozen)
        base = changed(BASES[name], mlp(8, 8))
        still = {"hidden1": 0.0, "hidden2": 0.0}
        yield planted("frozen_layer", f"{name}-rate0", changed(base, rates=still), base, layers=tuple(still))


@family
def wrong_update() -> Cases:
    """A step along the gradient."""
    names = (*TABLES, "diabetes", "mnist", "digits-image", "digits-rows", "adding", "reviews", "grammar")
    for place, name in enumerate(names):
        for kind in ("uphill_adam:0.001", ("uphill_sgd:0.01", "uphill_momentum:0.001")[place % 2]):
            if name in ("reviews", "grammar", "adding") and kind != "uphill_adam:0.001":
                continue
            base: Setup = BASES[name]
            settings = {k: v for k, v in base.settings.items() if k != "optimizer"}
            fault = replace(base, settings=settings, live={"optimizer": kind})
            yield planted("wrong_update", f"{name}-{kind.partition(':')[0]}", fault, base)
