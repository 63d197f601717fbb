import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.byte_pairs import BytePairs, _chunks
from pellucid.data.tokens import Characters, Words, fit_tokenizer, parse, split_words, tokenizer_from_json
from pellucid.errors import DataError, PellucidWarning, SettingError

ENGLISH = "the cat sat on the mat, the dog lay under the tree. " * 20
PAIRED = ("padding", "begin", "end", "unknown")
PAIRS = BytePairs.fit([ENGLISH], size=300)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def through_json(tokenizer):
    return tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))


def problem(call, *args, **kwargs):
    with pytest.raises((DataError, SettingError)) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# -- characters ---------------------------------------------------------------------------------------------------


@given(TEXT.filter(bool))
def test_characters_are_numbered_in_their_order_and_come_back(text):
    t = Characters.fit([text])
    place = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = t.encode(text)
    assert ids.dtype == np.int32 and ids.tolist() == [place[c] for c in text]
    assert t.decode(ids) == text and t.vocabulary == len(place) == len(t.names)
    assert through_json(t) == t


def test_the_first_ids_are_the_specials():
    t = Characters.fit(["ba"], PAIRED)
    assert t.encode("ab").tolist() == [4, 5]
    assert t.encode("aé").tolist() == [4, 3]
    assert t.names == ("<padding>", "<begin>", "<end>", "<unknown>", "a", "b")
    assert [t.special(name) for name in (*PAIRED, "mask")] == [0, 1, 2, 3, None]
    assert t.decode([1, 5, 0, 4, 3, 2, 5, 5]) == "ba�", "it ends at the end id; begin and padding are nothing"
    assert t.decode([4, 2, -1, -1]) == "a", "what fills up behind the end is not looked at"


def test_names_show_white_space():
    assert Characters.fit(["a \n\t\x07"]).names == ("\\x07", "\\t", "\\n", "␣", "a")


def test_a_character_that_was_not_trained_on_is_named_with_its_place():
    t = Characters.fit(["abc\n "])
    said = problem(t.encode, "abc\nca é ß", where="prompt")
    assert "the character 'é' did not occur in training" in said
    assert "prompt, line 2, character 8" in said
    assert "one of the 5 characters of training: '\\n abc'" in said
    assert "'ß', 'é'" in said and "bpe:1000" in said
    with pytest.warns(PellucidWarning, match="2 characters that did not occur in training are dropped, such as 'é'"):
        assert t.decode(t.encode("aébß", lenient=True)) == "ab"


# -- words --------------------------------------------------------------------------------------------------------


def test_words_are_the_commonest_in_lower_case():
    t = Words.fit(["Don't stop. STOP, don't!", "stop"], ("padding", "unknown"), size=5)
    assert split_words("Don't stop. STOP!") == ["don't", "stop", ".", "stop", "!"]
    assert t.words == ("stop", "don't", "!")
    assert t.encode("Stop the noise!").tolist() == [2, 1, 1, 4]
    assert t.decode(t.encode("Don't! stop")) == "don't! stop"
    assert t.decode(t.encode("a stop")) == "� stop"
    assert through_json(t) == t


def test_of_very_many_words_those_that_occur_once_share_the_unknown_id():
    rare = [f"w{i}" for i in range(1000)]
    texts = [" ".join(rare), "often often"]
    assert Words.fit(texts, ("unknown",)).words == ("often",)
    counts = Counter(rare[:-1])
    assert set(Words.fit([" ".join(rare[:-1]), "often often"], ("unknown",)).words) == {*counts, "often"}


def test_words_without_an_unknown_id():
    t = Words.fit(["a b"], ())
    assert "the word 'c' did not occur in training" in problem(t.encode, "a c")
    assert t.encode("a c b", lenient=True).tolist() == [0, 1]


# -- byte pairs ---------------------------------------------------------------------------------------------------


