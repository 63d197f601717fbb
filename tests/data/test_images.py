"""Folders of images against Pillow itself, with every kind of file that people have, and every kind of damage."""

import io
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from pellucid.data import prepare
from pellucid.data.image_cache import chosen
from pellucid.data.image_files import Form, decode
from pellucid.data.images import images_in, load_images, unlabelled
from pellucid.data.load import load
from pellucid.errors import DataError, SettingError

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "pellucid" / "images"


def picture(height=6, width=5, channels=3):
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, **options)
    return pixels


def folder_of(root, classes=("cat", "dog"), each=3, **form):
    return {f"{c}/{i}.png": save(root / c / f"{i}.png", picture(**form)) for c in classes for i in range(each)}


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_a_folder_of_class_folders(tmp_path, cache):
    told, made = [], folder_of(tmp_path, each=70)
    data = load_images(tmp_path, progress=lambda done, total: told.append((done, total)))
    names = sorted(made)
    np.testing.assert_array_equal(data.x, np.stack([made[name] for name in names]))
    assert data.y.tolist() == [name.split("/")[0] for name in names]
    assert told[-1] == (140, 140) and len(told) > 1
    assert data.x.dtype == np.uint8 and not data.notes


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 90}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_formats_decode_as_pillow_decodes_them(kind, options):
    data = encoded(Image.fromarray(picture(20, 30)), kind, **options)
    np.testing.assert_array_equal(decode(data, Form(20, 30, 3)), np.asarray(Image.open(io.BytesIO(data))))


def test_what_is_asked_once_is_kept_until_the_content_changes(tmp_path, cache, monkeypatch):
    made = folder_of(tmp_path)
    first = load_images(tmp_path)
    kept = list(cache.glob("*.npy"))
    assert len(kept) == 1

    def never(*_):
        raise AssertionError("decoded again")

    with monkeypatch.context() as m:
        m.setattr("pellucid.data.image_cache.decode_as", never)
        again = load_images(tmp_path)
        assert again.content == first.content
    pixels = made["cat/1.png"] ^ 255
    save(tmp_path / "cat/1.png", pixels)
    os.utime(tmp_path / "cat/1.png", ns=(1, 1))
    changed = load_images(tmp_path)
    assert changed.content != first.content
    np.testing.assert_array_equal(changed.x[1], pixels)


