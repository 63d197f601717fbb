"""Language models and pairs, from text to text: training, resuming, scores, and what is written."""

import json
import math
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pellucid as pc
from pellucid.data import Dataset, prepare
from pellucid.errors import Interrupted, NetworkError, SettingError
from pellucid.network.generate import Writer, chances, write
from pellucid.network.layer import Context, flatten
from pellucid.train.evaluate import Evaluator

WORDS = "the cat sat on the mat and the dog sat on the log while the rat ran from the cat to the mat. "
TEXT = WORDS * 60


def trained(network, **settings):
    data = Dataset(TEXT, task="language", name="rhyme")
    words = {"epochs": 4, "learning_rate": 0.01, "context": 16, "batch_size": 8, "out": None} | settings
    return pc.fit(network, data, **words)


@pytest.fixture(scope="module")
def run():
    return trained("lstm:32,embed=8")


def test_a_language_model_learns_and_says_how_well(run):
    assert run.result["task"] == "language" and run.result["metric"] == "loss"
    assert run.result["test"]["loss"] < 2.2 < math.log(run.network.features.vocabulary)
    details = run.result["details"]
    assert details["perplexity"] == pytest.approx(math.exp(run.result["test"]["loss"]))
    assert details["bits_per_character"] == pytest.approx(run.result["test"]["loss"] / math.log(2))
    assert {b["name"]: b["metric"] for b in run.result["baselines"]} == {"unigram": "loss", "bigram": "loss"}


def test_scores_read_on_and_on(run):
    """Over one stream, the score is the loss of the whole part read at once."""
    part, network = run.prepared.validation, run.network
    few = type(part)(part.x[:8], part.y[:8], None, part.rows[:8])
    evaluator = Evaluator(network.layer, pc.CrossEntropy(), None, streams=True)
    evaluator._size = lambda part: 1
    found = evaluator(flatten(network.params), network.state, few).loss
    whole = jnp.asarray(few.x.reshape(1, -1), jnp.int32)
    outputs = Context(state=network.state).run(network.layer, network.params, whole)
    expected = pc.CrossEntropy()(outputs, jnp.asarray(few.y.reshape(1, -1), jnp.int32))
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_training_carries_the_state_over_and_begins_each_epoch_without_one():
    from pellucid.recipe import make
    from pellucid.session import Session

    recipe = make({"network": "rnn:4,embed=3", "epochs": 2, "context": 16, "batch_size": 4})
    session = Session(recipe, Dataset(TEXT, task="language"), {}, None, (), 1e9)
    from pellucid.train.loop import ChunkEnded, Loop

    loop = Loop(session.network, session.prepared.train, session.prepared.validation, session.settings)
    order = loop._shuffled().reshape(-1, 4)
    assert (np.diff(order, axis=0) == 1).all()  # each stream goes on where it ended
    events = loop.run()
    while isinstance(next(events), ChunkEnded):
        state = loop.carry.carried["rnn1"][0]
        if loop.step < loop.epoch_start + loop.program.steps_per_epoch:
            assert float(abs(state).sum()) > 0
    assert float(abs(loop.carry.carried["rnn1"][0]).sum()) == 0


def test_pieces_of_a_text_begin_at_another_place_each_epoch():
    from pellucid.recipe import make
    from pellucid.session import Session
    from pellucid.train.loop import Loop

    layer = pc.Sequential(pc.Embed(None, 4), pc.Output())  # nothing to carry over
    recipe = make({"epochs": 2, "context": 16, "batch_size": 4})
    session = Session(recipe, Dataset(TEXT, task="language"), {"network": layer}, None, (), 1e9)
    loop = Loop(session.network, session.prepared.train, None, session.settings)
    assert not loop.program.streams
    offsets = set()
    for epoch in range(6):
        loop.epoch = epoch
        order = loop._shuffled()
        offsets.add(loop.numbers["offset"])
        last = order.max() * 16 + loop.numbers["offset"] + 17
        assert last <= loop.feed.data.x.shape[0]
    assert len(offsets) > 3


def test_generation_equals_batch_evaluation(run):
    ids = run.prepared.test.x[:2].reshape(-1).astype(np.int32)  # 32 tokens
    outputs = Context(state=run.network.state).run(run.network.layer, run.network.params, jnp.asarray(ids[None]))
    writer = Writer(run.network.layer, run.network.params, run.network.state)
    streamed = [writer.feed([i]) for i in ids]
    np.testing.assert_allclose(streamed, outputs[0], rtol=1e-5, atol=1e-5)
    again = Writer(run.network.layer, run.network.params, run.network.state)
    np.testing.assert_allclose(again.feed(ids), outputs[0, -1], rtol=1e-5, atol=1e-5)