@given(TEXT)
def test_byte_pairs_bring_every_text_back(text):
    ids = PAIRS.encode(text)
    assert ids.dtype == np.int32 and PAIRS.decode(ids) == text
    assert b"".join(PAIRS.pieces[i] for i in ids) == text.encode()


@given(st.lists(st.integers(0, PAIRS.vocabulary - 1), max_size=30))
def test_streaming_gives_what_decoding_at_once_gives(ids):
    stream = PAIRS.stream()
    said = [stream.add(i) for i in ids]
    assert "".join(said) + stream.end() == b"".join(PAIRS.pieces[i] for i in ids).decode("utf-8", "replace")


def test_a_character_of_several_bytes_waits_for_the_last():
    ids = PAIRS.encode("a€b")
    stream = PAIRS.stream()
    assert [stream.add(i) for i in ids] == ["a", "", "", "€", "b"] and stream.end() == ""
    stream = PAIRS.stream()
    assert [stream.add(i) for i in ids[:3]] == ["a", "", ""] and stream.end() == "�"


def test_byte_pairs_merge_in_the_order_of_training():
    """Oracle: the merges of the file, the earliest first, word by word (Sennrich et al. 2016)."""
    merges = [tuple(pair) for pair in json.loads(PAIRS.written)["model"]["merges"]]
    vocabulary = json.loads(PAIRS.written)["model"]["vocab"]

    def encode(word):
        parts = list(word)
        for pair in merges:
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == pair:
                    parts[i : i + 2] = ["".join(pair)]
                else:
                    i += 1
        return [vocabulary[p] for p in parts]

    words = ["the", "Ġmat", "Ġtheatre", "Ġundergoes"]
    assert PAIRS.encode("the mat theatre undergoes").tolist() == [i for w in words for i in encode(w)]


@settings(max_examples=50)
@given(st.text(" \n\t\rab'1.", max_size=40), st.integers(1, 5))
def test_text_in_pieces_encodes_as_the_whole_does(text, size):
    pieces = list(_chunks(text, size))
    assert "".join(pieces) == text
    assert [i for p in pieces for i in PAIRS.encode(p)] == PAIRS._library.encode(text).ids


def test_byte_pairs_beside_specials():
    t = BytePairs.fit([ENGLISH], PAIRED, 320)
    assert t.vocabulary <= 320 and t.encode("the").min() >= 4
    assert t.decode(t.encode("<end> is text, and so is <unknown>")) == "<end> is text, and so is <unknown>"
    assert [a.tolist() for a in t.encode_all(["the", ""])] == [t.encode("the").tolist(), []]
    assert t.names[:4] == ("<padding>", "<begin>", "<end>", "<unknown>") and "␣the" in t.names
    assert through_json(t) == t == BytePairs.fit([ENGLISH], PAIRED, 320), "the same text gives the same tokens"
    assert len(t.encode("the cat")) < 5


# -- all kinds ----------------------------------------------------------------------------------------------------


def test_the_kind_is_named_in_a_word():
    assert fit_tokenizer("characters", ["ab"]).kind == "characters"
    assert fit_tokenizer("words:10", [ENGLISH], ("unknown",)).vocabulary == 10
    assert fit_tokenizer("bpe:280", [ENGLISH]).vocabulary == 280
    assert parse(" words ") == ("words", None)


def test_wrong_kinds():
    said = problem(parse, "charcters")
    assert "unknown kind of tokens 'charcters'" in said and "did you mean 'characters'?" in said
    assert "this is no size of a vocabulary" in problem(parse, "bpe:big") and "bpe:1000" in problem(parse, "bpe:")
    assert "characters alone" in problem(parse, "characters:50")
    said = problem(fit_tokenizer, "bpe:100", [ENGLISH], PAIRED)
    assert "too small for byte pairs" in said and "at least 260" in said


def test_ids_that_are_none():
    assert "there is no such token" in problem(PAIRS.decode, [5000])
    assert "expected: 0 to 1" in problem(Characters.fit(["ab"]).decode, [2])
