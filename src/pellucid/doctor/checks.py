"""Checks before the first step. The contract: a function of plain facts that gives one problem's findings, or none.

    def constant_columns(d: DataFacts) -> list[Finding]: ...

`run` calls them one by one; one that fails is a warning, for no check is worth a run. What severity means here:

    error    training is impossible (values that are not finite, one class only, softmax over one unit)
    warning  it will surely do harm, and nothing in the setup already takes care of it
    note     an oddity that a network lives with, or harm that only training can show
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from pellucid.doctor.explains import explains
from pellucid.doctor.finding import Finding
from pellucid.errors import PellucidError, PellucidWarning


def run(checks: Iterable[Callable[[Any], list[Finding]]], facts: Any) -> list[Finding]:
    """What all the checks find, in their order."""
    found: list[Finding] = []
    for check in checks:
        found += guarded(lambda check=check: check(facts), check.__name__.replace("_", " "), [])
    return found


def guarded(work: Callable[[], Any], name: str, default: Any) -> Any:
    """What `work` gives; where it fails, a warning and `default`."""
    try:
        with np.errstate(all="ignore"):  # a check of values that are not finite meets them
            return work()
    except PellucidError:  # a mistake that the training itself is about to tell, and better
        return default
    except Exception as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(f"the check of {name} failed: {said}", PellucidWarning, stacklevel=3)
        return default


def listed(names: Iterable[Any], most: int = 5) -> str:
    """Names in a sentence.

    >>> listed(["a", "b"]), listed("abcdefg", 3)
    ("'a' and 'b'", "'a', 'b', 'c' and 4 more")
    """
    shown = [repr(str(name)) for name in names]
    if len(shown) > most:
        return f"{', '.join(shown[:most])} and {len(shown) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 2 else shown)


def counted(n: int, thing: str) -> str:
    """
    >>> counted(1, "row"), counted(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def explained(findings: list[Finding]) -> list[Finding]:
    """Without those that another alarm explains: they become its symptoms."""
    kept = []
    for f in findings:
        if not any(explains(cause, f) for cause in findings):
            more = tuple(other.problem for other in findings if explains(f, other))
            kept.append(dataclasses.replace(f, symptoms=tuple(dict.fromkeys((*f.symptoms, *more)))))
    return kept
