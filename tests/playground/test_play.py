"""The playground's engine: numbers against independent oracles, bounds, and choices that survive the address."""

import base64

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import PellucidError, SettingError
from pellucid.network.layer import Context, flatten
from pellucid.playground.choices import Choices, made, read, written
from pellucid.playground.cures import cured
from pellucid.playground.play import Play
from pellucid.playground.presets import PRESETS
from pellucid.playground.race import Race, plane
from pellucid.playground.tables import MOST_BYTES, read_table
from pellucid.views.explain import forward
from pellucid.views.explain_math import loss_walk
from pellucid.views.explain_stage import backward

SMALL = Choices(data="xor", points=60, widths=(4, 3), batch=10)


@pytest.fixture(scope="module")
def play():
    made = Play(SMALL)
    made.step(7)
    return made


def test_the_gradient_that_is_drawn_is_that_of_jax_and_its_units_are_those_of_explain(play):
    train, net, loss = play.session.prepared.train, play.network, play.session.settings.loss

    def objective(params):
        return jnp.mean(loss.per_example(Context(state=net.state).run(net.layer, params, train.x), train.y))

    oracle = jax.grad(objective)(net.params)
    for path, g in play.gradients.items():
        layer, name = path.rsplit("/", 1)
        np.testing.assert_allclose(g, oracle[layer][name], rtol=1e-4, atol=1e-7)
    drawn = {layer["path"]: layer["delta"] for layer in play.view()["layers"]}
    weights = {path: np.asarray(v, np.float64) for path, v in {**flatten(net.params), **flatten(net.state)}.items()}
    walks = []
    for x, y in zip(train.x, train.y, strict=True):
        walks.append(forward(net.layer, x, weights))
        backward(walks[-1], loss_walk(loss, walks[-1][-1].y, y).gradient)
    for i, stage in enumerate(walks[0]):
        if stage.path in drawn:
            rms = np.sqrt(np.mean([stages[i].dy ** 2 for stages in walks], 0))
            np.testing.assert_allclose(drawn[stage.path], rms, rtol=2e-3)


def test_a_neurons_picture_is_its_response_over_the_plane(play):
    view, side = play.view(), play.scene_json()["side"]
    levels = np.frombuffer(base64.b64decode(view["layers"][0]["picture"]), np.uint8)
    p, unit, row, column = play.weights(), 2, 5, 11  # by hand, in numpy: the third neuron at one place
    x = np.array([-6 + (column + 0.5) / side * 12, 6 - (row + 0.5) / side * 12])
    f = play.session.prepared.features
    z = ((x - f.mean) / f.scale) @ p["hidden1/w"][:, unit] + p["hidden1/b"][unit]
    level = levels.reshape(4, side, side)[unit, row, column]
    assert abs((level - 127.5) / 127.5 * view["layers"][0]["scale"][unit] - np.tanh(z)) < 0.01


def test_an_update_is_minus_the_step_times_the_gradient_of_its_batch():
    play = Play(SMALL.replace(learning_rate=0.5))
    play.step(3)
    before, g = play.weights(), play.batch_gradient()
    play.step(1)
    for path, w in play.weights().items():
        np.testing.assert_allclose(w, before[path] - 0.5 * g[path], rtol=1e-5, atol=1e-6)


def test_the_same_choices_give_the_same_numbers_and_nobody_disturbs_another():
    alone = Play(SMALL)
    alone.step(25)
    first, other = Play(SMALL), Play(SMALL.replace(seed=1, learning_rate=1.0))
    for _ in range(25):  # update by update, with another one in between
        first.step(1)
        other.step(3)
        other.view()
    for path, w in alone.weights().items():
        assert w.tobytes() == first.weights()[path].tobytes()
    assert any((other.weights()[path] != w).any() for path, w in alone.weights().items())


def test_a_step_that_is_cut_short_by_the_clock_goes_on_as_if_it_had_not_been():
    whole, cut = Play(SMALL), Play(SMALL)
    whole.step(12)
    while cut.loop.step < 12:  # at the end of an epoch too, before it is closed
        cut.step(min(5, 12 - cut.loop.step), seconds=0.0)
    assert cut.view()["epoch"] == whole.view()["epoch"]
    for path, w in whole.weights().items():
        assert w.tobytes() == cut.weights()[path].tobytes()