def test_the_key_is_the_content_not_the_place(tmp_path, cache):
    folder_of(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert load_images(tmp_path / "a").content == load_images(tmp_path / "b").content
    assert len(list(cache.glob("*.npy"))) == 1 and not list(cache.glob(".*.npy"))


def test_a_damaged_cache_is_made_anew(tmp_path, cache):
    folder_of(tmp_path)
    before = np.array(load_images(tmp_path).x)
    next(iter(cache.glob("*.npy"))).write_bytes(b"\x93NUMPY")
    np.testing.assert_array_equal(load_images(tmp_path).x, before)


def test_without_a_cache_memory_will_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    made = folder_of(tmp_path / "set")
    np.testing.assert_array_equal(load_images(tmp_path / "set").x, np.stack([made[n] for n in sorted(made)]))


def test_mixed_sizes_are_scaled_and_cut_by_rule(tmp_path):
    for i, (h, w) in enumerate([(10, 10), (20, 12), (14, 30), (10, 16)]):
        save(tmp_path / "ab"[i % 2] / f"{i}.png", picture(h, w))
    data = load_images(tmp_path)
    assert data.x.shape == (4, 11, 11, 3)  # the median of 10, 12, 14 and 10
    assert "images of 4 sizes" in data.notes[0] and "11 x 11" in data.notes[0]
    assert load_images(tmp_path, size=(8, 4)).x.shape == (4, 8, 4, 3)
    flat = np.full((20, 40, 3), 7, np.uint8)
    flat[:, :10] = flat[:, 30:] = 200  # what lies outside the middle square is cut off
    assert (decode(encoded(Image.fromarray(flat), "PNG"), Form(10, 10, 3))[:, 1:-1] == 7).all()


def test_a_late_image_of_another_size_is_met_too(tmp_path):
    """The form is guessed from 64 images; the one that differs is none of them."""
    for i in range(130):
        save(tmp_path / "ab"[i % 2] / f"{i:03}.png", picture(4, 4))
    save(tmp_path / "a" / "001x.png", picture(9, 9))
    data = load_images(tmp_path)
    assert data.x.shape == (131, 4, 4, 3) and "2 sizes" in data.notes[0]


def test_the_form_that_is_chosen():
    assert chosen({Form(5, 7, 1): 3}, None)[0] == (5, 7, 1)
    assert chosen({Form(5, 7, 1): 3, Form(5, 7, 3): 1}, None)[0] == (5, 7, 3)
    assert chosen({Form(500, 700, 3): 2, Form(300, 900, 3): 1}, None)[0] == (128, 128, 3)
    assert chosen({Form(5, 7, 3): 1}, (2, 3))[0] == (2, 3, 3)


def test_grey_and_colour(tmp_path):
    grey = save(tmp_path / "a/1.png", picture(channels=1))
    save(tmp_path / "b/1.png", picture(channels=1))
    assert load_images(tmp_path).x.shape == (2, 6, 5, 1)
    save(tmp_path / "b/2.png", picture())
    data = load_images(tmp_path)
    np.testing.assert_array_equal(data.x[0], np.repeat(grey, 3, axis=-1))
    assert data.notes == ("2 of 3 images are grey; all are taken as colour",)


def test_transparent_palette_sixteen_bits_and_turned():
    clear = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert (decode(encoded(clear, "PNG"), Form(2, 2, 3)) == 255).all()
    palette = Image.fromarray(picture()).convert("P")
    np.testing.assert_array_equal(decode(encoded(palette, "PNG"), Form(6, 5, 3)), np.asarray(palette.convert("RGB")))
    deep = Image.fromarray(np.array([[0, 65535], [257 * 7, 257 * 8]], np.uint16))
    assert decode(encoded(deep, "PNG"), Form(2, 2, 1))[..., 0].tolist() == [[0, 255], [7, 8]]
    upright = picture(3, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it right
    lying = encoded(Image.fromarray(upright), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(lying, Form(8, 3, 3)), np.rot90(upright, -1))


def test_parts_in_folders_of_their_own(tmp_path):
    sets = {part: folder_of(tmp_path / part, each=n) for part, n in [("train", 4), ("val", 2), ("test", 1)]}
    data = load(tmp_path)
    assert [len(d) for d in (data, data.validation, data.test)] == [8, 4, 2]
    np.testing.assert_array_equal(data.test.x[1], sets["test"]["dog/0.png"])
    prepared = prepare(data)
    assert [len(p.x) for p in (prepared.train, prepared.validation, prepared.test)] == [8, 4, 2]


def test_an_unreadable_image_is_named_or_left_out(tmp_path):
    folder_of(tmp_path)
    whole = (tmp_path / "dog/1.png").read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"no image"):
        (tmp_path / "dog/1.png").write_bytes(damage)
        with pytest.raises(DataError, match=r"cannot be read") as told:
            load_images(tmp_path)
        assert "dog" in str(told.value) and "--skip-bad" in str(told.value)
        data = load_images(tmp_path, skip_bad=True)
        assert data.y.tolist() == ["cat"] * 3 + ["dog"] * 2
        assert "1 image cannot be read and is left out: dog" in data.notes[0]


def test_a_folder_that_cannot_be_trained_on(tmp_path):
    save(tmp_path / "a/1.png", picture())
    with pytest.raises(DataError, match="one class only") as caught:
        load_images(tmp_path)
    assert "got:      a\n" in str(caught.value) and "add a folder for each further class" in str(caught.value)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="a class has no images") as caught:
        load_images(tmp_path)
    assert f"where:    {tmp_path / 'b'}" in str(caught.value) and "use --skip-bad" in str(caught.value)
    save(tmp_path / "c/1.png", picture())
    assert "class folders without images are left out: b" in load_images(tmp_path, skip_bad=True).notes
    save(tmp_path / "side/by.png", picture())
    with pytest.raises(DataError, match="no class folders") as caught:
        load_images(tmp_path / "side")
    assert "move the images of each class into a folder" in str(caught.value)
    with pytest.raises(SettingError, match="size of an image"):
        load_images(tmp_path, size=0)
    folder_of(tmp_path / "p" / "train")
    save(tmp_path / "p/test/cow/1.png", picture())
    with pytest.raises(DataError, match="a class that is not trained"):
        load_images(tmp_path / "p")


def test_images_to_be_predicted(tmp_path):
    made = folder_of(tmp_path, each=1)
    data = unlabelled(tmp_path, (6, 5, 3))
    assert [os.path.join(tmp_path, name) for name in data.names] == images_in(tmp_path)
    np.testing.assert_array_equal(data.x[0], made["cat/0.png"])
    one = unlabelled(tmp_path / "dog/0.png", (3, 3, 1))
    assert one.x.shape == (1, 3, 3, 1) and one.names == ("0.png",)
    with pytest.raises(DataError, match="not trained on images"):
        unlabelled(tmp_path, (4,))


def test_a_bad_image_among_those_to_be_predicted_is_named_without_the_option_that_is_not_there(tmp_path):
    folder_of(tmp_path, each=1)
    whole = (tmp_path / "cat/0.png").read_bytes()
    (tmp_path / "cat/0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="an image cannot be read") as caught:
        unlabelled(tmp_path, (6, 5, 3))
    text = str(caught.value)
    assert str(tmp_path / "cat/0.png") in text and "truncated" in text
    assert "mend or remove it" in text and "--skip-bad" not in text


@pytest.mark.parametrize(("given", "got"), [(np.array(["so", "on"], object), "text"), ({"a": [1], "b": [2]}, "a, b")])
def test_a_network_for_images_meets_something_else(tmp_path, given, got):
    folder_of(tmp_path, each=4)
    features = prepare(load(tmp_path)).features
    with pytest.raises(DataError) as caught:
        features.transform(given, "new.csv")
    text = str(caught.value)
    assert "the network was trained on images" in text and "an array of shape (rows, 6, 5, 3)" in text
    assert got in text and "a folder of images" in text and "new.csv" in text
