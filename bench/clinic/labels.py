"""What a published label means in the doctor's words. Written once, before any result was seen.

A source's label often says where its patch is ("act", "loss"), not why; several names are then right, and each line
says why. A label that maps to nothing counts for nothing: where a case has no other, it is told as not scored.
"""

from typing import Any

MEANINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "unnormalised_input": (("unscaled_inputs",), "the same thing"),
    "unnormalised_target": (("unscaled_targets",), "the same thing"),
    "double_normalisation": (
        ("scaled_twice", "unscaled_inputs"), "inputs that are far too small look the same, whoever divided them",
    ),
    "duplicate_rows": (("duplicate_rows",), "the same thing"),
    "class_imbalance": (("class_imbalance",), "the same thing"),
    "too_little_data": (("overfitting",), "few rows harm by being learned by heart"),
    "loss_output_mismatch": (("loss_output_mismatch", "label_coding"), "several ones in a row are a coding, too"),
    "wrong_loss": (("loss_output_mismatch",), "a loss is wrong only for what it is given"),
    "wrong_output_units": (("loss_output_mismatch", "label_coding"), "the width fits neither the loss nor the labels"),
    "label_encoding_mismatch": (("label_coding", "loss_output_mismatch"), "a label 2 beside one sigmoid is either"),
    "double_softmax": (("loss_output_mismatch",), "the loss applies softmax itself"),
    "loss_broadcast_bug": (("broadcast_loss",), "the same thing"),
    "flipped_gradient_sign": (("wrong_update",), "the same thing"),
    "bad_init": (("bad_initial_weights",), "the same thing"),
    "symmetric_init": (("symmetric_units", "bad_initial_weights"), "constant weights are both"),
    "lr_too_low": (("learning_rate_too_low",), "the same thing"),
    "lr_too_high": (("learning_rate_too_high", "oscillation"), "swinging is how it shows, and the repair is the same"),
    "slow_convergence": (
        ("learning_rate_too_low", "stopped_too_early"), "the source's own repair is a larger rate; more steps do, too",
    ),
    "batch_size": (("noisy_gradients",), "the patch enlarges the batch; a batch too small shows as noise"),
    "too_few_epochs": (("stopped_too_early",), "the same thing"),
    "vanishing_gradient": (("vanishing_gradients",), "the same thing"),
    "exploding_gradient": (("exploding_gradients",), "the same thing"),
    "nan_loss": (("nonfinite_loss",), "the same thing"),
    "dying_relu": (("dead_units",), "the same thing"),
    "saturated_activation": (("saturated_units",), "the same thing"),
    "wrong_hidden_activation": (
        ("saturated_units", "vanishing_gradients", "rank_collapse"),
        "softmax between layers has no name of its own: it flattens, passes little gradient, and makes units alike",
    ),
    "insufficient_capacity": (("underfitting",), "the same thing"),
    "excess_depth": (("too_deep",), "the same thing"),
    "overfitting": (("overfitting",), "the same thing"),
    "wrong_dropout_argument": (("over_regularized",), "the share kept was given as the share dropped"),
    "wrong_optimizer": ((), "an optimizer is no cause; the step that it takes is, where it is labelled"),
    "wrong_metric_threshold": ((), "the score is wrong, not the training"),
    "healthy": ((), "nothing is to be found"),
}  # fmt: skip
BOUNDED = ("sigmoid", "tanh", "softmax", "relu")


def meaning(case: dict[str, Any]) -> tuple[str, ...]:
    """All names that are right for a published case, in the order of its labels.

    A wrong output activation is `constant_output` where softmax has one unit, `targets_out_of_range` where numbers are
    asked for that it cannot give, and always a mismatch with the loss.
    """
    found: list[str] = []
    for label in case["labelled_faults"]:
        if label == "wrong_output_activation":
            last = case["layers"][-1]
            if last["activation"] == "softmax" and last["units"] == 1:
                found.append("constant_output")
            if "regression" in case["task"] and last["activation"] in BOUNDED:
                found.append("targets_out_of_range")
            found.append("loss_output_mismatch")
        else:
            found.extend(MEANINGS[label][0])
    return tuple(dict.fromkeys(found))
