"""Augmentation: what each does to images, that draws differ from image to image, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import SettingError
from pellucid.train.augment import (
    Augmentation,
    Brightness,
    Crop,
    Cutout,
    Flip,
    Mixup,
    Rotate,
    Shift,
    augment,
    parse_augmentations,
)

IMAGES = np.random.default_rng(0).integers(1, 256, (16, 9, 12, 3)).astype("uint8")
KEY = jax.random.key(5)


compiled = partial(jax.jit, static_argnums=0)(augment)


def run(augmentation, x=IMAGES, key=KEY):
    return np.asarray(compiled((augmentation,), key, x)[0])


@pytest.mark.parametrize(
    "one", [Flip(), Crop(3), Crop(2, "reflect"), Shift(2), Rotate(30), Brightness(), Cutout(4), Mixup()]
)
def test_contract(one):
    x, mix = compiled((one,), KEY, IMAGES)
    again, _ = compiled((one,), KEY, IMAGES)
    other, _ = compiled((one,), jax.random.key(6), IMAGES)
    x, again, other = map(np.asarray, (x, again, other))
    np.testing.assert_array_equal(x, again)
    assert (x != other).any()
    assert x.shape == IMAGES.shape
    assert x.dtype == (jnp.float32 if isinstance(one, Rotate | Brightness | Mixup) else jnp.uint8)
    assert (mix is not None) == one.mixes
    assert float(x.min()) >= 0 and float(x.max()) <= 255
    assert (x != IMAGES).any()
    if not one.mixes:  # every image has a draw of its own
        same = run(one, np.repeat(IMAGES[:1], 16, 0))
        assert len(np.unique(same.reshape(16, -1), axis=0)) > 1
    assert Augmentation.of(one.to_json()) == one


def test_flip():
    np.testing.assert_array_equal(run(Flip(1.0)), IMAGES[:, :, ::-1])
    np.testing.assert_array_equal(run(Flip(1.0), run(Flip(1.0))), IMAGES)
    np.testing.assert_array_equal(run(Flip(0.0)), IMAGES)
    half = run(Flip(), np.tile(np.arange(2, dtype="uint8")[None, None, :, None], (2000, 1, 1, 1)))
    assert abs(half[:, 0, 0, 0].mean() - 0.5) < 0.05


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_crop_gives_pieces_of_the_padded_image(mode):
    wide = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="constant" if mode == "zero" else "reflect")
    out, seen = run(Crop(2, mode)), set()
    for image, source in zip(out, wide, strict=True):
        places = [(r, c) for r in range(5) for c in range(5) if (source[r : r + 9, c : c + 12] == image).all()]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 6
    np.testing.assert_array_equal(run(Crop(0)), IMAGES)


def test_shift_is_even_over_all_places():
    dot = np.zeros((4000, 5, 5, 1), "uint8")
    dot[:, 2, 2] = 1
    where = run(Shift(2), dot).mean((0, 3))  # every place with probability 1 / 25
    assert abs(where - 1 / 25).max() < 0.015


def test_rotation():
    x = np.zeros((64, 21, 21, 1), "float32")
    x[:, 10, 2:19] = 200  # a level bar
    out = run(Rotate(90), x)
    np.testing.assert_allclose(out[:, 10, 10], 200, rtol=1e-3)  # the centre stays
    np.testing.assert_allclose(
        out.sum((1, 2, 3)), x[0].sum(), rtol=0.15
    )  # nothing leaves; a thin bar falls between pixels
    down, right = np.mgrid[:21, :21] - 10
    spread = (out[..., 0] * right**2).sum((1, 2)), (out[..., 0] * down**2).sum((1, 2))
    angles = np.degrees(np.arctan2(np.sqrt(spread[1]), np.sqrt(spread[0])))
    assert angles.min() < 15 and angles.max() > 75
    np.testing.assert_array_equal(run(Rotate(0), x), x)
    small = run(Rotate(10), x)
    assert (small.argmax(1)[:, 5] != 10).mean() < 0.8 and (small[:, 14:] == 0).all()


def test_rotation_equals_scipys():
    from scipy.ndimage import map_coordinates

    from pellucid.train.augment import _between

    rng = np.random.default_rng(0)
    x, row, column = (
        rng.normal(size=(2, 7, 6, 1)).astype("float32"),
        rng.uniform(-2, 8, (2, 7, 6)),
        rng.uniform(-2, 7, (2, 7, 6)),
    )
    ours = jax.jit(_between)(x, row.astype("float32"), column.astype("float32"))
    for image, r, c, y in zip(x, row, column, ours, strict=True):
        expected = map_coordinates(np.pad(image[..., 0], 3), [r + 3, c + 3], order=1)
        np.testing.assert_allclose(y[..., 0], expected, rtol=1e-4, atol=1e-5)


def test_brightness_is_one_factor_an_image():
    x = np.full((500, 2, 3, 1), 100, "uint8")
    out = run(Brightness(0.3), x)
    assert (out == out[:, :1, :1]).all()
    assert 70 <= out.min() < 75 and 125 < out.max() <= 130
    assert run(Brightness(1.0), np.full((50, 2, 2, 1), 200, "uint8")).max() == 255  # held within bytes
    assert run(Brightness(1.0), np.full((50, 2, 2, 1), 200.0, "float32")).max() > 300


def test_cutout_blacks_one_square():
    black = (run(Cutout(4), np.repeat(IMAGES, 20, 0)) == 0).all(-1)  # no pixel is black before
    areas = black.sum((1, 2))
    assert areas.max() == 16 and areas.min() == 4  # in a corner, a quarter of it
    for mask in black:
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() == rows.sum() * columns.sum() and rows.sum() <= 4 and columns.sum() <= 4
    assert black.mean(0).min() > 0.02  # every place is hit


def test_mixup():
    x, mix = compiled((Mixup(0.4),), KEY, IMAGES)
    assert mix is not None
    partner, share = np.asarray(mix.partner), np.asarray(mix.share)
    assert sorted(partner) == list(range(16)) and (partner != np.arange(16)).all()
    assert ((share >= 0) & (share <= 1)).all() and len(set(share)) > 12
    beside = share[:, None, None, None]
    np.testing.assert_allclose(x, beside * IMAGES + (1 - beside) * IMAGES[partner], rtol=1e-5)
    alone, mix = compiled((Mixup(),), KEY, np.ones((1, 3)))
    assert mix is not None and int(mix.partner[0]) == 0 and alone.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_mixups_shares_follow_the_beta_distribution(alpha):
    _, mix = compiled((Mixup(alpha),), KEY, np.zeros((20_000, 1)))
    assert mix is not None
    assert abs(np.mean(mix.share) - 0.5) < 0.01
    assert abs(np.var(mix.share) - 1 / (4 * (2 * alpha + 1))) < 0.005


def test_several_in_a_row_and_grey_images_without_channels():
    x, mix = compiled(parse_augmentations("flip,crop:2,mixup"), KEY, IMAGES[..., 0])
    assert x.shape == IMAGES.shape[:3] and mix is not None
    unchanged, mix = augment((), KEY, IMAGES)
    assert unchanged is IMAGES and mix is None
    both = run(Flip(1.0)), np.asarray(compiled((Shift(0), Flip(1.0)), KEY, IMAGES)[0])
    np.testing.assert_array_equal(*both)


def test_parsing():
    text = "flip, crop:padding=3,mode=reflect,cutout:8,mixup:0.2"
    made = (Flip(), Crop(3, "reflect"), Cutout(8), Mixup(0.2))
    assert parse_augmentations(text) == made
    assert parse_augmentations(text.split(",")) == made
    assert parse_augmentations([one.to_json() for one in made]) == made
    assert parse_augmentations(made) == made and parse_augmentations(Flip()) == (Flip(),)
    assert parse_augmentations(None) == parse_augmentations("") == parse_augmentations("none") == ()


def test_refusals():
    with pytest.raises(SettingError, match="did you mean 'flip'"):
        parse_augmentations("flop")
    with pytest.raises(SettingError, match="once only"):
        parse_augmentations("mixup,mixup:0.3")
    with pytest.raises(SettingError, match="'flip' changes images"):
        augment((Flip(),), KEY, jnp.ones((3, 4)))
    with pytest.raises(SettingError, match="more is to be mirrored"):
        run(Crop(9, "reflect"))
    for wrong in ("flip:2", "crop:-1", "shift:-1", "rotate:200", "brightness:2", "cutout:0", "mixup:0"):
        with pytest.raises(SettingError):
            parse_augmentations(wrong)
