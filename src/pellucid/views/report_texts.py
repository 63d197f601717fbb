"""What a network makes of text: a sample that it wrote, how much a real text surprises it, pairs that it completed."""

from html import escape
from itertools import pairwise
from typing import Any

from pellucid.views.report_parts import html_table

LEVELS = (0.5, 1, 2, 3, 4, 6, 8)  # bits, where the next darker colour begins


def sample(found: dict[str, Any]) -> str:
    said = f"{found['tokens']} tokens that it wrote, at temperature {found['temperature']:g}"
    return f"<h3>A sample</h3><p class=quiet>{said}.</p><pre>{escape(found['text'])}</pre>"


def surprise(found: dict[str, Any]) -> str:
    """A real text, each token the darker the more it surprised the network."""
    mean = found["mean"]
    said = (
        f"A piece of the {found['part']} part, each token coloured by its surprise, -log2 p: {mean:.3g} bits in "
        "the mean. Pointing at a token tells what was expected there."
    )
    names = ["< 0.5", *[f"{low:g} to {high:g}" for low, high in pairwise(LEVELS)], "> 8 bits"]
    legend = "".join(f'<span class="s{i}">{name}</span> ' for i, name in enumerate(names))
    text = "".join(_token(*token) for token in found["tokens"])
    return (
        f'<h3>Surprise</h3><p class="quiet">{escape(said)}</p><p class="levels">{legend}</p>'
        f'<p class="surprise">{text}</p>'
    )


def _token(text: str, bits: float | None, expected: list[Any]) -> str:
    shown = escape(text.replace("\n", "↵\n"))
    if bits is None or isinstance(bits, str):
        return f"<span>{shown}</span>"
    rivals = ", ".join(f"{name} {p:.0%}" for name, p in expected)
    return f'<span class="s{level(bits)}" title="{escape(f"{bits:.2g} bits; expected: {rivals}")}">{shown}</span>'


def level(bits: float) -> int:
    """Which of the colours, 0 to 7.

    >>> [level(b) for b in (0.0, 0.5, 1.7, 7.9, 30.0)]
    [0, 1, 2, 6, 7]
    """
    return sum(bits >= limit for limit in LEVELS)


def pairs(found: dict[str, Any]) -> str:
    said = (
        f"Of {found['rows']} pairs of the {found['part']} part it writes {found['right']} without a mistake; those "
        "that are wrong come first."
    )
    rows = [[e["source"], e["wanted"], e["written"], _mark(e)] for e in found["examples"]]
    table = html_table(["source", "wanted", "written", ""], rows, text=(0, 1, 2, 3))
    return f"<p>{escape(said)}</p>{table}"


def _mark(example: dict[str, Any]) -> str:
    return "right" if example["wanted"] == example["written"] else "wrong"
