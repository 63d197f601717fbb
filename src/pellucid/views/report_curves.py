"""The report's curves: loss and metric with the best epoch and the findings marked, the learning rate, the spread of
the loss within chunks of updates."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.views import facts
from pellucid.views.report_findings import flags
from pellucid.views.svg import Band, Level, Line, line_chart

if TYPE_CHECKING:
    from pellucid.views.report import Pages

FAR = 100  # times: a loss that ranges over more is drawn on a logarithmic axis


def curves(pages: "Pages") -> str:
    charts = [*_by_epoch(pages), *_spread(pages), *_range_test((pages.result or {}).get("range_test"))]
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _by_epoch(pages: "Pages") -> list[str]:
    epochs = pages.record.epochs
    if not epochs:
        return []
    at = [float(e["epoch"]) for e in epochs]
    steps = [float(e["step"]) for e in epochs]
    found = flags(pages.findings, lambda step: float(np.interp(step, [0.0, *steps], [0.0, *at])))
    best = (pages.result or {}).get("best_epoch")
    mark = (float(best), f"best epoch {best}") if best else None
    more: dict[str, Any] = {"x_label": "epoch", "y_label": "", "mark": mark, "flags": found}
    lines = [Line("training, while learning", at, [_train_loss(e) for e in epochs], 6, dashed=True)]
    lines += _parts(epochs, at, "loss")
    charts = [line_chart(lines, title="Loss", log_y=_far(lines), levels=_constant(pages), **more)]
    if pages.metric != "loss":
        title = pages.metric.replace("_", " ").capitalize()
        charts.append(line_chart(_parts(epochs, at, pages.metric), title=title, levels=_simple(pages), **more))
    rates = [float(e.get("learning_rate", "nan")) for e in epochs]
    if len({f"{rate:.3g}" for rate in rates}) > 1:
        lines = [Line("learning rate", at, rates)]
        charts.append(line_chart(lines, title="Learning rate", x_label="epoch", y_label=""))
    return charts


def _train_loss(epoch: dict[str, Any]) -> float:
    return float((epoch.get("train") or {}).get("loss", "nan"))


def _parts(epochs: list[dict[str, Any]], at: list[float], name: str) -> list[Line]:
    lines = [Line("training", at, [float((e.get("sample") or {}).get(name, "nan")) for e in epochs], 1)]
    if any(e.get("validation") for e in epochs):
        values = [float((e.get("validation") or {}).get(name, "nan")) for e in epochs]
        lines.append(Line("validation", at, values, 2))
    return lines


def _far(lines: list[Line]) -> bool:
    values = np.array([v for line in lines for v in line.y])
    known = values[np.isfinite(values)]
    return len(known) > 0 and bool(known.min() > 0) and bool(known.max() > FAR * known.min())


def _constant(pages: "Pages") -> list[Level]:
    """What the best constant answer loses."""
    setup = pages.record.setup
    value = setup.get("trivial_validation", setup.get("trivial_loss"))
    return [] if value is None else [Level(float(value), f"best constant answer {float(value):.4g}")]


def _simple(pages: "Pages") -> list[Level]:
    """The best simple model's validation score."""
    result = pages.result or {}
    scores = [
        (value, one["name"])
        for one in result.get("baselines") or []
        if one.get("metric") == pages.metric and (value := facts.number(one.get("validation"))) is not None
    ]
    return [Level(value, f"{name} {value:.3g}") for value, name in [max(scores)]] if scores else []


def _spread(pages: "Pages") -> list[str]:
    """How much the loss of single updates differs within each chunk of them."""
    chunks = [line for line in pages.record.chunks if line.get("loss")]
    if len(chunks) < 2 or all(line["loss"]["min"] == line["loss"]["max"] for line in chunks):
        return []
    at = [float(line["step"]) for line in chunks]
    mean, low, high = ([float(line["loss"][name]) for line in chunks] for name in ("mean", "min", "max"))
    lines = [Line("mean of a chunk", at, mean, 6)]
    ends = [Line("", at, low), Line("", at, high)]
    return [
        line_chart(
            lines, title="Loss of single updates: mean, least and largest of each chunk", x_label="update",
            y_label="", band=Band(at, low, high, 6), log_y=_far(ends),
        )
    ]  # fmt: skip


def _range_test(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    lines = [
        Line("loss", found["rates"], [float(v) for v in found["losses"]], 6, dashed=True),
        Line("smoothed", found["rates"], [float(v) for v in found["smoothed"]], 1),
    ]
    mark = (found["chosen"], f"chosen: {found['chosen']:g}")
    return [line_chart(lines, title="Range test", x_label="learning rate", y_label="loss", log_x=True, mark=mark)]
