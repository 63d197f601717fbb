"""A run as it was after an epoch: weights, decision boundary, mistakes, and what left each layer, as plain JSON values.

    moment(RunDir("runs/20260101-120000-digits"), 12)
    layers(RunDir(...), 12, sample=3)

Read from the run's `history/` alone: the weights of that epoch, and the examples that the run kept.
"""

import re
from typing import Any

import numpy as np

from pellucid import files
from pellucid.data import Features
from pellucid.data.parts import strided
from pellucid.history import epoch_path, kept_epochs, read_samples
from pellucid.inspection.answers import answers, mistakes, one_answer, sorted_out
from pellucid.inspection.levels import MOST_COLUMNS, MOST_ROWS, bounds, folded, levels, shrunk
from pellucid.inspection.picture import as_bytes, data_url, is_image
from pellucid.network.network import Network
from pellucid.network.outputs import layer_outputs
from pellucid.network.storage import load, weights
from pellucid.network.trace import trace
from pellucid.rundir import RunDir

SAMPLES = 12  # examples to choose from
PICTURES = 32  # of one layer's units
MATRICES = 12  # weights that are shown
SIDE = 64  # pixels of a picture
GRID = 64  # points of a decision boundary along each side


def moment(place: RunDir, epoch: int) -> dict[str, Any]:
    """What the run was like after `epoch` (0: before it learned anything).

    {"epoch", "kept": epochs there are, "first": pictures of the first layer's units or None, "weights": each matrix,
    "score", "mistakes": on the kept examples, "boundary": of data with two features (one: a curve), "samples"}.
    Raises `RunError` where that epoch, or the examples, were not kept.
    """
    network = at(place, epoch)
    x, y, rows = read_samples(place.history)
    shape = picture_shape(network.features, x.shape[1:])
    found = answers(network, x, y)
    chosen = shown_samples(len(x))
    return files.finite(
        {
            "epoch": epoch, "kept": kept_epochs(place.history), "count": len(x), "first": first_layer(network, shape),
            "weights": matrices(network), **sorted_out(found),
            "mistakes": [
                {**one, "row": int(rows[i]), **subject(network, x[i], shape)} for i, one in mistakes(network, found, x)
            ],
            "boundary": boundary(network, x, y),
            "samples": [
                {"sample": i, "row": int(rows[i]), "truth": found.truth(i), **subject(network, x[i], shape)}
                for i in chosen
            ],
        }
    )  # fmt: skip


def layers(place: RunDir, epoch: int, sample: int) -> dict[str, Any]:
    """What leaves each layer for one of the kept examples, in forward order, and what the network answers."""
    network = at(place, epoch)
    x, y, rows = read_samples(place.history)
    i = min(sample, len(x) - 1)
    _, found = layer_outputs(network, x[i : i + 1])
    kinds = {leaf.path: leaf.layer.name for leaf in trace(network.layer, network.example()).leaves}
    shown = []
    for path, value in found.items():
        if np.issubdtype(value.dtype, np.floating):
            low, high = bounds(value)
            shown.append(
                {
                    "path": path, "kind": kinds.get(path, ""), "shape": list(value.shape[1:]), "low": low,
                    "high": high, "zero": round(float((value == 0).mean()), 4),
                    "pictures": [levels(m, low, high) for m in maps(value[0])],
                }
            )  # fmt: skip
    shape = picture_shape(network.features, x.shape[1:])
    answer = one_answer(answers(network, x[i : i + 1], y[i : i + 1]))
    return files.finite(
        {
            "epoch": epoch, "sample": i, "row": int(rows[i]), **subject(network, x[i], shape), "layers": shown,
            "answer": answer,
        }
    )  # fmt: skip


def at(place: RunDir, epoch: int) -> Network:
    """The network with the weights that it had after `epoch`."""
    return load(place.path, Network, weights=epoch_path(place.history, epoch))


def shown_samples(count: int) -> list[int]:
    return strided(count, SAMPLES).tolist()


# -- examples -------------------------------------------------------------------------------------------------------


