"""The report's findings, each with the number that flags it on the curves, and what was tried to repair the run."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pellucid.views.console import figure
from pellucid.views.report_parts import html_table
from pellucid.views.svg_flags import Flag

if TYPE_CHECKING:
    from pellucid.views.report import Pages

KINDS = ("error", "warning", "note")


def findings(pages: "Pages") -> str:
    """Alarms in full, notes as a list, and what was tried to repair the run."""
    ordered = numbered(pages.findings)
    parts = [_finding(number, f) for number, f in ordered if kind_of(f) != "note"]
    if pages.result is not None and not parts:
        parts = ['<p class="well">The doctor found nothing that harms.</p>']
    notes = [(number, f) for number, f in ordered if kind_of(f) == "note"]
    if notes:
        said = [(_badge(number, f), f"{title_of(f)}: {f.get('summary', '')}") for number, f in notes]
        lines = "".join(f"<li>{badge} {escape(text)}</li>" for badge, text in said)
        parts.append(f'<ul class="notes flagged">{lines}</ul>')
    return "\n".join([*parts, _tried(pages)])


def numbered(found: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Findings as they are told, alarms first, counted from 1: the numbers of their flags."""
    return list(enumerate(sorted(found, key=lambda f: kind_of(f) == "note"), 1))


def kind_of(finding: dict[str, Any]) -> str:
    return finding["severity"] if finding.get("severity") in KINDS else "warning"


def title_of(finding: dict[str, Any]) -> str:
    return str(finding.get("title", finding.get("problem")))


def flags(found: Sequence[dict[str, Any]], epoch_of: Any) -> list[Flag]:
    """A flag for each finding with a step. epoch_of: from a step to its place on the x axis."""
    return [
        Flag(epoch_of(f["step"]), str(number), f"{title_of(f)}, since step {f['step']:,}", kind_of(f))
        for number, f in numbered(found)
        if f.get("step") is not None
    ]


def _badge(number: int, finding: dict[str, Any]) -> str:
    said = "flagged on the curves" if finding.get("step") is not None else "of the whole run"
    return f'<i class="badge {kind_of(finding)}" title="{said}">{number}</i>'


def _finding(number: int, finding: dict[str, Any]) -> str:
    place = f", {finding['layer']}" if finding.get("layer") else ""
    since = f", since step {finding['step']:,}" if finding.get("step") is not None else ""
    lines = [f"<b>{_badge(number, finding)} {escape(title_of(finding) + place + since)}</b>"]
    lines += [f"<p>{escape(str(finding.get('summary', '')))}</p>"]
    lines += [f'<p class="quiet">{escape(str(finding.get("why", "")))}</p>']
    remedies = finding.get("remedies") or []
    shown = [escape(r["text"]) + (f": <code>{escape(r['line'])}</code>" if r.get("line") else "") for r in remedies]
    lines += ["<p>What to try: " + "; ".join(shown) + ".</p>"] if shown else []
    lines += [f'<p class="quiet">{escape(str(finding.get("source", "")))}</p>']
    return f'<div class="warn" id="finding-{number}">{"".join(lines)}</div>'


def _tried(pages: "Pages") -> str:
    """What --repair tried: the loss after so many updates with each change and without, one number a seed."""
    rows = [
        [
            t["remedy"]["text"],
            f"{t['steps']:,}",
            _losses(t["without"]),
            _losses(t["treated"]),
            "yes" if t["helps"] else "no",
        ]
        for line in ((pages.result or {}).get("repair") or {}).get("rounds", [])
        for t in line.get("trials", [])
    ]
    head = ["tried", "updates", "validation loss without", "with it", "helps"]
    return html_table(head, rows, text=(0,)) if rows else ""


def _losses(values: Sequence[Any]) -> str:
    return ", ".join(figure(float(v)) for v in values)
