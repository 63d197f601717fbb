"""Several processes that train one network together, on one host or on many: joining, agreeing, losing one.

    join()                                     # before anything of JAX is used
    fit("mlp", data, mesh="data=4")            # in every process, with the same settings

JAX joins the processes (`jax.distributed`); what they exchange goes by gloo between CPUs and by NCCL between GPUs. They
run the same program in step, so whatever decides how a run goes on (a signal, a request to stop, the time to save) is
agreed upon first: `agree`. The first process writes the run and speaks; the others are quiet.
"""

import ctypes
import hashlib
import os
import signal
import socket
import sys
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import jax
import numpy as np

from pellucid.errors import PellucidError, ResourceError, SettingError

SECONDS = 300  # for which a process waits for the others to join
HEARTBEAT = 60  # seconds without a sign of life after which a process counts as lost
AT_THE_END = 24 * 3600  # seconds for which the others wait while the first one writes the report
LINGER = 2.0  # seconds the first process stays after an error, so that the others can tell theirs
WORDS = ("stop", "save", "pause", "continue", "interrupt", "terminate")  # what may be agreed upon
SIGNALS = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminate"}
NAMES = {
    "coordinator": ("JAX_COORDINATOR_ADDRESS",), "processes": ("JAX_NUM_PROCESSES",), "process": ("JAX_PROCESS_ID",),
}  # fmt: skip
LOST = ("Gloo", "gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "coordination service", "Connection closed by peer")
_waiting_for: list[str] = []  # what the process waits for while it joins; empty once it has joined


# -- joining --------------------------------------------------------------------------------------------------------


def join(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, seconds: float = SECONDS
) -> None:
    """Join the processes that train together. Must come before anything of JAX is used.

    coordinator: `HOST:PORT` of the first process, the same in all; `auto`: JAX finds out (Slurm, Kubernetes, MPI), as
    it does where nothing is given and Slurm or MPI started several.
    processes: how many there are.   process: which one this is, from 0.   What is not given comes from the environment:
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID.   seconds: for which the others are waited for.

    Raises `SettingError` where the words do not fit, `ResourceError` where the coordinator does not answer.
    """
    if jax.distributed.is_initialized():
        return
    coordinator, processes, process = _filled(coordinator, processes, process)
    if (coordinator, processes, process) == (None, None, None) and launched():
        coordinator = "auto"
    told: dict[str, Any] = {}
    if coordinator != "auto":
        _check(coordinator, processes, process)
        told = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process}
        told["cluster_detection_method"] = "deactivate"
        if process:
            _await(str(coordinator), seconds)
    with suppress(AttributeError):  # it would take SIGTERM for itself
        jax.config.update("jax_enable_preemption_service", False)
    _waiting_for.append(f"{processes or 'all'} processes at {coordinator}, for {seconds:g} s")
    _on_abort()
    try:
        jax.distributed.initialize(
            **told, initialization_timeout=int(seconds), heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=AT_THE_END,
        )  # fmt: skip
    except (RuntimeError, ValueError, OSError, TypeError) as error:
        said = str(error).strip().splitlines()
        raise ResourceError(
            "the processes cannot join", where=f"coordinator {coordinator}", got=said[0][:300] if said else None,
            fix="a free port of the first process's host; the same words in all processes, each with its own number",
        ) from error  # fmt: skip
    _waiting_for.clear()
    if jax.process_count() > 1:
        sys.excepthook = _leave_at_once(sys.excepthook)


def launched(environment: Mapping[str, str] | None = None) -> bool:
    """Whether Slurm or MPI started this process as one of several.

    >>> launched({"SLURM_NTASKS": "4", "SLURM_PROCID": "1"}), launched({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"})
    (True, False)
    """
    env = os.environ if environment is None else environment
    known = (("SLURM_NTASKS", "SLURM_PROCID"), ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"))
    return any(env.get(count, "1").isdecimal() and int(env.get(count, "1")) > 1 and own in env for count, own in known)


def _filled(coordinator: Any, processes: Any, process: Any) -> tuple[Any, Any, Any]:
    found = []
    for name, given in (("coordinator", coordinator), ("processes", processes), ("process", process)):
        if given is None:
            given = next((os.environ[key] for key in NAMES[name] if os.environ.get(key)), None)
            if given is not None and name != "coordinator":
                if not given.isdecimal():
                    raise SettingError("this is no number", where=NAMES[name][0], got=given)
                given = int(given)
        found.append(given)
    return found[0], found[1], found[2]


def _check(coordinator: Any, processes: Any, process: Any) -> None:
    missing = {"coordinator": "where the first one is", "processes": "how many there are", "process": "which it is"}
    for name, value in (("coordinator", coordinator), ("processes", processes), ("process", process)):
        if value is None:
            raise SettingError(
                f"of several processes, each must know {missing[name]}", where=f"--{name}",
                expected="--coordinator HOST:PORT --processes N --process I; or --coordinator auto",
            )  # fmt: skip
    host, sign, port = str(coordinator).rpartition(":")
    if not (sign and host and port.isdecimal() and 0 < int(port) < 65536):
        raise SettingError("this is no address", where="--coordinator", expected="HOST:PORT", got=coordinator)
    if processes < 1 or not 0 <= process < processes:
        raise SettingError(
            "there is no such process", where="--process", expected=f"a number from 0 to {max(processes - 1, 0)}",
            got=process,
        )  # fmt: skip


def _await(address: str, seconds: float) -> None:
    """Until somebody listens there. JAX would end the process without a word that one can act on."""
    host, _, port = address.rpartition(":")
    last, until, reason = 0.05, time.monotonic() + seconds, ""
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=max(min(seconds, 5.0), 0.1)):
                return
        except OSError as error:
            reason = str(error)
        if time.monotonic() + last > until:
            raise ResourceError(
                "the coordinator does not answer", where=address, expected=f"an answer within {seconds:g} s",
                got=reason, fix="start process 0 there; let its port through the firewall; --join-seconds waits longer",
            )  # fmt: skip
        time.sleep(last)
        last = min(2 * last, 1.0)


