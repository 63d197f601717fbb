"""How much of this machine's memory a process may still have, as Linux tells it; and bytes in words."""

from pathlib import Path

SHARE = 0.8  # of the free memory that is planned with; the rest is for scoring, for reading data, for what else runs
COPIES = 6  # of each activation and weight, for a first guess of what training takes that is never too low by much


def available() -> int | None:
    """Bytes that this process can still have: of the machine, of its control group (a container's) and of its own
    limits (`ulimit -v`, `ulimit -d`), whichever is least. None where nothing tells."""
    found = [_available(), _within_group(Path("/sys/fs/cgroup")), *_within_process()]
    known = [size for size in found if size is not None]
    return max(min(known), 0) if known else None


def free_memory() -> int | None:
    """Bytes that a computation may still take: of the accelerator's memory, or of this machine's within the limits of
    the process (`ulimit -v`) and of its control group (a container's). None where nothing tells."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return available()


def _fields(path: Path, unit: int = 1) -> dict[str, int]:
    """The numbers of a file of lines `name value`, in bytes."""
    try:
        lines = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) * unit for line in lines if len(line) > 1 and line[1].isdigit()}


def _available() -> int | None:
    return _fields(Path("/proc/meminfo"), 1024).get("MemAvailable")


def _within_group(root: Path, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """What the control group of this process, or one above it, leaves free; memory that only holds files is counted
    as free. Version 2, and version 1, which has a tree of its own for memory."""
    try:
        places = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return None
    free = []
    for _, controllers, path in places:
        first = controllers.split(",")[0]
        base = root / first if controllers else root
        if controllers and "memory" not in controllers.split(","):
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        inside = base / path.strip("/")
        for folder in (inside, *(p for p in inside.parents if p.is_relative_to(base))):
            limit, used = (_number(folder / name) for name in names)
            if limit is not None and used is not None and limit < 1 << 60:
                free.append(limit - used + _fields(folder / "memory.stat").get("inactive_file", 0))
    return min(free, default=None)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max": there is no limit


def _within_process() -> list[int]:
    """What `ulimit -v` and `ulimit -d` leave."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    used = _fields(Path("/proc/self/status"), 1024)
    limits = ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData"))
    found = [(resource.getrlimit(kind)[0], used.get(name, 0)) for kind, name in limits]
    return [limit - size for limit, size in found if limit != resource.RLIM_INFINITY]


def in_words(size: float) -> str:
    """Bytes as a person reads them, in powers of 1000.

    >>> in_words(512), in_words(3_200_000), in_words(12.3e9)
    ('512 B', '3.2 MB', '12.3 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
