"""Several processes behind one command line: joining them before anything runs, and leaving without waiting in vain."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from pellucid.errors import Interrupted, SettingError

WORDS = ("coordinator", "processes", "process", "join_seconds")  # how it is launched, and no part of a recipe
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def joins(given: Mapping[str, Any]) -> bool:
    """Whether this command is one process of several: by its options, by JAX's variables, or by Slurm's or MPI's where
    a mesh is asked for."""
    from pellucid.train.hosts import launched

    named = any(name in given for name in WORDS[:3]) or any(os.environ.get(name) for name in VARIABLES)
    return named or ("mesh" in given and launched())


def together(given: dict[str, Any], work: Callable[[], int]) -> int:
    """Join the others and do the work, of which the first process alone tells."""
    from pellucid.commands.guard import tell, wants_traceback
    from pellucid.train import hosts

    _check(given)
    if not wants_traceback():
        _silence()
    code = 0
    try:
        hosts.join(
            given.get("coordinator"), given.get("processes"), given.get("process"),
            given.get("join_seconds", hosts.SECONDS),
        )  # fmt: skip
        if not hosts.is_first():
            given["quiet"] = True
        code = work()
    except Interrupted as error:  # all processes know, and have saved
        code = tell(error) if hosts.is_first() else error.exit_code
    except BaseException as error:
        hosts.leave(tell(error))
    hosts.part()
    return code


def _check(given: Mapping[str, Any]) -> None:
    for name in ("watch", "dry_run"):
        if name in given:
            option = "--" + name.replace("_", "-")
            raise SettingError(
                f"{option} is for one process", where=option,
                fix="pellucid watch RUN, beside the run" if name == "watch" else "leave the processes' options out",
            )  # fmt: skip


def _silence() -> None:
    """What C++ libraries write about connections is for nobody, and would stand among the results: Python keeps the
    terminal, and they lose it. PELLUCID_TRACEBACK=1 shows it."""
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = os.fdopen(os.dup(number), "w", buffering=1, encoding="utf-8", errors="replace")
        setattr(sys, name, stream)
        os.dup2(nowhere, number)
    os.close(nowhere)
