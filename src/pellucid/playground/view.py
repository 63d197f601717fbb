"""A `Play` as plain JSON values: what stays (`scene_json`) and what moves (`view`)."""

import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from pellucid.inspection.levels import packed
from pellucid.network.composite import walk
from pellucid.network.link import apply_link
from pellucid.playground.look import flow, responses
from pellucid.playground.structure import network_spec
from pellucid.train.evaluate import link_of

if TYPE_CHECKING:
    from pellucid.playground.play import Play

SIDES = ((16, 40), (48, 28), (96, 20))  # up to so many neurons, pictures of so many places on a side
OUTPUT_SIDE = 64
MOST_POINTS = 500  # of each part that are drawn
ROWS = 512  # by which the gradient is found
DIGITS = 4


# -- what stays -------------------------------------------------------------------------------------------------------


def scene_json(play: "Play") -> dict[str, Any]:
    """The points, the axes, the classes, the layers."""
    scene, prepared, targets = play.scene, play.session.prepared, play.targets
    train, validation = prepared.train, prepared.validation
    assert validation is not None
    values = np.concatenate([train.y, validation.y]).reshape(-1) if not targets.classes else np.zeros(1)
    parts = {
        name: _points(part, at, bool(targets.classes))
        for name, part, at in (("train", train, scene.at), ("validation", validation, scene.validation_at))
    }
    return {
        "task": targets.task, "classes": [str(c) for c in targets.classes], "target": targets.columns[0].name,
        "metric": play.metric, "axes": [{"name": a.name, "low": a.low, "high": a.high} for a in scene.axes],
        "features": list(prepared.features.names), "points": parts,
        "range": [float(values.min()), float(values.max())],
        "rows": {"train": len(train), "validation": len(validation)}, "side": side_of(play), "output_side": OUTPUT_SIDE,
        "parameters": play.session.network.parameters, "loss": play.session.settings.loss.name,
        "link": str(link_of(play.session.settings.loss)), "batch": play.loop.program.batch,
        "steps_per_epoch": play.loop.program.steps_per_epoch, "shareable": play.shareable,
        "note": "; ".join(filter(None, (scene.note, *play.session.notes))), "network": network_spec(play.choices),
        "pictures": _pictures(play), "images": len(prepared.features.shape) > 1 or play.choices.data == "digits",
        "stages": [{"path": path, "units": units} for path, units in dense(play)],
    }  # fmt: skip


def _pictures(play: "Play") -> list[str]:
    """Of each feature, its value over the plane; of digits none."""
    if play.choices.data == "digits":
        return []
    x = lattice(play, side_of(play)).astype(np.float64)
    middle, half = (x.max(0) + x.min(0)) / 2, np.maximum((x.max(0) - x.min(0)) / 2, 1e-12)
    return [packed(np.round(127.5 + 127.5 * column)) for column in ((x - middle) / half).T]


def _points(part: Any, at: np.ndarray, classes: bool) -> dict[str, Any]:
    """row: the place in the part, by which an example is chosen."""
    rows = np.arange(len(part))[:MOST_POINTS]
    at = at[part.rows[rows]]
    good = np.isfinite(at).all(1)
    y = part.y[rows][good].reshape(good.sum(), -1)[:, 0]
    return {
        "row": rows[good].tolist(), "x": short(at[good, 0]), "y": short(at[good, 1]),
        "value": y.astype(int).tolist() if classes else short(y),
    }  # fmt: skip


def dense(play: "Play") -> list[tuple[str, int]]:
    """The layers of neurons, in forward order, the output last: (path, units)."""
    shapes = {path: value.shape for path, value in play.loop.carry.params.items()}
    paths = [path for path, layer in walk(play.session.network.layer) if layer.name in ("dense", "output")]
    return [(path, shapes[f"{path}/w"][1]) for path in paths]


def bends(play: "Play") -> list[str]:
    """Of each hidden layer, the path of what leaves it: its activation."""
    return [f"{play.choices.activation(i)}{i + 1}" for i in range(len(play.choices.widths))]


def side_of(play: "Play") -> int:
    units = sum(play.choices.widths)
    return next(side for most, side in SIDES if units <= most)


def lattice(play: "Play", side: int) -> np.ndarray:
    """Places over the plane, row by row from the top left, as the network takes them in."""
    a, b = play.scene.axes
    across = a.low + (np.arange(side) + 0.5) / side * (a.high - a.low)
    down = b.high - (np.arange(side) + 0.5) / side * (b.high - b.low)
    places = np.stack([np.tile(across, side), np.repeat(down, side)], 1)
    return play.scene.encode(places, play.session.prepared.features)


# -- what moves -------------------------------------------------------------------------------------------------------


