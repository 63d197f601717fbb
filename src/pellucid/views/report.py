"""report.html: one page that shows a run, made from the files of its folder alone. No script, nothing fetched."""

import json
import time
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from pellucid import files
from pellucid.errors import PellucidError, RunError
from pellucid.rundir import RunDir, read_json, slug
from pellucid.signals.record import Record, read_lines, read_record
from pellucid.views import (
    facts,
    report_curves,
    report_findings,
    report_inside,
    report_parts,
    report_scores,
    report_signals,
)
from pellucid.views.report_inside_style import CSS as INSIDE_CSS
from pellucid.views.report_style import CSS


@dataclass
class Pages:
    """All that the run's folder tells."""

    place: RunDir
    result: dict[str, Any] | None
    recipe: dict[str, Any]
    recipe_text: str
    record: Record
    layers: list[dict[str, Any]]  # path, layer, output, parameters, initial
    findings: list[dict[str, Any]]  # as in findings.json
    began: float | None  # seconds since 1970
    composites: dict[str, str] = field(default_factory=dict)  # the kind of each layer made of layers, by path
    inspection: dict[str, Any] = field(default_factory=dict)  # as in inspection.json

    @property
    def name(self) -> str:
        return str(self.recipe.get("name") or self.place.path.name)

    @property
    def metric(self) -> str:
        if self.result is not None:
            return str(self.result["metric"])
        scores = self.record.epochs[-1]["sample"] if self.record.epochs else {}
        return next((name for name in scores if name != "loss"), "loss")


def write_report(path: Path) -> Path:
    """Write `report.html` into the run's folder, and give its path. An unfinished run has one, too.

    Raises `RunError` where there is no run, or a file of it is damaged.
    """
    place = RunDir(path).require()
    files.write_text(place.report, page(read(place)))
    return place.report


def read(place: RunDir) -> Pages:
    import tomllib

    text = place.recipe.read_text(encoding="utf-8")
    result = read_json(place.result) if place.result.is_file() else None
    record = read_record(place.record) if place.record.is_file() else Record()
    found: Any = read_json(place.findings) if place.findings.is_file() else []
    seen: dict[str, Any] = {}
    with suppress(RunError):  # damaged, or not there: the page has its other parts
        seen = read_json(place.inspection) if place.inspection.is_file() else {}
    layers, composites = _layers(place)
    return Pages(place, result, tomllib.loads(text), text, record, layers, found, _began(place), composites, seen)


def _layers(place: RunDir) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The layer table, and the kinds of composites: from the network's structure; where that needs code of a user's,
    the weights' shapes."""
    try:
        from pellucid.network.composite import walk
        from pellucid.network.storage import read_structure
        from pellucid.network.summary import rows

        network, example = read_structure(place.network)
        found = rows(network, example)
        leaves = {row["path"] for row in found}
        return found, {path: str(layer.name) for path, layer in walk(network.layer) if path not in leaves}
    except (PellucidError, OSError):
        return _weights(place.weights), {}


def _weights(path: Path) -> list[dict[str, Any]]:
    """One row a weight, from the header of the safetensors file: 8 bytes of length, then JSON."""
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    found = []
    for name, one in header.items():
        if name != "__metadata__":
            count = 1
            for n in one["shape"]:
                count *= n
            found.append({"path": name, "layer": "weight", "output": one["shape"], "parameters": count, "initial": ""})
    return found


def _began(place: RunDir) -> float | None:
    if not place.clock.is_file():
        return None
    return next((float(line["time"]) for line in read_lines(place.clock) if "time" in line), None)


def contents(sections: list[tuple[str, str]]) -> str:
    """A line of links to the sections."""
    links = "".join(f'<a href="#{slug(title)}">{title}</a>' for title, _ in sections if title)
    return f'<nav class="contents">{links}</nav>'


def page(pages: Pages) -> str:
    """The whole page."""
    sections = [
        ("", report_parts.head(pages)),
        ("Scores", report_scores.scores(pages)),
        ("Findings", report_findings.findings(pages)),
        ("Learning", report_curves.curves(pages)),
        ("Confusion", report_scores.confusion(pages)),
        *report_inside.sections(pages),
        ("Inside the network", report_signals.signals(pages)),
        ("The network", report_parts.layers(pages)),
        ("Notes", report_parts.notes(pages)),
        ("Costs", report_parts.costs(pages)),
        ("To run it again", report_parts.again(pages)),
    ]
    shown = [(title, html) for title, html in sections if html]
    named = [f'<h2 id="{slug(title)}">{title}</h2>\n{html}' for title, html in shown if title]
    body = "\n".join([html for title, html in shown if not title] + [contents(shown), *named])
    status = facts.status(pages.result, pages.place.running)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(pages.began)) if pages.began else ""
    version = escape(str(pages.recipe.get("versions", {}).get("pellucid", "")))
    foot = f'<p class="quiet">Pellucid {version} · {status} · {when}</p>'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(pages.name)}: {status}</title><style>{CSS}{INSIDE_CSS}</style></head>\n"
        f"<body><main>\n{body}\n{foot}\n</main></body></html>\n"
    )
