"""Kernels for the CPU, written in C++, where plain JAX is slow there; each has a plain counterpart for elsewhere.

`library` finds and loads them, `calls` makes them functions of JAX arrays. What is compiled from them keeps to the same
rules as the rest: equal runs on one machine give equal bytes.
"""

from pellucid.native.devices import cores
from pellucid.native.library import Native, native, on_cpu, one_operation, plain, usable

__all__ = ["Native", "cores", "native", "on_cpu", "one_operation", "plain", "usable"]