def test_what_is_written_follows_the_seed_and_the_settings(run):
    first = "".join(run.network.generate("the ", 40, seed=1))
    assert (
        first == "".join(run.network.generate("the ", 40, seed=1)) != "".join(run.network.generate("the ", 40, seed=2))
    )
    assert len(first) == 40 and set(first) <= set(TEXT)
    surest = "".join(run.network.generate("the ", 20, temperature=0))
    assert surest == "".join(run.network.generate("the ", 20, top_k=1, seed=5))


def test_chances_are_those_of_the_definition():
    logits = np.log([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(chances(logits), [0.1, 0.2, 0.3, 0.4])
    squares = np.array([1, 4, 9, 16]) / 30
    np.testing.assert_allclose(chances(logits, 0.5), squares)
    np.testing.assert_allclose(chances(logits, top_p=0.5), [0, 0, 3 / 7, 4 / 7])
    np.testing.assert_allclose(chances(logits, top_k=3, top_p=0.4), [0, 0, 0, 1])
    assert chances(np.array([-1e5, 0.0, 1e5])).tolist() == [0, 0, 1]


def test_draws_follow_the_chances():
    class Coin:
        def feed(self, ids):
            return np.log([0.25, 0.75])

    drawn = write(Coin(), [0], seed=3)
    assert np.mean([next(drawn) for _ in range(4000)]) == pytest.approx(0.75, abs=0.02)


def test_wrong_wishes_are_told(run):
    for wish, said in (({"temperature": -1}, "temperature"), ({"top_k": 0}, "top_k"), ({"top_p": 1.5}, "top_p")):
        with pytest.raises(SettingError, match=said):
            run.network.generate("the", 5, **wish)
    with pytest.raises(pc.errors.DataError, match="'#'"):
        run.network.generate("the #", 5)
    classifier = pc.fit("mlp:4", "xor", epochs=1, out=None, baselines=False)
    with pytest.raises(NetworkError, match="only a language model can write"):
        classifier.network.generate("a")


def test_a_run_that_was_cut_off_goes_on_with_the_same_bytes(tmp_path):
    class Cut(pc.Callback):
        def epoch_ended(self, event):
            if event.epoch == 1:
                signal.raise_signal(signal.SIGINT)

    book = tmp_path / "book.txt"
    book.write_text(TEXT)
    settings = {"epochs": 3, "context": 16, "batch_size": 8, "baselines": False}
    whole = pc.fit("lstm:8", book, out=tmp_path / "whole", **settings)
    with pytest.raises(Interrupted):
        pc.fit("lstm:8", book, out=tmp_path / "cut", callbacks=[Cut()], **settings)
    rest = pc.resume(next((tmp_path / "cut").iterdir()))
    assert (rest.path / "record.jsonl").read_bytes() == (whole.path / "record.jsonl").read_bytes()
    assert (rest.path / "weights.safetensors").read_bytes() == (whole.path / "weights.safetensors").read_bytes()
    loaded = pc.Network.load(rest.path)
    assert "".join(loaded.generate("the ", 30)) == "".join(whole.network.generate("the ", 30))


def test_the_split_that_is_asked_for_is_that_of_a_text_too():
    """(0.7, 0.15, 0.15) is the default of tables, and can be said of a text, whose default is another."""
    data = Dataset(TEXT, task="language")
    usual, asked = prepare(data, context=8), prepare(data, context=8, split=(0.7, 0.15, 0.15))
    decode = asked.features.encoder.tokenizer.decode
    n = len(TEXT)
    for part, (a, b) in zip(("train", "validation", "test"), ((0, 0.7), (0.7, 0.85), (0.85, 1)), strict=True):
        found = "".join(decode(row) for row in getattr(asked, part).x)
        assert found == TEXT[round(a * n) : round(b * n)][: len(found)]
        assert abs(len(found) - (b - a) * n) < 10
    assert len(usual.train) > len(asked.train)


def test_the_recipe_tells_how_a_text_was_read(tmp_path):
    import tomllib

    (tmp_path / "rhyme.txt").write_text(TEXT)
    run = pc.fit("rnn:4", tmp_path / "rhyme.txt", steps=2, out=tmp_path / "runs")
    data = tomllib.loads((run.path / "recipe.toml").read_text())["data"]
    assert (data["context"], data["tokens"]) == (64, "characters") and "split" not in data
    again = pc.fit("rnn:4", tmp_path / "rhyme.txt", steps=2, out=None, context=64, tokens="characters")
    assert again.result["test"] == run.result["test"]
    more = pc.fit(start=str(run.path), data=tmp_path / "rhyme.txt", steps=2, out=None, split=(0.5, 0.25, 0.25))
    assert more.recipe.data.context == 64 and more.recipe.data.split == (0.5, 0.25, 0.25)
    texts = Dataset(["so good", "so bad"] * 20, ["yes", "no"] * 20)
    data = pc.fit("rnn:4", texts, steps=2, out=None, baselines=False).recipe.data
    assert (data.context, data.tokens, data.split) == (256, "words", (0.7, 0.15, 0.15))


@pytest.mark.parametrize("attention", ["luong", "bahdanau"])
def test_pairs_are_learned_and_written(attention, tmp_path):
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abc"), rng.integers(1, 4))) for _ in range(300)]
    file = tmp_path / "pairs.tsv"
    file.write_text("source\ttarget\n" + "".join(f"{w}\t{w[::-1]}\n" for w in words))
    data = pc.load(file, task="pairs")
    run = pc.fit(f"seq2seq:24,embed=12,attention={attention}", data, epochs=25, batch_size=16, out=None)
    assert run.result["task"] == "pairs" and run.result["metric"] == "exact_match"
    written = run.network.predict(words[:50])
    right = np.mean([w[::-1] == said for w, said in zip(words[:50], written, strict=True)])
    assert right > 0.9
    # teacher-forced exact match is what is written by itself without a mistake
    test = run.prepared.test
    sources = [
        run.network.features.encoder.tokenizer.decode(row[row > 0])
        for row in test.x[:, : run.network.features.source_steps]
    ]
    said = run.network.predict(sources)
    assert np.mean([s[::-1] == t for s, t in zip(sources, said, strict=True)]) == pytest.approx(
        run.result["test"]["exact_match"]
    )


def test_predict_writes_a_target_for_each_line_of_a_text(tmp_path, capsys):
    from pellucid.cli import main

    words = [f"{a}{b}" for a in "abcde" for b in "vwxyz"]
    (tmp_path / "pairs.txt").write_text("".join(f"{w}\t{w[::-1]}\n" for w in words))
    (tmp_path / "new.txt").write_text("av\nbw\ncx\n")
    said = []
    for args in (
        [
            "train",
            tmp_path / "pairs.txt",
            "--network",
            "seq2seq:8",
            "--epochs",
            1,
            "--out",
            tmp_path / "run",
            "--quiet",
        ],
        ["predict", tmp_path / "run", tmp_path / "new.txt", "--json"],
    ):
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        assert left.value.code == 0
        said.append(capsys.readouterr().out)
    written = json.loads(said[1])
    assert written["rows"] == 3
    assert written["prediction"] == pc.Network.load(tmp_path / "run").predict(["av", "bw", "cx"]).tolist()


def test_part_views_and_key():
    prepared = prepare(Dataset(TEXT, task="language"), context=16)
    assert np.shares_memory(prepared.train.x, prepared.train.y)
    assert jax.numpy.asarray(prepared.train.x).dtype == jnp.uint8


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.zeros((40, 20, 16, 3), np.uint8), "cnn"),
        (np.zeros((40, 8, 8, 3), np.uint8), "mlp"),
        (np.zeros((40, 28, 28), np.uint8), "mlp"),  # MNIST
        (np.random.default_rng(0).normal(size=(40, 7, 2)), "gru"),
        (np.random.default_rng(0).normal(size=(40, 7)), "mlp"),
    ],
)
def test_the_network_that_suits_the_data_by_default(x, expected):
    from pellucid.recipe import make
    from pellucid.resolve import suggested

    if x.dtype == np.uint8:
        x[::2] = 9
    prepared = prepare(Dataset(x, np.arange(40) % 2))
    spec = suggested(make({}), prepared.features, prepared.targets).network.spec
    assert (spec or "mlp") == expected


def test_a_network_that_writes_from_pairs_says_the_task():
    from pellucid.recipe import make, override

    assert make({"source": "p.tsv", "network": "seq2seq:8"}).data.task == "pairs"
    assert override(make({"source": "p.tsv"}), {"network": {"type": "seq2seq"}}).data.task == "pairs"
    assert make({"source": "p.tsv", "network": "gru"}).data.task is None
