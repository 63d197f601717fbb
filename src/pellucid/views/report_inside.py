"""The sections of report.html that show what the trained network does with its data, from inspection.json."""

import math
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from pellucid.views import report_examples, report_pictures, report_texts
from pellucid.views.svg_more import Bar, bar_chart, histogram, reliability, scatter

if TYPE_CHECKING:
    from pellucid.views.report import Pages


def sections(pages: "Pages") -> list[tuple[str, str]]:
    """(title, HTML) of each subject that there is something to show of. A subject that another version wrote, and that
    this one cannot read, is left out."""
    out = []
    for title, drawn in SECTIONS:
        html = [_drawn(draw, pages.inspection[name]) for name, draw in drawn.items() if name in pages.inspection]
        if any(html):
            out.append((title, "\n".join(html)))
    return out


def _drawn(draw: "Draw", found: Any) -> str:
    try:
        return draw(found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return ""


def calibration(found: dict[str, Any]) -> str:
    """Reliability diagram and the histogram of what was said."""
    sure, right = found["confidence"], found["accuracy"]
    gap = "" if abs(sure - right) < 0.01 else f": it is {'too sure' if sure > right else 'too cautious'}"
    said = (
        f"On the {found['part']} part it gives its answers a probability of {sure:.1%} in the mean, and is right in "
        f"{right:.1%}{gap}. "
        f"Expected calibration error {found['error']:.3f} (Guo et al. 2017), over {found['rows']:,} answers."
    )
    edges = [one["low"] for one in found["bins"]] + [1.0]
    counts = [one["count"] for one in found["bins"]]
    charts = [
        reliability(found["bins"], title="Is it as often right as it says?"),
        histogram(edges, counts, title="How sure it is", x_label="probability it gave", y_label="examples"),
    ]
    quiet = "Orange up to the dotted line: right less often than it says. Pale blue above it: right more often."
    return f'<p>{escape(said)}</p><p class="quiet">{quiet}</p><div class="charts">{"".join(charts)}</div>'


def values(found: dict[str, Any]) -> str:
    """Predicted over true, residuals over predicted, and how the residuals are spread."""
    parts = []
    for column in found["columns"]:
        true, said = _floats(column["true"]), _floats(column["predicted"])
        name = column["name"]
        rest = [p - t for p, t in zip(said, true, strict=True)]
        words = (
            f"{name}, {found['part']} part: predicted minus true is {column['bias']:.4g} in the mean, "
            f"± {column['spread']:.4g} (standard deviation)."
        )
        hist = column["histogram"]
        charts = [
            scatter(true, said, title=f"{name}: predicted", x_label="true", y_label="predicted", line="equal"),
            scatter(said, rest, title=f"{name}: errors", x_label="predicted", y_label="predicted - true", line="zero"),
            histogram(
                hist["edges"], hist["counts"], title=f"{name}: how large errors are", x_label="predicted - true",
                y_label="rows",
            ),
        ]  # fmt: skip
        parts.append(f'<p>{escape(words)}</p><div class="charts halves">{"".join(charts)}</div>')
    return "\n".join(parts)


def importance(found: dict[str, Any]) -> str:
    """A bar a column."""
    metric = str(found["metric"]).replace("_", " ")
    said = (
        f"How much {'the loss rises' if metric == 'loss' else f'{metric} gets worse'} when one column is shuffled "
        f"among {found['rows']:,} rows of the {found['part']} part, {found['shuffles']} times each (it is "
        f"{found['score']:.4g} as they are). Of two columns that tell the same, either may seem worthless."
    )
    bars = [Bar(str(c["column"]), float(c["drop"]), float(c["spread"])) for c in found["columns"]]
    more = f"<p>{found['more']:,} more columns matter less.</p>" if found.get("more") else ""
    chart = bar_chart(bars, title="Worth of each column", x_label=f"{metric} lost")
    return f'<p class="quiet">{escape(said)}</p><div class="charts halves">{chart}</div>{more}'


def separability(found: dict[str, Any]) -> str:
    """A bar a layer, the input first."""
    accuracy = found["metric"] == "accuracy"
    each = "steps" if found["each"] == "step" else "examples"
    said = (
        f"How well a linear model reads {found['target']} off what leaves each layer, from the input to the output "
        f"(Alain & Bengio 2016): ridge regression on {found['training']:,} training {each}, scored on "
        f"{found['held_out']:,} of the {found['part']} part. Bars that grow with depth are features that the network "
        "has learned to pull apart."
    )
    bars = [
        Bar(
            str(one["layer"]), float(one["score"]),
            said=f"{one['layer']}: {one['score']}, {one['features']:,} numbers"
            + (f", folded to {one['read']:,}" if one["read"] < one["features"] else ""),
        )
        for one in found["layers"]
    ]  # fmt: skip
    mark = (float(found["chance"]), f"chance: {found['chance']:.3g}") if accuracy else None
    chart = bar_chart(bars, title="Linear probe", x_label="accuracy" if accuracy else "R2", mark=mark)
    return f'<p class="quiet">{escape(said)}</p><div class="charts halves">{chart}</div>'


def _floats(values: list[Any]) -> list[float]:
    return [float(v) if not isinstance(v, str) or v in ("nan", "inf", "-inf") else math.nan for v in values]


Draw = Callable[[dict[str, Any]], str]
# title, and how each entry of inspection.json that it is made of is drawn
SECTIONS: list[tuple[str, dict[str, Draw]]] = [
    ("Mistakes", {"mistakes": report_examples.mistakes}),
    ("Class by class", {"classes": report_examples.classes}),
    ("Predicted and true", {"values": values}),
    ("Calibration", {"calibration": calibration}),
    ("What the columns are worth", {"importance": importance}),
    ("Layer by layer", {"separability": separability}),
    (
        "What the layers see",
        {
            "filters": report_pictures.filters,
            "exciting": report_pictures.exciting,
            "saliency": report_pictures.saliency,
        },
    ),
    ("Where it looks", {"attention": report_pictures.attention}),
    (
        "What it writes",
        {"sample": report_texts.sample, "surprise": report_texts.surprise, "pairs": report_texts.pairs},
    ),
]
