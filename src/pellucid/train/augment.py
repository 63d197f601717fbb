"""Augmentation: training images changed at random, each time anew, within the compiled step. The contract:

    @register
    class Flip(Augmentation):
        def apply(self, key, x): ...     # images [batch, height, width, channels] -> the same shape, pure in `key`

Each image has a draw of its own. Images of whole numbers 0 to 255 stay so as long as they are only moved; what computes
with them gives float32 on the same scale, which the network's Input takes as it is. Validation and test images are
never touched. Shorten & Khoshgoftaar 2019 is a survey.
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from pellucid.errors import SettingError
from pellucid.network.draw import cheap_uniform
from pellucid.spec import Spec, register

STREAM = 0x61756730  # keeps these draws apart from those of layers, which fold the same key by their paths


class Mix(NamedTuple):
    """Which rows were mixed: row i is share[i] of itself and the rest of row partner[i], and so is its loss."""

    partner: jax.Array  # [batch] int32
    share: jax.Array  # [batch] float32, 0 to 1


class Augmentation(Spec, family="augmentation"):
    """Contract: `apply(key, x)`, as above; one that mixes rows sets `mixes` and gives (x, Mix)."""

    mixes: ClassVar[bool] = False

    def apply(self, key: jax.Array, x: jax.Array) -> Any:
        raise NotImplementedError  # abstract


def augment(augmentations: tuple[Augmentation, ...], key: jax.Array, x: Any) -> tuple[Any, Mix | None]:
    """A batch through all of them, in order: (x, how rows were mixed or None). The same key gives the same images."""
    mix, grey = None, getattr(x, "ndim", 0) == 3 and x.dtype == jnp.uint8  # images without an axis of channels
    x = x[..., None] if grey else x
    for number, augmentation in enumerate(augmentations):
        own = jax.random.fold_in(key, STREAM + number)
        if augmentation.mixes:
            x, mix = augmentation.apply(own, x)
        else:
            require_images(augmentation.name, x)
            x = augmentation.apply(own, x)
    return x[..., 0] if grey else x, mix


def require_images(name: str, x: Any) -> None:
    """A `SettingError` unless x is a batch of images."""
    if len(getattr(x, "shape", ())) != 4:
        raise SettingError(
            f"the augmentation {name!r} changes images", where="--augment",
            expected="data of shape [height, width, channels]", got=f"shape {list(getattr(x, 'shape', ()))[1:]}",
            fix="leave it out",
        )  # fmt: skip


def parse_augmentations(value: Any) -> tuple[Augmentation, ...]:
    """From "flip,crop:4,mixup:0.2", a list of such texts, specs or their JSON, or None.

    >>> parse_augmentations("flip,crop:padding=4,mode=reflect,cutout:8")
    (Flip(probability=0.5), Crop(padding=4, mode='reflect'), Cutout(size=8))
    """
    items = [] if value is None or value == "none" else value
    items = [items] if isinstance(items, str | dict | Augmentation) or not isinstance(items, Iterable) else items
    found = tuple(Augmentation.of(item) for item in _parts(items))
    if sum(item.mixes for item in found) > 1:
        raise SettingError("rows can be mixed once only", where="--augment", got=", ".join(f.name for f in found))
    return found


def _parts(items: Iterable[Any]) -> list[Any]:
    """Texts cut at commas, but for those before a setting: `mode=reflect` belongs to the `crop` that it follows."""
    parts: list[Any] = []
    for item in items:
        for part in [p.strip() for p in item.split(",") if p.strip()] if isinstance(item, str) else [item]:
            if parts and isinstance(part, str) and isinstance(parts[-1], str) and "=" in part.partition(":")[0]:
                parts[-1] += f",{part}"
            else:
                parts.append(part)
    return parts


def _each(draws: jax.Array) -> jax.Array:
    """[batch] -> [batch, 1, 1, 1], beside images."""
    return draws[:, None, None, None]


def _select(condition: Any, a: Any, b: Any) -> jax.Array:
    return cast(jax.Array, jnp.where(condition, a, b))


def _from(uniform: jax.Array, count: int) -> jax.Array:
    """Whole numbers 0 ... count - 1 from numbers in [0, 1)."""
    return jnp.minimum(jnp.floor(uniform * count).astype(jnp.int32), count - 1)  # the product may round up


def _moved(x: jax.Array, key: jax.Array, by: int, mode: str) -> jax.Array:
    """Each image moved by up to `by` places on each axis, out of a wider one."""
    b, h, w, c = x.shape
    wide = jnp.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode="reflect" if mode == "reflect" else "constant")
    corners = _from(cheap_uniform(key, (b, 2)), 2 * by + 1)

    def cut(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (h, w, c))

    return jax.vmap(cut)(wide, corners)


@register
class Flip(Augmentation):
    """Left and right exchanged, with this probability. Not for digits and letters.

    >>> x = jnp.array([1, 2, 3], "uint8").reshape(1, 1, 3, 1)
    >>> Flip(1.0).apply(jax.random.key(0), x).ravel().tolist()
    [3, 2, 1]
    """

    probability: float = 0.5

    def check(self):
        if not 0 <= self.probability <= 1:
            self.refuse("probability", "a number from 0 to 1")

    def apply(self, key, x):
        return _select(_each(cheap_uniform(key, x.shape[:1]) < self.probability), x[:, :, ::-1], x)


@register
class Crop(Augmentation):
    """A piece of the image's own size, out of the image with `padding` places added on every side.

    mode: what is added, "zero" (black) or "reflect" (the image mirrored at its border). He et al. 2016.
    """

    padding: int = 4
    mode: Literal["zero", "reflect"] = "zero"

    def check(self):
        if self.padding < 0:
            self.refuse("padding", "a whole number >= 0")

    def apply(self, key, x):
        if self.mode == "reflect" and self.padding >= min(x.shape[1:3]):
            raise SettingError(
                "more is to be mirrored than there is", where=f"--augment crop:{self.padding}",
                expected=f"padding below {min(x.shape[1:3])} for images of {x.shape[1]} x {x.shape[2]}",
                got=self.padding,
            )  # fmt: skip
        return _moved(x, key, self.padding, self.mode)


@register
class Shift(Augmentation):
    """Moved by up to `pixels` places along each axis; what comes in is black."""

    pixels: int = 2

    def check(self):
        if self.pixels < 0:
            self.refuse("pixels", "a whole number >= 0")

    def apply(self, key, x):
        return _moved(x, key, self.pixels, "zero")


@register
class Rotate(Augmentation):
    """Turned about the centre by up to `degrees` either way, between pixels by bilinear interpolation; corners that
    come in are black. Gives float32."""

    degrees: float = 10.0

    def check(self):
        if not 0 <= self.degrees <= 180:
            self.refuse("degrees", "a number from 0 to 180")

    def apply(self, key, x):
        b, h, w, _ = x.shape
        angle = (2 * cheap_uniform(key, (b, 1, 1)) - 1) * math.radians(self.degrees)
        down = jnp.arange(h, dtype=jnp.float32)[:, None] - (h - 1) / 2
        right = jnp.arange(w, dtype=jnp.float32) - (w - 1) / 2
        row = jnp.cos(angle) * down + jnp.sin(angle) * right + (h - 1) / 2  # -> [batch, h, w]: where it comes from
        column = jnp.cos(angle) * right - jnp.sin(angle) * down + (w - 1) / 2
        return _between(x.astype(jnp.float32), row, column)


def _between(x: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
    """x at places [batch, h, w] between pixels; 0 outside."""
    b, h, w, _ = x.shape
    image = jnp.arange(b)[:, None, None]
    top, left = jnp.floor(row), jnp.floor(column)
    below, beside = row - top, column - left  # shares of the next pixel
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)

    def at(r: jax.Array, c: jax.Array, share: jax.Array) -> jax.Array:
        inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
        found = x.at[image, jnp.clip(r, 0, h - 1), jnp.clip(c, 0, w - 1)].get(mode="promise_in_bounds")
        return found * _select(inside, share, 0.0)[..., None]

    upper = at(top, left, (1 - below) * (1 - beside)) + at(top, left + 1, (1 - below) * beside)
    return upper + at(top + 1, left, below * (1 - beside)) + at(top + 1, left + 1, below * beside)


@register
class Brightness(Augmentation):
    """Every pixel times a number from 1 - amount to 1 + amount, one for each image. Images of whole numbers are held
    within 0 and 255. Gives float32."""

    amount: float = 0.2

    def check(self):
        if not 0 <= self.amount <= 1:
            self.refuse("amount", "a number from 0 to 1")

    def apply(self, key, x):
        factor = 1 + self.amount * (2 * cheap_uniform(key, x.shape[:1]) - 1)
        y = x.astype(jnp.float32) * _each(factor)
        return y if jnp.issubdtype(x.dtype, jnp.floating) else jnp.clip(y, 0.0, 255.0)


@register
class Cutout(Augmentation):
    """A black square of `size` pixels around a random place, the part of it that lies outside cut off.
    DeVries & Taylor 2017."""

    size: int = 8

    def check(self):
        if self.size < 1:
            self.refuse("size", "a whole number >= 1")

    def apply(self, key, x):
        b, h, w, _ = x.shape
        centre = cheap_uniform(key, (2, b))
        rows, columns = self._within(_from(centre[0], h), h), self._within(_from(centre[1], w), w)
        return _select((rows[:, :, None] & columns[:, None, :])[..., None], jnp.zeros((), x.dtype), x)

    def _within(self, centre: jax.Array, length: int) -> jax.Array:
        """[batch] -> [batch, length]: the places of the square on one axis."""
        at = jnp.arange(length) - (centre[:, None] - self.size // 2)
        return (at >= 0) & (at < self.size)


@register
class Mixup(Augmentation):
    """Each row is mixed with another of its batch, share ~ Beta(alpha, alpha), and so are their losses:

        x = share * x + (1 - share) * x[partner],    loss = share * loss(y) + (1 - share) * loss(y[partner])

    It works on rows of any shape, and gives float32. Zhang et al. 2018.
    """

    mixes: ClassVar[bool] = True

    alpha: float = 0.2

    def check(self):
        if self.alpha <= 0:
            self.refuse("alpha", "a number > 0")

    def apply(self, key, x):
        if not hasattr(x, "shape"):
            raise SettingError("mixup mixes single arrays", where="--augment mixup", fix="leave it out")
        batch, draws = x.shape[0], cheap_uniform(key, (x.shape[0] + 1,))
        turn = 1 + _from(draws[batch], max(batch - 1, 1))  # batches are shuffled, so that any turn pairs at random
        partner = (jnp.arange(batch, dtype=jnp.int32) + turn) % batch
        table = jnp.asarray(_beta_quantiles(self.alpha))
        share = table.at[_from(draws[:batch], table.shape[0])].get(mode="promise_in_bounds")
        beside = share.reshape(-1, *(1,) * (x.ndim - 1))
        x = x.astype(jnp.float32)
        return beside * x + (1 - beside) * x.at[partner].get(mode="promise_in_bounds"), Mix(partner, share)


@lru_cache(maxsize=16)
def _beta_quantiles(alpha: float) -> np.ndarray:
    """Beta(alpha, alpha) as 4,096 values of equal probability: its sampler takes longer to compile than a network."""
    from scipy.special import betaincinv  # a part of JAX's own requirements

    return betaincinv(alpha, alpha, (np.arange(4096) + 0.5) / 4096).astype(np.float32)
