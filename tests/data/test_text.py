import gzip
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.data import Dataset, Features, Targets, encode, load, prepare
from pellucid.data.split import LARGEST
from pellucid.errors import DataError, SettingError

BOOK = "".join(f"{i} men went to mow, went to mow a meadow.\n" for i in range(200))
GOOD, BAD = ("a very good film", "truly great and good"), ("a very bad film", "truly awful and bad")


def problem(call, *args, **kwargs):
    with pytest.raises((DataError, SettingError)) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def saved(p):
    """The features and targets as they are read from a network's file."""
    f = Features.from_json(json.loads(json.dumps(p.features.to_json())))
    t = Targets.from_json(json.loads(json.dumps(p.targets.to_json())))
    assert f.to_json() == p.features.to_json() and t == p.targets
    return f, t


# -- language models ----------------------------------------------------------------------------------------------


@given(st.text("abcdefgh \n", min_size=120, max_size=400), st.integers(1, 5))
def test_windows_lie_side_by_side(text, context):
    p = prepare(Dataset(text, task="language"), context=context, split=(0.7, 0.2, 0.1))
    place = {c: i for i, c in enumerate(sorted(set(text)))}
    last = len(text) - round(len(text) * 0.1)
    first = last - round(len(text) * 0.2)
    for part, piece in ((p.train, text[:first]), (p.validation, text[first:last]), (p.test, text[last:])):
        ids = [place[c] for c in piece]
        assert part is not None and part.x.shape == part.y.shape == ((len(ids) - 1) // context, context)
        for i, (x, y) in enumerate(zip(part.x, part.y, strict=True)):
            start = i * context
            assert x.tolist() == ids[start : start + context]
            assert y.tolist() == ids[start + 1 : start + context + 1]


def test_a_text_is_windows_of_one_array(tmp_path):
    (tmp_path / "book.txt").write_text(BOOK)
    data = load(tmp_path / "book.txt")
    assert repr(data) == f"Dataset(book: 1 text of {len(BOOK):,} characters)"
    p = prepare(data)
    assert p.train.x.shape[1] == 64 and p.train.x.dtype == np.uint8
    assert np.shares_memory(p.train.x, p.train.y) and p.train.x.base is p.train.y.base
    assert p.test is not None and len(p.test.x) == (round(len(BOOK) * 0.05) - 1) // 64
    assert any("split in order: train 0.9, validation 0.05, test 0.05" in note for note in p.notes)
    f, t = p.features, p.targets
    assert (f.shape, f.dtype, f.vocabulary, f.padded, f.source_steps) == ((64,), "uint8", len(set(BOOK)), False, None)
    assert (t.task, t.loss, t.metric, t.width, t.each_step, t.classes) == (
        "language", "cross_entropy", "loss", len(set(BOOK)), True, (),
    )  # fmt: skip
    assert p.train.characters == 1.0 and p.fingerprint == data.fingerprint()


def test_no_more_is_held_back_than_a_score_needs():
    text = "ab" * (LARGEST * 20)
    p = prepare(Dataset(text, task="language"), context=1)
    assert p.validation is not None and len(p.validation) == LARGEST - 1
    q = prepare(Dataset(text, task="language"), context=1, split=(0.5, 0.5, 0))
    assert q.validation is not None and len(q.validation) == LARGEST * 20 - 1 and q.test is None


def test_many_tokens_take_the_smallest_type_that_holds_them():
    text = "".join(chr(200 + i) for i in range(300)) * 9
    p = prepare(Dataset(text, task="language"), context=4)
    assert (p.train.x.dtype, p.train.y.dtype, p.features.dtype) == (np.uint16, np.uint16, "uint16")
    assert prepare(Dataset(text[:2000:300] * 300, task="language")).features.dtype == "uint8"


@pytest.mark.parametrize("tokens", ["characters", "words", "bpe:300"])
def test_what_was_saved_encodes_the_same(tokens):
    data = Dataset(BOOK, task="language")
    p = prepare(data, context=8, tokens=tokens)
    f, t = saved(p)
    again = prepare(data, features=f, targets=t)
    np.testing.assert_array_equal(again.train.y, p.train.y)
    assert again.features is f and again.validation is not None and p.validation is not None
    np.testing.assert_array_equal(again.validation.x, p.validation.x)
    part = encode(Dataset(BOOK[:500], task="language"), f, t)
    assert part.x.shape[1] == 8 and part.x.dtype == p.train.x.dtype
    assert part.characters == pytest.approx(500 / len(f.encoder.tokenizer.encode(BOOK[:500])))
    assert prepare(data, features=f, context=16).train.x.shape[1] == 16, "a new context is heeded"
    np.testing.assert_array_equal(f.transform(BOOK[:500])[: len(part.x)], part.x)
    assert f.transform(["3 men"]).shape == (1, len(f.encoder.tokenizer.encode("3 men")))


def test_byte_pairs_come_from_the_training_part_and_characters_from_all():
    text = "aaab " * 160 + "zzzz " * 50
    p = prepare(Dataset(text, task="language"), tokens="bpe:300", context=4, split=(0.76, 0.24, 0))
    names = p.features.encoder.tokenizer.names
    assert not any("zz" in name for name in names) and any("aa" in name for name in names)
    assert p.train.characters > 1.5 and p.validation is not None and p.validation.characters < 1.1
    q = prepare(Dataset(text, task="language"), context=4)
    assert q.features.encoder.tokenizer.characters == " abz"


def test_a_texts_own_parts(tmp_path):
    for name, text in (("book", BOOK), ("later", BOOK[:300]), ("last", "Zebra " * 50)):
        (tmp_path / f"{name}.txt").write_text(text)
    paths = {part: tmp_path / f"{name}.txt" for part, name in (("validation", "later"), ("test", "last"))}
    p = prepare(load(tmp_path / "book.txt", **paths), context=10)
    assert p.validation is not None and p.test is not None
    assert [len(x.x) for x in (p.train, p.validation, p.test)] == [
        (len(t) - 1) // 10 for t in (BOOK, "a" * 300, "a" * 300)
    ]
    assert "Z" in p.features.encoder.tokenizer.characters
    one = prepare(load(tmp_path / "book.txt", test=tmp_path / "last.txt"), context=10)
    assert len(one.train.x) == (len(BOOK) - round(len(BOOK) * 0.05 / 0.95) - 1) // 10


def test_files_of_text(tmp_path):
    (tmp_path / "a.md").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    (tmp_path / "b.text.gz").write_bytes(gzip.compress("drei €".encode()))
    (tmp_path / ".hidden").write_text("no")
    assert load(tmp_path / "a.md").x.tolist() == ["one\ntwo"] and load(tmp_path / "a.md").task == "language"
    assert load(tmp_path / "b.text.gz").x.tolist() == ["drei €"]
    both = load(tmp_path)
    assert both.x.tolist() == ["one\ntwo", "drei €"]
    p = prepare(both, context=2, split=(1, 0, 0))
    assert p.features.encoder.tokenizer.decode(p.train.x.ravel()) == "one\ntwo\ndrei"


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(b"good\nbad \xe9 line")
    said = problem(load, path)
    assert "not UTF-8" in said and "book.txt, line 2, byte 9" in said and "byte 0xe9" in said
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    said = problem(load, path)
    assert "the file is not text" in said and "a PNG image" in said and "save it as plain text" in said
    path.write_bytes(b"\x7fELF" + bytes(100))
    assert "binary data" in problem(load, path)
    path.write_text("  \n \n")
    assert "the file is empty" in problem(load, path) and "expected: text" in problem(load, path)
    path.write_text("")
    assert "the file is empty" in problem(load, path)


def test_a_text_that_is_too_short():
    said = problem(prepare, Dataset("to be or not to be", task="language"))
    assert "the text is shorter than the context" in said and "at least 65 tokens in each part" in said
    assert "train: 16 tokens, validation: 1 tokens, test: 1 tokens" in said and "give a longer text" in said
    said = problem(prepare, Dataset("to be or not to be" * 20, task="language"))
    assert "validation: 18 tokens" in said and "--context 16" in said
    assert prepare(Dataset("to be or not to be" * 20, task="language"), context=16).test is not None
    p = prepare(Dataset(BOOK, task="language"))
    said = problem(encode, Dataset("0 men", task="language"), p.features, p.targets)
    assert "at least 65 tokens" in said and "the text: 5 tokens" in said and "--context 4" in said
    assert "the text is empty" in problem(prepare, Dataset("", task="language"))


def test_settings_that_make_no_sense_for_a_text(tmp_path):
    data = Dataset(BOOK, task="language")
    assert "in order, not in folds" in problem(prepare, data, fold=(0, 3))
    assert "no classes to weigh" in problem(prepare, data, class_weights="balanced")
    assert "expected: a whole number >= 1" in problem(prepare, data, context=0)
    assert "did you mean 'words'?" in problem(prepare, data, tokens="word")
    assert "a language model needs text" in problem(prepare, Dataset([[1.0]], task="language"))
    (tmp_path / "book.txt").write_text(BOOK)
    assert "a text has no target column" in problem(load, tmp_path / "book.txt", target="y")
    assert "text says how a table is read, but 'book' is none" in problem(load, tmp_path / "book.txt", text="review")
    p = prepare(data)
    said = problem(encode, Dataset("Übermut " * 30, task="language"), p.features, p.targets, "prompt")
    assert "the character 'Ü' did not occur in training" in said and "prompt, line 1, character 1" in said
    assert "the network has its own tokens" in problem(prepare, data, features=p.features, tokens="bpe:500")
    table = prepare(load("iris"))
    assert "not trained as a language model" in problem(prepare, data, features=table.features)
    assert "the data hold no text" in problem(prepare, load("iris"), tokens="words")
    assert "no text and no sequence" in problem(prepare, load("iris"), context=5)


def test_a_recipe_holds_what_is_said_of_texts_and_sequences():
    from pellucid import recipe

    made = recipe.make({"source": "book.txt", "context": 32, "tokens": "bpe:500", "text": "a", "window": 3})
    assert made.data.preparing()["context"] == 32 and made.data.preparing()["tokens"] == "bpe:500"
    assert (made.data.loading()["text"], made.data.loading()["window"], made.data.loading()["sequences"]) == (
        "a",
        3,
        False,
    )
    assert recipe.from_dict(recipe.to_dict(made)) == made
    assert "data.context" in problem(recipe.make, {"source": "book.txt", "context": 0})
    assert "data.window" in problem(recipe.make, {"source": "book.csv", "window": 0})


# -- texts with a label -------------------------------------------------------------------------------------------


def reviews(n=60):
    texts = [f"{(GOOD, BAD)[i % 2][i // 2 % 2]} {i % 7}" for i in range(n)]
    return pl.DataFrame({"stars": [i % 5 for i in range(n)], "review": texts, "label": ["good", "bad"] * (n // 2)})


def test_a_column_of_text_becomes_ids():
    data = load(reviews(), text="review")
    assert data.x.tolist() == reviews()["review"].to_list() and data.target == ("label",)
    assert any("the others are left out: stars" in note for note in data.notes)
    p = prepare(data)
    assert p.train.x.dtype == np.int32 and p.train.x.shape == (42, 5) and abs(p.train.y.tolist().count(0) - 21) < 2
    assert (p.features.shape, p.features.dtype, p.features.padded) == ((5,), "int32", True)
    assert p.targets.task == "classification" and p.targets.classes == ("bad", "good")
    words = p.features.encoder.tokenizer
    assert words.names[:2] == ("<padding>", "<unknown>") and p.features.vocabulary == len(words.names)
    for row, text in zip(p.train.x, data.x[p.train.rows], strict=True):  # oracle: by hand
        ids = [words.names.index(w) for w in text.lower().split()]
        assert row.tolist() == (ids + [0] * 5)[:5]


def test_texts_to_predict():
    f, _ = saved(prepare(load(reviews(), text="review")))
    table = pl.DataFrame({"other": [1, 2, 3], "review": ["Good film", None, "good GOOD " * 9]})
    x = f.transform(table)
    good, film = (f.encoder.tokenizer.names.index(w) for w in ("good", "film"))
    assert x.tolist() == [[good, film, 0, 0, 0], [1, 0, 0, 0, 0], [good] * 5]
    np.testing.assert_array_equal(f.transform(["Good film", "", "good " * 9]), x)
    np.testing.assert_array_equal(f.transform("Good film"), x[:1])
    np.testing.assert_array_equal(f.transform({"review": ["Good film"]}), x[:1])
    said = problem(f.transform, table.rename({"review": "reviews"}), "new.csv")
    assert "column 'review' is missing" in said and "did you mean 'reviews'?" in said
    assert "the network was trained on text" in problem(f.transform, np.zeros((2, 5)))
    assert "float" in problem(f.transform, ["a", 1.5])


def test_the_only_column_that_is_text_is_read_unasked(tmp_path):
    table = reviews().select(
        pl.Series("id", range(60)),
        pl.Series("review", [f"{t} {i}" for i, t in enumerate(reviews()["review"])]),
        "label",
    )
    table.write_csv(tmp_path / "reviews.csv")
    data = load(tmp_path / "reviews.csv")
    assert data.feature_names == ("review",) and any("'review' is text, and is read" in n for n in data.notes)
    part = prepare(load(tmp_path / "reviews.csv", test=tmp_path / "reviews.csv")).test
    assert part is not None and len(part) == 60
    names = load({"name": ["Ada", "Alan", "Grace", "Kurt"], "born": ["UK", "UK", "US", "AT"]}, target="born")
    assert prepare(names, split=(1, 0, 0)).features.encoder.tokenizer.kind == "characters"
    assert load(table.with_columns(price=pl.Series([0.5, 1.5] * 30)), target="label").feature_names == (
        "id",
        "review",
        "price",
    )
    assert load(table, target=False).x.columns == ["id", "review", "label"], "rows to predict stay a table"


def test_texts_from_python():
    data = Dataset(["so good", "so bad", "good", "bad"] * 5, ["+", "-"] * 10)
    p = prepare(data, tokens="words")
    assert p.train.x.shape == (14, 2) and p.features.encoder.column is None
    assert p.features.transform(pl.DataFrame({"any": ["good"]})).shape == (1, 2)
    said = problem(p.features.transform, pl.DataFrame({"a": ["x"], "b": ["y"]}))
    assert "not clear which column holds the text" in said and "table['a']" in said
    assert repr(data) == "Dataset(data: 20 texts of 100 characters)"
    assert data.fingerprint() != Dataset(["so good", "so bad", "good", "bat"] * 5, ["+", "-"] * 10).fingerprint()


def test_long_texts_are_cut_and_empty_ones_are_unknown():
    texts = ["a b"] * 19 + ["a " * 30, "", None]
    f, notes = Features.fit(Dataset(texts).x)
    assert f.shape == (2,) and any("1 of 22 training texts are longer than 2 tokens" in n for n in notes)
    assert any("2 of 22 training texts are empty: each is one unknown token" in n for n in notes)
    assert f.transform([""]).tolist() == [[1, 0]]
    assert Features.fit(Dataset(["a b c"] * 9).x, context=2)[0].shape == (2,)
    f, _ = Features.fit(Dataset(["a b c"] * 9).x, tokens="bpe:260")
    assert f.vocabulary <= 260 and f.transform(["é"]).shape == f.transform(["a b c"]).shape


def test_columns_that_are_no_text():
    table = reviews().with_columns(review=pl.lit(None, pl.String))
    assert "the column of text is empty" in problem(load, table, text="review")
    assert "60 rows without any" in problem(load, table.with_columns(review=pl.lit(" ")), text="review")
    said = problem(load, reviews(), text="reviw")
    assert "there is no column 'reviw'" in said and "did you mean 'review'?" in said
    nested = reviews().with_columns(review=pl.Series([[1, 2]] * 60))
    assert "the column holds no text" in problem(load, nested, text="review")
    only = Dataset(["", "a", "", ""], ["x", "y", "x", "y"])
    assert "every text is empty" in problem(Features.fit, only.x, np.array([0, 2, 3]))


# -- pairs --------------------------------------------------------------------------------------------------------

WORDS = [f"{a}{b}{c}" for a in "abc" for b in "abcd" for c in ("", "a", "bd")]


def test_a_file_of_pairs(tmp_path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{w}\t{w[::-1]}\n" for w in WORDS))
    data = load(tmp_path / "pairs.tsv", task="pairs")
    assert len(data) == len(WORDS) and data.target == ("target",)
    assert any("is taken as a pair, not as column names" in note for note in data.notes)
    p = prepare(data)
    t = p.features.encoder.tokenizer
    source, target = 4, 5
    assert p.train.x.shape[1:] == (source + target,) and p.train.y.shape[1:] == (target,)
    assert (p.features.source_steps, p.features.shape, p.features.padded) == (source, (9,), True)
    assert t.names == ("<padding>", "<begin>", "<end>", "<unknown>", "a", "b", "c", "d")
    for x, y, row in zip(p.train.x, p.train.y, p.train.rows, strict=True):  # oracle: by hand
        s = [t.names.index(c) for c in WORDS[row]]
        assert x.tolist() == s + [0] * (source - len(s)) + [1, *s[::-1]] + [0] * (target - 1 - len(s))
        assert y.tolist() == [*s[::-1], 2] + [-1] * (target - 1 - len(s))
        assert t.decode(y) == WORDS[row][::-1]
    assert (p.targets.task, p.targets.metric, p.targets.each_step, p.targets.width) == ("pairs", "exact_match", True, 8)
    assert p.targets.decode(np.eye(8)[p.train.y.clip(0)]).shape == p.train.y.shape


def test_pairs_that_were_saved_and_new_sources(tmp_path):
    data = Dataset(WORDS, [w[::-1] for w in WORDS], task="pairs", feature_names=("source",))
    p = prepare(data)
    f, t = saved(p)
    again = prepare(data, features=f, targets=t)
    np.testing.assert_array_equal(again.train.x, p.train.x)
    assert f.transform(["ab", "é"]).tolist() == [[4, 5, 0, 0, 1, 0, 0, 0, 0], [3, 0, 0, 0, 1, 0, 0, 0, 0]]
    np.testing.assert_array_equal(f.transform(pl.DataFrame({"source": ["ab", "é"]})), f.transform(["ab", "é"]))
    with pytest.warns(UserWarning, match="1 texts are longer than 4 tokens"):
        assert f.transform(["abcdabcd"])[0, :5].tolist() == [4, 5, 6, 7, 1]
    said: list[str] = []
    part = encode(Dataset(["ab", "abcdabcd", ""], ["ba", "a", "b"], task="pairs"), f, t, "new", said.append)
    assert part.rows.tolist() == [0] and "1 of 3 pairs have an empty side" in said[0]
    assert "1 of 2 pairs are left out" in said[1]


def test_pairs_in_tables(tmp_path):
    (tmp_path / "a.csv").write_text('source,target\n"a, b","b, a"\nab,ba\n1,2\n')
    data = load(tmp_path / "a.csv", task="pairs")
    assert data.x.tolist() == ["a, b", "ab", "1"] and data.y.tolist() == ["b, a", "ba", "2"] and data.notes == ()
    assert load(tmp_path / "a.csv", task="pairs", target=["target"]).y.tolist() == data.y.tolist()
    table = {"id": [1, 2], "english": ["go", "come"], "german": ["geh", "komm"]}
    data = load(table, task="pairs")
    assert (data.feature_names, data.target, data.y.tolist()) == (("english",), ("german",), ["geh", "komm"])
    data = load(table, task="pairs", text="german", target="english")
    assert data.x.tolist() == ["geh", "komm"] and data.y.tolist() == ["go", "come"]
    said = problem(load, {**table, "french": ["va", "viens"]}, task="pairs")
    assert "not clear which columns are the pairs" in said and "--text" in said
    (tmp_path / "b.tsv").write_text("a\tb\na\tb\tc\n")
    said = problem(load, tmp_path / "b.tsv", task="pairs")
    assert "a row does not hold a pair" in said and "b.tsv, line 2" in said and "3: a | b | c" in said
    (tmp_path / "c.tsv").write_text("source\ttarget\n")
    assert "a header but no rows" in problem(load, tmp_path / "c.tsv", task="pairs")


def test_pairs_that_cannot_be_used():
    assert "pairs need two columns of text" in problem(prepare, Dataset(["a", "b"], [1, 2], task="pairs"))
    assert "no targets" in problem(prepare, Dataset(["a", "b"], task="pairs"))
    assert "a side of every pair is empty" in problem(prepare, Dataset(["a", ""], ["", "b"], task="pairs"))
    assert "no classes to weigh" in problem(prepare, Dataset(WORDS, WORDS, task="pairs"), class_weights="balanced")
    long = Dataset([*WORDS, "a" * 50], [*WORDS, "a"], task="pairs")
    p = prepare(long, context=10, split=(1, 0, 0))
    assert len(p.train) == len(WORDS) and any("1 of 37 pairs are left out" in note for note in p.notes)
    assert "no pair is left" in problem(prepare, Dataset(["aa"] * 5, ["b"] * 5, task="pairs"), context=1)
    f = prepare(Dataset(BOOK, task="language")).features
    assert "not trained on pairs" in problem(prepare, Dataset(WORDS, WORDS, task="pairs"), features=f)
    assert "no token ids" in problem(prepare(Dataset(WORDS, WORDS, task="pairs")).targets.encode, np.array([[99]]))


@pytest.mark.parametrize("name", ["p.tsv", "p.csv", "p.txt"])
def test_pairs_without_a_header_in_each_kind_of_file(tmp_path, name):
    between = "," if name.endswith("csv") else "\t"
    path = tmp_path / name
    path.write_text("".join(f"{w}{between}{w[::-1]}\n" for w in WORDS))
    data = load(path, task="pairs")
    assert (data.x.tolist(), data.y.tolist()) == (WORDS, [w[::-1] for w in WORDS])
    assert any("is taken as a pair, not as column names" in note for note in data.notes)
    assert load(path, task="pairs", target=False, text="source").x.tolist() == WORDS, "to predict, targets are not read"
    part = load(path, task="pairs", validation=path).validation
    assert part is not None and part.x.tolist() == WORDS


def test_a_text_without_tabs_holds_no_pairs(tmp_path):
    (tmp_path / "p.txt").write_text("so it goes\nand on\n")
    said = problem(load, tmp_path / "p.txt", task="pairs")
    assert "a row does not hold a pair" in said and "p.txt, line 1" in said and "so it goes" in said
    assert "put a tab between source and target, a pair a line" in said


def test_sources_are_read_a_line_or_a_row_each(tmp_path):
    def sources(name, text):
        (tmp_path / name).write_text(text)
        return load(tmp_path / name, target=False, task="pairs", text="source").x

    assert sources("a.txt", "ab\n\nc d\n").tolist() == ["ab", "", "c d"], "an answer for each line"
    assert sources("b.txt", "a\tb\nc").tolist() == ["a\tb", "c"], "tabs that stand in some lines only are text"
    assert sources("c.csv", "ab\nba\n").tolist() == ["ab", "ba"]
    assert sources("d.tsv", "src\nab\n").tolist() == ["ab"]
    assert sources("e.csv", "id,source\n1,ab\n2,ba\n").tolist() == ["ab", "ba"], "a table with the trained column"
    said = problem(sources, "f.csv", "id,german,english\n1,geh,go\n")
    assert "there is no column 'source'" in said and "choose one of: id, german, english" in said
