"""The largest memory that a contender's process held."""

import sys


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes. Of the program's own, where Linux tells that."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def forget() -> None:
    """Count from what is held now on, where the system can do that: of what is no part of the work the peak does not
    tell then."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
