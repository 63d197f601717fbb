"""What each problem can bring about: the one table that tells causes from what follows from them.

Before the first step (`checks.explained`) and of a whole run (`diagnose.merged`) alike, a finding that another alarm
explains needs no finding of its own: it becomes that one's symptom. What is concluded for want of a better cause (a
plateau) gives way to every other one, and is not written here.
"""

from pellucid.doctor.finding import Finding

EXPLAINS: dict[str, tuple[str, ...]] = {
    "nonfinite_data": (
        "nonfinite_loss", "learning_rate_too_high", "exploding_gradients", "ignores_input", "cannot_overfit",
        "frozen_layer", "unscaled_inputs",
    ),
    "unscaled_inputs": (
        "nonfinite_loss", "saturated_units", "dead_units", "exploding_gradients", "learning_rate_too_high",
        "oscillation", "bad_initial_weights", "wrong_update", "frozen_layer", "rank_collapse",
        "vanishing_gradients", "ignores_input", "cannot_overfit",
    ),
    "unscaled_targets": (
        "nonfinite_loss", "exploding_gradients", "learning_rate_too_high", "learning_rate_too_low",
        "stopped_too_early", "dead_units", "wrong_update",
    ),
    "contradictory_labels": ("cannot_overfit",),
    "class_imbalance": ("distribution_shift", "label_noise", "overfitting"),
    "single_class": ("ignores_input", "cannot_overfit", "frozen_layer", "sorted_data"),
    "sorted_data": ("overfitting", "oscillation", "label_noise"),
    "distribution_shift": ("label_noise",),
    "scaled_twice": (
        "learning_rate_too_low", "stopped_too_early", "ignores_input", "dead_units", "unscaled_inputs",
        "rank_collapse",
    ),
    "random_labels": ("overfitting", "label_noise"),
    "label_noise": ("overfitting", "underfitting", "learning_rate_too_high", "oscillation"),
    "float16_range": ("nonfinite_loss", "vanishing_gradients", "exploding_gradients"),
    "targets_out_of_range": ("saturated_units", "dead_units", "wrong_update", "cannot_overfit"),
    "loss_output_mismatch": (
        "saturated_units", "vanishing_gradients", "learning_rate_too_low", "stopped_too_early", "dead_units",
        "wrong_update", "targets_out_of_range", "cannot_overfit",
    ),
    "constant_output": (
        "wrong_update", "learning_rate_too_high", "nonfinite_loss", "vanishing_gradients", "frozen_layer",
        "ignores_input", "bad_initial_weights", "cannot_overfit", "symmetric_units",
    ),
    "label_coding": (
        "loss_output_mismatch", "wrong_update", "nonfinite_loss", "saturated_units", "targets_out_of_range",
        "cannot_overfit",
    ),
    "broadcast_loss": ("cannot_overfit",),
    "no_nonlinearity": ("cannot_overfit",),
    "frozen_layer": ("stopped_too_early", "ignores_input", "cannot_overfit"),
    "wrong_update": (
        "nonfinite_loss", "learning_rate_too_high", "exploding_gradients", "dead_units", "saturated_units",
        "cannot_overfit",
    ),
    "bad_initial_weights": (
        "rank_collapse", "cannot_overfit", "vanishing_gradients", "exploding_gradients", "saturated_units",
        "dead_units", "nonfinite_loss", "learning_rate_too_high", "ignores_input", "oscillation",
        "frozen_layer", "random_labels", "stopped_too_early",
    ),
    "symmetric_units": (
        "vanishing_gradients", "dead_units", "learning_rate_too_low", "frozen_layer", "bad_initial_weights",
        "rank_collapse", "ignores_input", "saturated_units", "cannot_overfit",
    ),
    "ignores_input": ("cannot_overfit",),
    "nonfinite_loss": ("ignores_input", "cannot_overfit", "frozen_layer", "bad_initial_weights"),
    "learning_rate_too_high": (
        "nonfinite_loss", "exploding_gradients", "dead_units", "saturated_units", "oscillation",
        "vanishing_gradients", "noisy_gradients", "rank_collapse", "frozen_layer",
    ),
    "learning_rate_too_low": ("stopped_too_early", "over_regularized"),
    "bad_epsilon": ("learning_rate_too_low", "stopped_too_early", "underfitting", "vanishing_gradients"),
    "vanishing_gradients": (
        "cannot_overfit", "bad_initial_weights", "rank_collapse", "ignores_input", "saturated_units",
        "stopped_too_early",
    ),
    "exploding_gradients": ("nonfinite_loss", "oscillation", "dead_units", "saturated_units"),
    "dead_units": (
        "frozen_layer", "rank_collapse", "vanishing_gradients", "ignores_input", "learning_rate_too_low",
        "cannot_overfit",
    ),
    "saturated_units": ("vanishing_gradients", "rank_collapse", "stopped_too_early", "frozen_layer"),
    "forgetting": ("vanishing_gradients", "random_labels", "overfitting", "bad_initial_weights"),
    "batchnorm_gap": ("overfitting",),
    "underfitting": ("stopped_too_early", "saturated_units", "dead_units", "rank_collapse"),
    "over_regularized": ("dead_units", "rank_collapse", "vanishing_gradients", "underfitting", "frozen_layer"),
    "overfitting": ("stopped_too_early",),
}  # fmt: skip


def explains(cause: Finding, other: Finding) -> bool:
    """Whether `other` needs no finding of its own beside the alarm `cause`. Of two alarms that explain each other the
    deeper one does; and what makes training impossible explains whatever lies behind it.

    >>> high, dead = Finding("learning_rate_too_high", "warning", ""), Finding("dead_units", "warning", "")
    >>> explains(high, dead), explains(dead, high)
    (True, False)
    """
    if cause is other or cause.problem == other.problem or not cause.alarm:
        return False
    if cause.severity == "error" and other.severity != "error" and other.about.rank > cause.about.rank:
        return True
    if other.problem not in EXPLAINS.get(cause.problem, ()):
        return False
    mutual = other.alarm and cause.problem in EXPLAINS.get(other.problem, ())
    depth = [(f.about.rank, -f.confidence, f.problem) for f in (cause, other)]
    return not mutual or depth[0] < depth[1]
