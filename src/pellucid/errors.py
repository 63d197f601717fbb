"""Every error that a user can cause, in one shape: the problem, where, what was expected, what came, how to mend it.

The command line prints the text and leaves with `exit_code`; a person never sees a traceback for a mistake of theirs.
Each class is also the built-in error that Python code would expect (`ValueError`), so that `except ValueError` works.
"""

import difflib
from collections.abc import Iterable
from typing import Any


class PellucidError(Exception):
    """The root of every error raised on purpose.

    >>> print(PellucidError("the file is empty", where="iris.csv", fix="give a file with a header line and rows"))
    the file is empty
      where:    iris.csv
      fix:      give a file with a header line and rows
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        fix: object = None,
    ):
        self.problem = problem
        self.parts = {"where": where, "expected": expected, "got": got, "fix": fix}
        super().__init__(problem)

    def __str__(self) -> str:
        lines = [f"  {name + ':':<9} {text}" for name, text in self.parts.items() if text is not None]
        return "\n".join([self.problem, *lines])

    def __reduce__(self):  # keyword-only arguments do not survive Exception's own pickling
        return _rebuild, (type(self), self.problem, self.parts)


def _rebuild(cls: type[PellucidError], problem: str, parts: dict) -> PellucidError:
    return cls(problem, **parts)


class DataError(PellucidError, ValueError):
    """The data cannot be used as they are."""


class NetworkError(PellucidError, ValueError):
    """The network cannot be built, or does not fit what arrives."""


class SettingError(PellucidError, ValueError):
    """A setting (an option, an argument, a recipe's key) is unknown or out of range."""


class RunError(PellucidError, ValueError):
    """A run directory is missing, damaged, in use, or from another version."""


class MissingExtra(PellucidError, ImportError):
    """An optional package that this job needs is not installed."""


class ResourceError(PellucidError, OSError):
    """The machine gave out: disk full, memory exhausted, a folder that cannot be written."""

    exit_code = 1


class Diverged(PellucidError, ArithmeticError):
    """Training met a loss that is not finite. run: the run as far as it came, a `pellucid.Run`."""

    exit_code = 3
    run: Any = None


class PellucidWarning(UserWarning):
    """Something that a user should know, and that does not stop the work."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """A sentence that names the choice closest to `name`, or all of them where none is close.

    >>> nearest("speces", ["species", "petal length"])
    "did you mean 'species'?"
    >>> nearest("zzz", ["a", "b"])
    'choose one of: a, b'
    """
    choices = [str(c) for c in choices]
    lower = {c.lower(): c for c in reversed(choices)}
    close = difflib.get_close_matches(str(name).lower(), list(lower), n=1, cutoff=0.6)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    shown = ", ".join(choices[:12]) + (f", ... ({len(choices)} in all)" if len(choices) > 12 else "")
    return f"choose one of: {shown}" if choices else "there is none to choose from"


class Interrupted(KeyboardInterrupt):
    """A run was asked to end, saved its state, and can be resumed. signal 0: asked by a callback or another process."""

    def __init__(self, path: object, signal: int):
        super().__init__(f"interrupted; resume with: pellucid train --resume {path}" if path else "interrupted")
        self.path, self.signal = path, signal

    @property
    def exit_code(self) -> int:
        """As a shell has it: 128 + the signal's number (130 Ctrl-C, 143 SIGTERM); 130 where no signal came."""
        return 128 + self.signal if self.signal else 130
