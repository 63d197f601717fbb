"""The benchmark: the same work in Pellucid and in other libraries, side by side, on this machine.

    python -m bench --help

A row (`rows.py`) is a piece of work: a model (`models.py`), data (`data.py`), a batch, an optimizer, a number of steps.
A contender (`contenders/`) is a library that does it. Each runs in a process of its own (`child.py`), those of a round
one after the other (`alternate.py`), from the same initial weights over the same batches; after the first epoch, which
compiles and is not counted, all must have come to the same loss. What they found goes into a file of JSON lines
(`journal.py`), from which a stopped run goes on, and from there into tables (`tables.py`, `page.py`), beside the
machine's own limits (`limits.py`) and the operations of a step, counted by a formula (`flops.py`).
"""
