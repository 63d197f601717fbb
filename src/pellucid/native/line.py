"""Networks whose layers stand in a line, answered by one native call: JAX's own way there and back takes as long as a
small network does."""

import ctypes
import math
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from pellucid.errors import PellucidError
from pellucid.native.calls import BENDS, KINDS, Sliding, Then
from pellucid.native.devices import cores
from pellucid.native.library import native

Act = Literal["scale", "dense", "convolve", "largest", "mean", "recur", "bend"]
ACTS: tuple[Act, ...] = get_args(Act)  # as source/kernels.h numbers them
STILL, ALONE = Sliding((1, 1), (1, 1), (0, 0), (1, 1)), Then()
NUMBERS, ARRAYS = 30, 4  # of a stage, as source/line.cc reads them


@dataclass(frozen=True)
class Stage:
    """One stage, from an example's shape to another's; what its act does not use is left as it is.

    bend: a name of `BENDS`, of what scale, dense and bend give.   scale: (x - w) * u + b.   dense: x·w + b on the last
    axis.   convolve, largest: `size` is the window's, `how` its way; `then` what follows a convolution.   mean: over
    all axes but the last.   recur: w, b, u, v of the cell `kind`.   Arrays are float32, dense in memory.
    """

    act: Act
    shape: tuple[int, ...]
    out: tuple[int, ...]
    bend: str = "identity"
    w: np.ndarray | None = None
    b: np.ndarray | None = None
    u: np.ndarray | None = None
    v: np.ndarray | None = None
    size: tuple[int, int] = (1, 1)
    how: Sliding = STILL
    then: Then = ALONE
    kind: str = "tanh"
    backwards: bool = False
    each_step: bool = True

    @property
    def numbers(self) -> list[int]:
        """In the order of source/line.cc."""
        high, wide = self.shape[:2] if len(self.shape) == 3 else (1, 1)
        channels = self.shape[-1] if self.act != "scale" or self.w is None else self.w.size
        steps, width = (0, 0) if self.act != "recur" or self.u is None else (self.shape[0], self.u.shape[0])
        return [
            ACTS.index(self.act), int(np.prod(self.shape)), int(np.prod(self.out)), BENDS.index(self.bend),
            high, wide, channels, *self.how.out, self.out[-1], *self.size,
            *self.how.stride, *self.how.dilation, *self.how.pads, *self.then.window, int(self.then.relu),
            KINDS[self.kind].number, steps, width, int(self.backwards), self.shape[-1], int(self.each_step),
        ]  # fmt: skip


class _Told(ctypes.Structure):
    _fields_ = (("numbers", ctypes.c_int64 * NUMBERS), ("arrays", ctypes.c_void_p * ARRAYS))


class _Call(ctypes.Structure):
    _fields_ = (
        ("line", ctypes.c_void_p), ("rows", ctypes.c_int64), ("x", ctypes.c_void_p), ("y", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
    )  # fmt: skip


class Room(NamedTuple):
    """Memory of a call of some rows, whose place is known: to ask for it takes longer than to fill it."""

    x: np.ndarray
    y: np.ndarray
    call: _Call
    at: int  # where the call lies


class Line:
    """`line(x)`: what the stages make of x [rows, *shape of the first]: a new float32 array [rows, *out], out being as
    many numbers as the last stage gives.

    Several threads may call it at once. Where there is no memory, it raises a `PellucidError`.

    >>> double = Stage("scale", (3,), (3,), w=np.zeros(1, "float32"), u=np.full(1, 2, "float32"))
    >>> Line([double], (3,))(np.ones((1, 3))).tolist() if native().isa else [[2.0, 2.0, 2.0]]
    [[2.0, 2.0, 2.0]]
    """

    def __init__(self, stages: Sequence[Stage], out: tuple[int, ...]):
        library = native().library
        assert library is not None, "there are no native kernels"
        self.out = out
        assert math.prod(out) == math.prod(stages[-1].out), (out, stages[-1])
        self._arrays = [(stage.w, stage.b, stage.u, stage.v) for stage in stages]  # the library only points to them
        told = (_Told * len(stages))()
        for to, stage, arrays in zip(told, stages, self._arrays, strict=True):
            to.numbers[:] = stage.numbers + [0] * (NUMBERS - len(stage.numbers))
            to.arrays[:] = [None if a is None else a.ctypes.data for a in arrays]
        make, free, self._answer = library.pellucid_line, library.pellucid_line_free, library.pellucid_line_answer
        pointer = ctypes.c_void_p
        make.restype, make.argtypes, free.argtypes = pointer, [pointer, ctypes.c_int64], [pointer]
        self._answer.argtypes = [pointer]
        self._handle = make(told, len(stages))
        if self._handle is None:
            raise _no_memory()
        weakref.finalize(self, free, self._handle)
        self._threads, self._lock = cores(), threading.Lock()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, as in JAX
            x = np.ascontiguousarray(x, np.float32)
        y = np.empty((len(x), *self.out), np.float32)
        call = self._call(x, y)
        if self._answer(ctypes.addressof(call)):
            raise _no_memory()
        return y

    def _call(self, x: np.ndarray, y: np.ndarray) -> _Call:
        return _Call(self._handle, len(x), x.ctypes.data, y.ctypes.data, self._threads)

    def room(self, shape: tuple[int, ...]) -> Room:
        """For an x of this shape."""
        x, y = np.zeros(shape, np.float32), np.zeros((shape[0], *self.out), np.float32)
        call = self._call(x, y)
        return Room(x, y, call, ctypes.addressof(call))

    def within(self, room: Room, x: np.ndarray) -> np.ndarray:
        """As `line(x)`, by way of a room of the line's for x's shape: the quickest for a few numbers."""
        if not self._lock.acquire(False):  # another thread is in it
            return self(x)
        try:
            room.x[...] = x
            if self._answer(room.at):
                raise _no_memory()
            return room.y.copy()
        finally:
            self._lock.release()


def _no_memory() -> PellucidError:
    return PellucidError("there is no memory for the network's outputs", fix="give fewer rows at a time")
