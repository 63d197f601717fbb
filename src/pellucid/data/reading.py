"""How a source is read where its examples are not simply rows of features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pellucid.data.image_cache import Progress


@dataclass(frozen=True)
class Reading:
    """`text`: the one column that is read. `sequences`: the rows of a group are the steps of one example. `window`: so
    many rows of a series are one. `each_step`: of sequences, each step has a target. `task` "pairs": one column of text
    is to be written from another. `image_size`, `skip_bad`, `progress`: of folders of images; `image_shape`: of the
    images that a network was trained on. `stream`: whether examples stay on disk (None: where they are too many for the
    memory); `say`: whom to tell what is about to be done."""

    text: str | None = None
    sequences: bool = False
    window: int | None = None
    each_step: bool = False
    task: str | None = None
    image_size: Any = None
    skip_bad: bool = False
    image_shape: tuple[int, ...] | None = None
    progress: Progress | None = None
    stream: bool | None = None
    say: Callable[[str], None] | None = None
