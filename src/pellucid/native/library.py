"""The native library: found, loaded and told to JAX when first asked for; where that fails, plain JAX is used.

It is one shared object without any Python in it (`source/`), which XLA calls by name on its own threads. A wheel that
was built without a compiler has none, and nothing else changes: every kernel has a plain counterpart.
"""

import ctypes
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pellucid.errors import PellucidWarning
from pellucid.native.devices import several

VERSION = 10  # of what the library's names take and give; source/ffi.cc has the same number
PATH = Path(__file__).with_name("kernels.so")
NAMES = (
    "convolve",
    "convolve_dx",
    "convolve_dw",
    "convolve_join",
    "convolve_join_dx",
    "convolve_join_dw",
    "relu_largest",
    "relu_largest_dx",
    "batch_norm",
    "batch_norm_back",
    "dense",
    "dense_bend",
    "bend",
    "dense_dw",
    "largest",
    "largest_dx",
    "recur",
    "recur_back",
    "row_norm",
    "row_norm_back",
    "attend",
    "attend_back",
    "dense_steps",
)
OFF = "PELLUCID_NATIVE"  # "0": plain JAX


@dataclass(frozen=True)
class Native:
    """What is in use. isa: the instruction set ("avx512", "avx2", "base"), None for plain JAX; why: a short reason."""

    isa: str | None
    why: str
    library: ctypes.CDLL | None = field(default=None, repr=False, compare=False)


@cache
def native() -> Native:
    """Load the library, once a process. A damaged one is told of once, as a warning, and not used.

    >>> native().isa in ("avx512", "avx2", "base", None)
    True
    """
    if os.environ.get(OFF, "1") == "0":
        return Native(None, f"switched off by {OFF}=0")
    if not PATH.exists():
        return Native(None, "this installation was built without a C++ compiler")
    try:
        library = ctypes.CDLL(str(PATH))
        library.pellucid_isa.restype = ctypes.c_char_p
        if library.pellucid_version() != VERSION:
            raise OSError(f"it is of version {library.pellucid_version()}, and version {VERSION} is needed")
        _register(library)
        return Native(library.pellucid_isa().decode(), "loaded", library)
    except Exception as error:  # whatever is wrong with it: a run must not fail for want of speed
        said = f"the native kernels cannot be used, plain JAX serves instead: {error}"
        warnings.warn(f"{said}. To mend it: pip install --force-reinstall pellucid", PellucidWarning, stacklevel=2)
        return Native(None, f"not usable: {error}")


def _register(library: ctypes.CDLL) -> None:
    import jax

    for name in NAMES:
        call = jax.ffi.pycapsule(getattr(library, f"pellucid_{name}"))
        jax.ffi.register_ffi_target(f"pellucid_{name}", call, platform="cpu")


_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """What is traced inside uses plain JAX alone: for export, and for what is to be compared with the kernels."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


in_plain_jax = _plain.get  # whether `plain` is asked for now


_one_operation: ContextVar[bool] = ContextVar("one_operation", default=False)


@contextmanager
def one_operation() -> Iterator[None]:
    """What is traced inside says a convolution as one operation, on the CPU too: for export to other formats."""
    token = _one_operation.set(True)
    try:
        yield
    finally:
        _one_operation.reset(token)


def on_cpu() -> bool:
    """Whether what is traced now is to run on a CPU, where a default device was not set to something else."""
    import jax

    if _one_operation.get():
        return False
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    platform = device if isinstance(device, str) else getattr(device, "platform", None)
    return (platform or jax.default_backend()) == "cpu"


def usable(*arrays: object) -> bool:
    """Whether what is traced now may call the library with these arrays: on a CPU, on one device, in float32, and
    where it is. None stands for an array that a layer does without."""
    right = all(str(getattr(array, "dtype", None)) == "float32" for array in arrays if array is not None)
    return right and not _plain.get() and not several() and on_cpu() and native().isa is not None
