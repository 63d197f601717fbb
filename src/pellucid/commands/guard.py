"""What surrounds every command: errors become a few lines and an exit code, warnings become notes.

Exit codes: 0 done; 1 failed (disk, memory, a bug); 2 wrong usage or unusable input; 3 training diverged;
130 interrupted, 143 terminated. `PELLUCID_TRACEBACK=1` shows tracebacks, and the warnings of other libraries.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

import typer

from pellucid.errors import Interrupted, PellucidError, PellucidWarning

F = TypeVar("F", bound=Callable[..., Any])


def wants_traceback() -> bool:
    return os.environ.get("PELLUCID_TRACEBACK", "") not in ("", "0")


def guarded(command: F) -> F:
    """`command` with its errors told in words. What it returns, or the error's own code, becomes the exit code."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            if not wants_traceback():
                warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=PellucidWarning)
            warnings.showwarning = _show_warning
            try:
                code = command(*args, **kwargs)
                sys.stdout.flush()
            except typer.Exit:
                raise
            except BaseException as error:
                code = tell(error)
        raise typer.Exit(code or 0)

    return run  # type: ignore[return-value]


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    from pellucid.views.console import note

    if issubclass(category, PellucidWarning):
        note(str(message))
    else:
        note(f"{filename}:{lineno}: {category.__name__}: {message}")


def tell(error: BaseException) -> int:
    """Say on stderr what went wrong, and give the exit code."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if wants_traceback():
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        print(f"\n{error if isinstance(error, Interrupted) else 'interrupted'}", file=sys.stderr, flush=True)
        return error.exit_code if isinstance(error, Interrupted) else 128 + signal.SIGINT
    from pellucid.views.console import say_error

    if isinstance(error, PellucidError):
        say_error(str(error))
        return error.exit_code
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        say_error("the memory is exhausted\n  fix:      --batch-size with a smaller number, or a smaller network")
        return 1
    said = str(error).strip().splitlines()
    say_error(
        f"Pellucid failed: {type(error).__name__}{': ' + said[0][:300] if said else ''}\n"
        "  fix:      this should not happen; PELLUCID_TRACEBACK=1 before the command shows where it did"
    )
    return 1
