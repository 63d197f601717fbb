"""Causes in the number type: what a run in float16 loses at both ends of its range."""

import numpy as np

from pellucid.doctor import remedies
from pellucid.doctor.case import Case, aligned
from pellucid.doctor.cause import cause, severity, state_said
from pellucid.doctor.finding import Finding
from pellucid.doctor.progress import Progress
from pellucid.doctor.symptoms import Symptom

SMALLEST = 2.0**-24  # the least number above 0 that float16 holds
FAINT = 2.0**-14  # below it float16 loses digits, and soon all of them
MOSTLY = 0.9  # of a layer's gradient is 0
SETTLING = 20  # steps that may be skipped until the scale of the loss is found
SKIPPED = 0.02  # of all steps; more come from numbers that do not fit at any scale


@cause
def float16_range(case: Case, state: Progress, found: list[Symptom]) -> list[Finding]:
    if case.told("precision") != "float16":
        return []
    remedy = remedies.option(case, "bfloat16, which has float32's range and needs no scale", precision="bfloat16")
    skipped, scale = case.chunk_figure("skipped"), case.chunk_figure("scale")
    times = int(skipped.values[-1]) if len(skipped) else 0
    findings = []
    if state.nonfinite is not None or times > SETTLING + SKIPPED * case.last_step:
        least = float(scale.values.min()) if len(scale) else float("nan")
        findings.append(
            Finding(
                "float16_range", severity(True),
                f"numbers above 65,504 came up: {times:,} of {case.last_step:,} steps were not made, the loss scaled "
                f"by {least:g} at the least; {state_said(state)}",
                step=state.nonfinite, evidence={"skipped": times, "scale": least}, symptoms=("skipped_steps",),
                confidence=0.75 if state.nonfinite is None else 0.6, remedies=(*remedy,),
            )
        )  # fmt: skip
    elif (lost := _underflow(case)) is not None:
        layer, step, share, before = lost
        findings.append(
            Finding(
                "float16_range", severity(state.harmed or state.stuck),
                f"gradients underflow in float16: {share:.0%} of that of {layer} are 0, those behind it being "
                f"{before:.1g} where the type ends at {SMALLEST:.1g}; {state_said(state)}",
                layer=layer, step=step, evidence={"share": share, "scaled": before}, symptoms=("underflow",),
                confidence=0.75, remedies=(*remedy,),
            )
        )  # fmt: skip
    return findings


def _underflow(case: Case) -> tuple[str, int, float, float] | None:
    """(layer, step, share of zeros, scaled size one layer on), where a gradient fades before it is gone: a layer that
    is dead has none at once, while the one behind it has a strong one."""
    rms, zero = aligned(case.signal("gradient", "rms"), case.signal("gradient", "zero"))
    scale = case.chunk_figure("scale")
    if not len(rms) or not len(scale):
        return None
    last = np.searchsorted(scale.steps, rms.steps).clip(0, len(scale) - 1)  # the chunk that the step lies in
    sizes = np.nan_to_num(rms.values * scale.values[last][:, None])
    for step, size, zeros in zip(rms.steps, sizes, zero.values, strict=True):
        gone = (zeros[:-1] >= MOSTLY) & (size[1:] < FAINT) & (size[1:] > 0)
        places = np.flatnonzero(gone)
        if len(places):
            at = int(places[-1])
            return case.record.layers[at], int(step), float(zeros[at]), float(size[at + 1])
    return None
