"""What runs in a contender's own process: `python -m bench.child TASK ROW CONTENDER` prints one line of JSON."""

import json
import os
import sys
import time
from typing import Any

from bench.peak import peak_memory


def answer(task: str, name: str, contender: str) -> dict[str, Any]:
    """What one contender finds of one row."""
    if task == "limits":
        from bench import limits

        return limits.measured(contender)
    from bench.rows import ROWS

    row = ROWS[name]
    if task == "cold":
        from bench.contenders import made
        from bench.data import load
        from bench.models import initial

        module, told = made(contender.removesuffix("-cached"))
        assert row.model is not None
        subject = module.train(row, load(row), initial(row.model), **told)
        subject.epoch(0)
        return {"seconds": [time.time() - float(os.environ["BENCH_STARTED"])]}
    if task == "reach":
        from bench import reach

        return reach.reached(name, contender)
    from bench import clock

    return (clock.training if task == "train" else clock.inference)(row, contender)


if __name__ == "__main__":
    found = answer(*sys.argv[1:4])
    print(json.dumps({"peak_memory_bytes": peak_memory(), **found}))