def test_numbers_move_while_it_goes_on_and_nothing_is_compiled_anew():
    play = Play(SMALL.replace(dropout=0.2))
    play.step(5)
    before = play.weights()
    with jax.log_compiles(False), jax.check_tracer_leaks(False):
        from pellucid.train.step import run_chunk

        compiled = run_chunk._cache_size()
        assert play.change(play.choices.replace(learning_rate=0.0, l2=0.1, l1=0.01, dropout=0.5))
        play.step(5)
        assert run_chunk._cache_size() == compiled
    assert all((before[path] == w).all() for path, w in play.weights().items())  # a step of 0 goes nowhere
    rate = [v for path, v in jax.tree_util.tree_leaves_with_path(play.loop.carry.state) if "rate" in str(path)]
    assert [float(v) for v in rate] == [0.5, 0.5]
    assert not play.change(play.choices.replace(widths=(5,)))
    assert not play.change(play.choices.replace(dropout=0.0))  # that takes layers away


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_shows_its_problem_and_its_cure_cures_it(name):
    preset = PRESETS[name]
    ill, well = Play(preset.choices), Play(preset.cure)
    for play in (ill, well):
        for _ in range(10):
            play.step(preset.updates // 10)
    alarms = [f["problem"] for f in ill.findings() if f["severity"] != "note"]
    assert alarms and alarms[0] in preset.problems
    left = {f["problem"] for f in well.findings(preflight=False) if f["severity"] != "note"}
    assert left <= ({"label_noise"} if preset.cure.label_noise else set())  # the labels stay as wrong as they were
    (_, validation), (_, healed) = ill.scores, well.scores
    assert healed.metric > validation.metric + 0.1 and healed.metric > 0.9
    if name == "overfitting":  # it learned the noise by heart: better on what it saw, worse on what it did not
        assert ill.scores[0].metric > 0.95 > validation.metric + 0.1
        quiet = Play(preset.choices.replace(label_noise=0.0))  # the dial: without noise, less to learn by heart
        quiet.step(preset.updates)
        assert quiet.scores[1].metric > validation.metric + 0.1


def test_choices_survive_the_address():
    for choices in (
        Choices(), SMALL, *(p.choices for p in PRESETS.values()), *(p.cure for p in PRESETS.values()),
        Choices(data="own", target="<b>&=#.", columns=("a b", "ä.ö", "x&y"), drawn=("x&y",), widths=(), l1=1e-7),
        Choices(widths=(1, 2), activations=("relu", "tanh"), initials=("he", "zeros"), learning_rate=1e-6, batch=0),
    ):  # fmt: skip
        text = written(choices)
        assert read(text) == choices
        assert text.isascii() and "#" not in text and "<" not in text
    with pytest.raises(SettingError, match="no choice 'widht'") as told:
        read("widht=3")
    assert "widths" in str(told.value)
    for wrong in ("widths=17", "widths=1.1.1.1.1.1.1", "data=x", "noise=nan", "points=1e9", "batch=-1", "a" * 5000):
        with pytest.raises(SettingError):
            read(wrong)
    with pytest.raises(SettingError):
        made([1])


def test_remedies_become_choices():
    assert cured(SMALL, {"activation": "relu"}) == SMALL.replace(activations=("relu",))
    wide = cured(
        SMALL, {"network": {"type": "mlp", "widths": [64, 64], "activation": {"type": "relu"}, "norm": "batch"}}
    )
    assert wide is not None and wide.widths == (16, 16) and wide.norm == "batch"
    assert cured(SMALL, {"steps": 3}) is None and cured(SMALL, {"learning_rate": -1.0}) is None


# -- own tables -------------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>"


def table(rows: int = 60) -> bytes:
    g = np.random.default_rng(0)
    lines = [f'"{HOSTILE}",b,"kind, of",colour']
    for i in range(rows):
        a, b = g.normal(size=2)
        lines.append(
            f"{a:.3f},{'' if i % 9 == 0 else f'{b:.3f}'},{'yes' if a > 0 else 'no'},{'red' if i % 2 else 'blue'}"
        )
    return "\n".join(lines).encode()


def test_an_own_table_is_learned_whatever_its_columns_are_called():
    own = read_table(table(), "../../my.csv")
    assert own.name == "my.csv" and own.numeric == (HOSTILE, "b")
    play = Play(Choices(data="own", target="kind, of", learning_rate=0.3, widths=(4,)), own)
    play.step(200)
    scene = play.scene_json()
    assert scene["classes"] == ["no", "yes"] and [a["name"] for a in scene["axes"]] == [HOSTILE, "b"]
    assert play.scores[0].metric > 0.95
    assert len(scene["points"]["train"]["row"]) < scene["rows"]["train"]  # a row without a place is not drawn
    number = Play(Choices(data="own", target="b", columns=(HOSTILE, "colour")), own)
    assert number.scene_json()["task"] == "regression"
    for wrong in ({"target": "nothing"}, {"target": "kind, of", "columns": ("colour",)}, {"drawn": ("colour",)}):
        with pytest.raises(PellucidError):
            Play(Choices(data="own", **wrong), own)
    with pytest.raises(PellucidError, match="no table yet"):
        Play(Choices(data="own"))


def test_tables_are_bounded_and_their_errors_told():
    for body, text in (
        (b"", "empty"), (b"a,b\n1,2,3\n", "wrong number of fields"), (b"a,b\n" + b"1,2\n" * 10_001, "not of a size"),
        (b"x" * (MOST_BYTES + 1), "too large"), (b"\x00\x01\x02", "not text"), (b"a\n1\n2\n", "no feature is left"),
    ):  # fmt: skip
        with pytest.raises(PellucidError, match=text) as told:
            read_table(body, "mine.csv")
        assert "/tmp" not in str(told.value) and "mine.csv" in str(told.value)
    many = b"a,b\n" + b"".join(f"{i},n{i}\n".encode() for i in range(50))
    with pytest.raises(PellucidError, match="too many classes"):
        Play(Choices(data="own", target="b"), read_table(many, "mine.csv"))


# -- the race ---------------------------------------------------------------------------------------------------------


def test_racers_begin_alike_and_the_surface_agrees_with_their_losses():
    race = Race(SMALL.replace(widths=(2,)), {"gradient_descent": 0.3, "adam": 0.05}, updates=20)
    race.advance(100)
    assert race.done
    result = race.result()
    gd, adam = race.ways["gradient_descent"], race.ways["adam"]
    assert (gd[0] == adam[0]).all() and (gd[-1] != adam[-1]).any() and len(gd) == 21
    alone = Play(SMALL.replace(widths=(2,), optimizer="adam", learning_rate=0.05))
    alone.step(20)  # Adam in a race is Adam alone
    mine = np.concatenate([alone.weights()[path].reshape(-1) for path in sorted(alone.weights())])
    np.testing.assert_allclose(adam[-1], mine, rtol=1e-5, atol=1e-6)
    assert abs(result["racers"][1]["last"] - alone.scores[0].loss) < 1e-3
    surface = result["surface"]
    heights = np.array(surface["heights"]).reshape(surface["side"], -1)
    (lx, ly), (hx, hy) = surface["low"], surface["high"]
    column = int((0 - lx) / (hx - lx) * 31)  # the start is the plane's origin, and lies in it
    row = int((hy - 0) / (hy - ly) * 31)
    assert abs(heights[row, column] - result["racers"][0]["losses"][0]) < 0.05
    with pytest.raises(SettingError):
        Race(SMALL, {"zzz": 0.1})


def test_the_plane_is_that_of_the_principal_directions():
    g = np.random.default_rng(0)
    two = g.normal(size=(3, 10, 2)) @ g.normal(size=(2, 7))
    along, share = plane(two)
    assert share == pytest.approx(1) and np.allclose(along @ along.T, np.eye(2))
    assert np.allclose(two @ along.T @ along, two)


# -- what it stands on ------------------------------------------------------------------------------------------------


def test_l1_adds_the_sign_of_the_weights_to_the_gradient():
    from pellucid.train.optimizers import SGD

    w = {"w": jnp.array([[2.0, -3.0]]), "b": jnp.array([1.0])}
    tx = SGD(0.5, l1=0.1).transform()
    updates, _ = tx.update({"w": jnp.zeros((1, 2)), "b": jnp.zeros(1)}, tx.init(w), w)
    assert np.allclose(updates["w"], [[-0.05, 0.05]]) and updates["b"].tolist() == [0.0]  # biases are left alone
