"""A run's recipe and findings in the words that the page shows."""

from typing import Any

from pellucid.views.findings import numbers, tried
from pellucid.views.names import recipe_words


def about(recipe: dict[str, Any]) -> list[str]:
    """What was trained on what: the data, the network, the optimizer, the loss.

    >>> about({"data": {"source": "/tmp/iris.csv"}, "network": {"spec": "mlp:16"}, "train": {"loss": "focal"}})
    ['iris.csv', 'mlp:16', 'focal']
    """
    data = found if isinstance(found := recipe.get("data"), dict) else {}
    source = str(data.get("source") or "data from Python").replace("\\", "/").rstrip("/")
    return [source.rpartition("/")[2], *recipe_words(recipe)]


def told(findings: list[dict[str, Any]], how: str) -> list[dict[str, Any]]:
    """Findings as the page shows them. how: "hint": the evidence and a question, and not the cause."""
    found = []
    for one in findings:
        line = {"severity": str(one.get("severity", "note")), "layer": one.get("layer"), "step": one.get("step")}
        if how == "hint":
            if line["severity"] == "note":
                continue
            evidence = one.get("evidence")
            said = numbers(evidence) if isinstance(evidence, dict) else ""
            line |= {"title": "something is unusual", "summary": said, "why": str(one.get("question", ""))}
            line |= {"remedies": [], "tried": [], "source": ""}
        else:
            line |= {key: str(one.get(key) or "") for key in ("problem", "summary", "why", "source")}
            line["title"] = str(one.get("title") or one.get("problem") or "")
            line["remedies"] = [
                {"text": str(r.get("text") or ""), "line": str(r.get("line") or "")}
                for r in one.get("remedies") or []
                if isinstance(r, dict)
            ]
            line["tried"] = [tried(t) for t in one.get("tried") or []]
        found.append(line)
    return found