def picture_shape(features: Features | None, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """As what picture an example can be shown: its own shape, or that of columns named pixel_ROW_COLUMN.

    >>> picture_shape(None, (28, 28)), picture_shape(None, (4,))
    ((28, 28), None)
    """
    if is_image(shape):
        return shape
    names = features.names if features is not None else ()
    places = [re.fullmatch(r"pixel_(\d+)_(\d+)", str(name)) for name in names]
    if len(shape) == 1 and len(places) == shape[0] and all(places):
        grid = [(int(m[1]), int(m[2])) for m in places if m]
        height, width = grid[-1][0] + 1, grid[-1][1] + 1
        if grid == [(r, c) for r in range(height) for c in range(width)]:
            return height, width
    return None


def subject(network: Network, x: np.ndarray, shape: tuple[int, ...] | None) -> dict[str, Any]:
    """An example for a person: {"picture"}, {"text"}, or {"values": [[name, value], ...]}."""
    features = network.features
    if shape is not None:
        pixels = x.reshape(shape)
        every = max(1, -(-max(shape[:2]) // SIDE))
        pixels = pixels[::every, ::every]
        return {"picture": data_url(pixels if pixels.dtype == np.uint8 else as_bytes(pixels))}
    tokenizer = getattr(features.encoder, "tokenizer", None) if features is not None else None
    if tokenizer is not None and x.dtype.kind in "iu":
        return {"text": tokenizer.decode(x.reshape(-1)[:120].tolist())}
    if x.ndim == 1:
        names = features.names if features is not None and len(features.names) == len(x) else range(1, len(x) + 1)
        pairs = zip(names, x.tolist(), strict=True)
        return {"values": [[str(name), float(f"{v:.4g}")] for name, v in list(pairs)[:6]]}
    low, high = bounds(x)
    flat = x.reshape(len(x), -1).T if x.ndim > 1 else x[None]
    return {"series": levels(shrunk(flat), low, high)}


# -- weights --------------------------------------------------------------------------------------------------------


def first_layer(network: Network, shape: tuple[int, ...] | None) -> dict[str, Any] | None:
    """What each unit of the first layer looks for, as pictures on one two-sided scale: filters of a convolution on
    images, or the weights of a dense layer laid out as its image. None where there are no pictures."""
    arrays = weights(network)
    for leaf in trace(network.layer, network.example()).leaves:
        w = arrays.get(f"{leaf.path}/w")
        if w is None:
            continue
        if w.ndim == 4 and w.shape[2] in (1, 3) and max(w.shape[:2]) > 1:  # [height, width, channels, filters]
            pictures = w.mean(axis=2).transpose(2, 0, 1)
        elif w.ndim == 2 and shape is not None and w.shape[0] == np.prod(shape):
            pictures = w.T.reshape(-1, *shape)
            pictures = pictures.mean(axis=3) if pictures.ndim == 4 else pictures
        else:
            return None
        _, high = bounds(pictures)
        shown = [levels(shrunk(p, SIDE, SIDE), -high, high) for p in pictures[:PICTURES]]
        return {"path": f"{leaf.path}/w", "high": high, "count": len(pictures), "pictures": shown}
    return None


def matrices(network: Network) -> list[dict[str, Any]]:
    """Each weight of two axes or more as a matrix, what comes in down and the units across, the last axis."""
    arrays = weights(network)
    found = []
    for path, param in trace(network.layer, network.example()).declared.items():
        w = arrays[path]
        if param.trained and w.ndim >= 2 and w.size > 1:
            flat = w.reshape(-1, w.shape[-1])
            _, high = bounds(flat)
            with np.errstate(over="ignore", invalid="ignore"):
                rms = float(np.sqrt(np.square(flat, dtype=np.float64).mean()))
            found.append(
                {"path": path, "shape": list(w.shape), "high": high, "rms": rms, **levels(shrunk(flat), -high, high)}
            )
    return found[:MATRICES]


def maps(value: np.ndarray) -> list[np.ndarray]:
    """What leaves a layer, as matrices: [n] folded; [steps, n] with the steps across; [h, w, channels] a map each."""
    if value.ndim == 3 and value.shape[2] > 1:
        every = max(1, -(-max(value.shape[:2]) // (SIDE // 2)))
        return [value[::every, ::every, c] for c in range(min(value.shape[2], PICTURES // 2))]
    if value.ndim == 3:
        return [shrunk(value[:, :, 0], SIDE, SIDE)]
    if value.ndim == 2 and is_image(value.shape):
        return [shrunk(value, SIDE, SIDE)]
    if value.ndim == 2:
        return [shrunk(value.T)]
    return [folded(np.asarray(value, np.float64).reshape(-1)[: MOST_ROWS * MOST_COLUMNS])]


# -- the decision boundary ------------------------------------------------------------------------------------------


def boundary(network: Network, x: np.ndarray, y: np.ndarray) -> dict[str, Any] | None:
    """What the network answers over the plane of two features, or along one; None for other data.

    Two: {"low": [2], "high": [2], "best" and "sure" (or "value") as levels, "points": [[x1, x2, truth, wrong], ...]};
    one: {"x": [...], "y": [[...] for each output], "points": [[x, y], ...]}.
    """
    if x.ndim != 2 or x.shape[1] not in (1, 2) or x.dtype.kind != "f" or y.ndim > 2:
        return None
    low, high = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
    room = np.where(high > low, 0.08 * (high - low), 1.0)
    low, high = low - room, high + room
    names = [str(n) for n in network.features.names] if network.features is not None else []
    found = answers(network, x, y)
    if x.shape[1] == 1:
        line = np.linspace(low, high, 4 * GRID).astype(x.dtype)
        along = answers(network, line, None)
        values = along.chances if along.chances is not None else along.values
        return {
            "kind": "curve", "names": names, "classes": along.labels, "x": line[:, 0].tolist(),
            "y": np.asarray(values, np.float64).T.tolist(),
            "points": list(zip(x[:, 0].tolist(), found.plain_truth(), strict=True)),
        }  # fmt: skip
    across = np.linspace(low[0], high[0], GRID)
    down = np.linspace(high[1], low[1], GRID)  # the top row first
    plane = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2).astype(x.dtype)
    over = answers(network, plane, None)
    out: dict[str, Any] = {"kind": "plane", "low": low.tolist(), "high": high.tolist(), "names": names}
    if over.chances is not None:
        best = over.chances.max(1)
        least = 1 / over.chances.shape[1]
        out |= {
            "classes": over.labels,
            "best": levels(over.chances.argmax(1).reshape(GRID, GRID), 0, 255),
            "sure": levels(best.reshape(GRID, GRID), least, 1.0),
        }
    else:
        values = over.values[:, 0].reshape(GRID, GRID)
        low_, high_ = float(np.nanmin(values)), float(np.nanmax(values))
        out |= {"value": levels(values, low_, high_), "range": [low_, high_]}
    wrong = found.wrong()
    out["points"] = [[*map(float, p), t, bool(w)] for p, t, w in zip(x, found.plain_truth(), wrong, strict=True)]
    return out