def view(play: "Play") -> dict[str, Any]:
    """All that is drawn of this moment."""
    loop, layer, scene = play.loop, play.session.network.layer, _kept(play)
    params, state = loop.carry.params, loop.carry.state
    few = side_of(play) ** 2
    outputs, found = responses(layer, tuple(bends(play)), few, params, state, scene["places"])
    wide, seen = np.split(np.asarray(outputs)[few:], [OUTPUT_SIDE**2])
    by_weight, by_unit = gradients(play)
    layers = []
    for i, (path, units) in enumerate(dense(play)):
        w = np.asarray(params[f"{path}/w"])
        one: dict[str, Any] = {
            "path": path, "units": units, "inputs": w.shape[0], "w": short(w), "b": short(params[f"{path}/b"]),
            "gw": short(by_weight[f"{path}/w"]), "gb": short(by_weight[f"{path}/b"]), "delta": short(by_unit[path]),
            "flow": number(np.sqrt(np.mean(np.square(by_unit[path], dtype=np.float64)))),
        }  # fmt: skip
        if i < len(play.choices.widths):
            levels, scale = found[bends(play)[i]]
            one |= {"picture": packed(levels), "scale": short(scale)}
        layers.append(one)
    train, validation = play.scores
    return {
        "step": loop.step, "epoch": loop.epoch + (loop.step - loop.epoch_start) / loop.program.steps_per_epoch,
        "stopped": loop.stopped, "layers": layers, "output": decided(play, wide),
        "answers": _answers(play, seen),
        "scores": {
            "train": {"loss": number(train.loss), "metric": number(train.metric)},
            "validation": {"loss": number(validation.loss), "metric": number(validation.metric)},
        },
        "curves": {name: short(np.array(values), 5) for name, values in play.notes.curves.items()},
    }  # fmt: skip


def gradients(play: "Play") -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(by each weight, the root mean square of dL/dz by each unit of each layer of neurons)."""
    carry, kept = play.loop.carry, _kept(play)
    found = flow(
        play.session.network.layer, play.session.settings.loss.scored(), tuple(dense(play)), carry.params, carry.state,
        kept["x"], kept["y"],
    )  # fmt: skip
    return tuple({path: np.asarray(v) for path, v in part.items()} for part in found)  # type: ignore[return-value]


def _kept(play: "Play") -> dict[str, Any]:
    """What is looked at, on the device: made once."""
    if "kept" not in play.__dict__:
        prepared = play.session.prepared
        train, validation = prepared.train, prepared.validation
        assert validation is not None
        points = np.concatenate([part.x[:MOST_POINTS] for part in (train, validation)])
        filler = np.zeros((2 * MOST_POINTS - len(points), *points.shape[1:]), points.dtype)  # one shape for all sets
        places = [lattice(play, side_of(play)), lattice(play, OUTPUT_SIDE), points, filler]  # in one pass
        play.__dict__["kept"] = {
            "places": jnp.asarray(np.concatenate(places)),
            "x": jnp.asarray(train.x[:ROWS]), "y": jnp.asarray(train.y[:ROWS]),
        }  # fmt: skip
    return play.__dict__["kept"]


def decided(play: "Play", outputs: np.ndarray) -> dict[str, Any]:
    """The network's answer at each place [m]: of two classes how sure it is of the second, of more the likeliest class
    and how sure it is of that, of a number the number, within the targets' range; bytes."""
    share, place = _decision(play, outputs)
    found = {"level": packed(np.round(255 * share))}
    return found if place is None else {**found, "class": packed(place)}


def _decision(play: "Play", outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    outputs = np.nan_to_num(outputs.astype(np.float64), nan=0.0, posinf=1e30, neginf=-1e30)
    classes = len(play.targets.classes)
    if not classes:
        low, high = _range(play)
        return np.clip((outputs.reshape(-1) - low) / ((high - low) or 1.0), 0, 1), None
    link = link_of(play.session.settings.loss)
    p = np.asarray(apply_link(link, jnp.asarray(outputs, jnp.float32)), np.float64)
    if classes == 2:
        share = np.clip(0.5 + (p[:, 1] - p[:, 0]) / 2, 0, 1)  # softmax: p of the second class
        return share, None
    place = p.argmax(1)
    return np.clip(p[np.arange(len(p)), place], 0, 1), place


def _range(play: "Play") -> tuple[float, float]:
    parts = play.session.prepared
    assert parts.validation is not None
    values = np.concatenate([parts.train.y, parts.validation.y])
    return float(values.min()), float(values.max())


def _answers(play: "Play", outputs: np.ndarray) -> str:
    """What is answered at each point that is drawn, the training rows first: the class, or the level of the number."""
    parts = play.session.prepared
    assert parts.validation is not None
    known = min(len(parts.train), MOST_POINTS) + min(len(parts.validation), MOST_POINTS)
    share, place = _decision(play, outputs[:known])
    if place is None:
        place = share > 0.5 if play.targets.classes else np.round(255 * share)
    return packed(place)


# -- numbers as they travel -------------------------------------------------------------------------------------------


def number(value: Any) -> float | None:
    value = float(value)
    return float(f"{value:.5g}") if math.isfinite(value) else None


def short(values: Any, digits: int = DIGITS) -> list[float | None]:
    """Row by row, to so many digits; None where it is not finite.

    >>> short(np.array([[1.23456, -0.000123456], [np.nan, 1000000.0]]))
    [1.235, -0.0001235, None, 1000000.0]
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    known = np.isfinite(flat) & (flat != 0)
    power = np.zeros_like(flat)
    power[known] = digits - 1 - np.floor(np.log10(np.abs(flat[known])))
    ten = 10.0 ** np.clip(power, -300, 300)
    with np.errstate(all="ignore"):
        rounded = np.where(known, np.round(flat * ten) / ten, flat)
    return [v if good else None for v, good in zip(rounded.tolist(), np.isfinite(flat).tolist(), strict=True)]
