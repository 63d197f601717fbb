"""The weights of chosen epochs, to look back at: history/epoch-000007.safetensors; history/samples.npz beside them.

At most `MOST` epochs are kept, evenly spaced, and no more than the recipe's budget of megabytes holds: first every
epoch, then every second, every fourth. Which they are follows from the count of epochs alone, so an interrupted run
that goes on keeps the same ones. Epoch 0 is the network before it learned anything.
"""

import io
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from pellucid import files
from pellucid.data import Part
from pellucid.data.parts import strided
from pellucid.errors import RunError

MOST = 32  # epochs kept, and one more
ROWS = 256  # examples kept to look at
BYTES = 2 << 20  # that they may take
SAMPLES = "samples.npz"


class History:
    """Writes into `folder` (a run's history/), within `megabytes`."""

    def __init__(self, folder: Path, megabytes: float):
        self.folder, self.budget = folder, megabytes * 2**20
        self.most: int | None = None  # epochs that fit, known with the first one's size

    def begin(self, part: Part, epoch: int, weights: bytes) -> None:
        """A run begins, or goes on after `epoch`: keep some examples of `part`, and the first weights. What a run that
        was killed wrote after its last checkpoint is taken away."""
        self.most = min(MOST, int(self.budget // max(len(weights), 1)) - 1)
        if self.most < 1:
            return
        files.make_folder(self.folder)
        if epoch == 0:
            files.write_bytes(self.folder / SAMPLES, _samples(part))
        for kept in kept_epochs(self.folder):
            if kept > epoch:
                self._path(kept).unlink(missing_ok=True)
        self.add(epoch, weights)

    def wants(self, epoch: int) -> bool:
        return self.most is not None and self.most >= 1 and epoch % spacing(epoch, self.most) == 0

    def add(self, epoch: int, weights: bytes) -> None:
        """Keep these weights, and take away what lies between the wider spacing's epochs."""
        if self.most is None or not self.wants(epoch):
            return
        with files.disk_errors(self.folder):
            self._path(epoch).write_bytes(weights)
        step = spacing(epoch, self.most)
        for kept in kept_epochs(self.folder):
            if kept % step:
                self._path(kept).unlink(missing_ok=True)

    def _path(self, epoch: int) -> Path:
        return epoch_path(self.folder, epoch)


def epoch_path(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:06d}.safetensors"


def spacing(epoch: int, most: int) -> int:
    """Every how many epochs one is kept, after so many.

    >>> [spacing(e, most=4) for e in (0, 4, 5, 8, 9, 16, 17)]
    [1, 1, 2, 2, 4, 4, 8]
    """
    step = 1
    while epoch > step * most:
        step *= 2
    return step


def kept_epochs(folder: Path) -> list[int]:
    """The epochs whose weights are kept, in order."""
    found = []
    for path in folder.glob("epoch-*.safetensors"):
        with suppress(ValueError):
            found.append(int(path.stem.removeprefix("epoch-")))
    return sorted(found)


def _samples(part: Part) -> bytes:
    """Some examples as the network reads them, with their targets and the numbers of their rows."""
    size = np.dtype(part.x.dtype).itemsize * int(np.prod(part.x.shape[1:], initial=1))
    count = max(1, min(ROWS, BYTES // max(size, 1), len(part.y)))
    few = strided(len(part.y), count)
    x, y = np.asarray(part.x[few]), np.asarray(part.y[few])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=x, y=y, rows=np.asarray(part.rows)[few])
    return buffer.getvalue()


def read_samples(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, y, rows) of the examples that a run kept, as its network reads them.

    Raises `RunError` where there are none, or the file is damaged or not of the kind.
    """
    path = folder / SAMPLES
    if not path.is_file():
        raise RunError(
            "the run kept no examples to look at", where=path, fix="give its history room: --set history=64 (megabytes)"
        )
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(one.file_size for one in packed.infolist()) > 16 * BYTES:
                raise ValueError("it unpacks to more than a run keeps")
        with np.load(path, allow_pickle=False) as found:
            x, y, rows = (found[name] for name in ("x", "y", "rows"))
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise RunError("the kept examples cannot be read", where=path, got=error) from error
    if not len(x) == len(y) == len(rows) > 0:
        raise RunError("the kept examples cannot be read", where=path, expected="x, y and rows of one length")
    return x, y, rows