# -- agreeing -------------------------------------------------------------------------------------------------------


def count() -> int:
    """How many processes train together."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes the run and speaks."""
    return count() == 1 or jax.process_index() == 0


def agree(words: set[str]) -> set[str]:
    """Of `WORDS`, what any process says. All must ask together.

    >>> sorted(agree({"save", "stop"}))
    ['save', 'stop']
    """
    if count() == 1:
        return words
    from jax.experimental.multihost_utils import process_allgather

    own = np.array([word in words for word in WORDS], np.uint8)
    told: Any = np.asarray(process_allgather(own)).reshape(count(), -1)
    return {word for word, said in zip(WORDS, told.T, strict=True) if said.any()}


def from_first(text: str) -> str:
    """The first process's text."""
    if count() == 1:
        return text
    from jax.experimental.multihost_utils import broadcast_one_to_all

    data = np.frombuffer(text.encode(), np.uint8)
    size = int(broadcast_one_to_all(np.int32(len(data))))
    padded = np.zeros(size, np.uint8)
    padded[: min(size, len(data))] = data[:size]
    return bytes(np.asarray(broadcast_one_to_all(padded)).astype(np.uint8)).decode()


def wait(what: str) -> None:
    """Until every process has come here."""
    if count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(f"pellucid: {what}")


def check_alike(parts: Mapping[str, Any]) -> None:
    """Compare what every process was given, by fingerprints; all raise the same `SettingError` where they differ.

    parts: what is compared, by what a person calls it; a mapping's entries are told by name.
    """
    if count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    flat = {
        f"{part}: {key}": value
        for part, found in parts.items()
        for key, value in (found.items() if isinstance(found, Mapping) else (("", found),))
    }
    names = sorted(flat)
    digests = [hashlib.sha256(f"{name}={flat[name]!r}".encode()).digest()[:8] for name in names]
    own = np.array([zlib.crc32("\n".join(names).encode()), len(names)], np.uint32)
    heads = np.asarray(process_allgather(own)).reshape(count(), 2)
    if (heads != heads[0]).any():  # another version may know other settings; tables of them cannot be compared
        _refuse({"versions": np.flatnonzero((heads != heads[0]).any(1)).tolist()})
    table = np.frombuffer(b"".join(digests), np.uint8).reshape(len(names), 8)
    found = np.asarray(process_allgather(table)).reshape(count(), len(names), 8)
    unlike = (found != found[0]).any(2)  # [processes, names]
    _refuse({name.removesuffix(": "): np.flatnonzero(unlike[:, i]).tolist() for i, name in enumerate(names)})


def _refuse(unlike: dict[str, list[int]]) -> None:
    wrong = {name: processes for name, processes in unlike.items() if processes}
    if not wrong:
        return
    others = sorted({process for processes in wrong.values() for process in processes})
    shown = ", ".join(map(str, others[:8])) + (" ..." if len(others) > 8 else "")
    raise SettingError(
        "the processes were not given the same", where=f"process {shown}, against process 0",
        got="; ".join(list(wrong)[:6]), fix="start all with the same options, recipe, data and versions",
    )  # fmt: skip


# -- losing one -----------------------------------------------------------------------------------------------------


@contextmanager
def together() -> Iterator[None]:
    """Within it, what a collective says when another process is gone becomes an error that a person can act on."""
    try:
        yield
    except PellucidError:
        raise
    except (ValueError, RuntimeError) as error:
        if count() > 1 and any(word in str(error) for word in LOST):
            raise lost(str(error).strip().splitlines()[0][:200]) from error
        raise


def lost(said: str | None = None) -> ResourceError:
    return ResourceError(
        "another process was lost", where=f"process {jax.process_index()} of {count()}", got=said,
        fix="see what ended it (memory, a host that is gone); then start all again with --resume RUN",
    )  # fmt: skip


def leave(code: int) -> NoReturn:
    """End this process after an error, without waiting for the others, who wait for it."""
    sys.stdout.flush()
    sys.stderr.flush()
    if is_first() and count() > 1:
        time.sleep(LINGER)  # its end is the end of the coordinator, and so of the others
    os._exit(code)


def part() -> None:
    """After a run: wait until all are through, and go."""
    if count() > 1:
        jax.distributed.shutdown()


def _leave_at_once(before: Any) -> Any:
    def hook(kind: Any, error: Any, trace: Any) -> None:
        before(kind, error, trace)
        leave(1)

    return hook


_abort_handler: Any = None


def _on_abort() -> None:
    """JAX ends a process by abort() where another one gives no sign of life any more, or where one does not join: then
    say so, in words. It may come in a thread of JAX's own, which Python's `signal` would not hear."""
    global _abort_handler
    if os.name != "posix":
        return

    def handler(_: int) -> None:
        if _waiting_for:
            error = ResourceError("not all processes have joined", expected=_waiting_for[0], fix="start them all")
        else:
            error = lost("it gives no sign of life")
        with suppress(Exception):
            print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)

    _abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(handler)
    ctypes.CDLL(None).signal(signal.SIGABRT, _abort_handler)
