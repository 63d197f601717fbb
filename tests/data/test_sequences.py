import json
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data import Dataset, Features, Targets, encode, load, prepare
from pellucid.data.sequences import Cut, cut_table
from pellucid.errors import DataError, SettingError

G = np.random.default_rng(0)


def problem(call, *args, **kwargs):
    with pytest.raises((DataError, SettingError)) as caught:
        call(*args, **kwargs)
    return str(caught.value)


def walks(n=30, longest=6, seed=0):
    """One row a step, shuffled: id, time, two features, and whether the walk ends above zero."""
    g, rows = np.random.default_rng(seed), []
    for walk in range(n):
        steps = g.normal(size=int(g.integers(2, longest + 1)) if walk else longest)
        for t, a in enumerate(steps):
            rows.append((f"w{walk}", t * 10, a, "xy"[t % 2], "up" if steps.sum() > 0 else "down"))
    table = pl.DataFrame(rows, ["id", "t", "a", "kind", "label"], orient="row")
    return table[g.permutation(len(table))]


def series(n=120):
    t = np.arange(n)
    return pl.DataFrame(
        {"day": [date(2024, 1, 1) + timedelta(int(i)) for i in t], "load": np.sin(t / 5), "wind": G.normal(size=n)}
    )


CUT = {"group": "id", "time": "t", "sequences": True}


def test_the_rows_of_a_group_are_the_steps_of_a_sequence():
    table = walks()
    data = load(table, target="label", **CUT)
    assert len(data) == 30 and data.feature_names == ("a", "kind") and data.group is None and data.time is None
    p = prepare(data)
    f = p.features
    assert (
        f.shape == (6, len(f.names))
        and f.names[0] == "a"
        and (f.dtype, f.per, f.padded) == ("float32", "channel", True)
    )
    order = table["id"].unique(maintain_order=True).to_list()
    for x, y, row in zip(p.train.x, p.train.y, p.train.rows, strict=True):  # oracle: filter and sort
        mine = table.filter(pl.col("id") == order[row]).sort("t")
        np.testing.assert_allclose(x[: len(mine), 0], mine["a"].to_numpy().astype(np.float32))
        assert np.isnan(x[len(mine) :]).all() and not np.isnan(x[: len(mine)]).any()
        assert p.targets.classes[y] == mine["label"][0]
    rows = np.concatenate([x[~np.isnan(x).all(1)] for x in p.train.x]).astype(np.float64)
    np.testing.assert_allclose(f.mean[0], rows[:, 0].mean(), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(f.scale[0], rows[:, 0].std(), rtol=1e-5)
    assert f.mean[1:].tolist() == [0.0] * (len(f.names) - 1) and f.scale[1:].tolist() == [1.0] * (len(f.names) - 1)
    assert any("30 sequences of 2 to 6 steps" in note for note in p.notes)
    assert any("shorter than 6 steps are filled up at the end" in note for note in p.notes)


def test_sequences_that_were_saved_and_a_new_table():
    p = prepare(load(walks(), target="label", **CUT))
    f = Features.from_json(json.loads(json.dumps(p.features.to_json())))
    t = Targets.from_json(p.targets.to_json())
    assert f.to_json() == p.features.to_json()
    new = walks(5, 9, seed=1)
    x = f.transform(new.drop("label"))
    assert x.shape == (5, 6, len(f.names))
    first = new.filter(pl.col("id") == new["id"][0]).sort("t")["a"].to_numpy().astype(np.float32)
    np.testing.assert_array_equal(x[0, : min(6, len(first)), 0], first[-6:], "of those too long, the last steps")
    part = encode(load(new, target="label", **CUT), f, t)
    np.testing.assert_array_equal(part.x, x)
    assert "column 't'" in problem(f.transform, new.drop("t"))
    assert "trained on sequences" in problem(f.transform, np.zeros((2, 6, 4)))
    assert "column 'a' is missing" in problem(f.transform, new.drop("a"))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=6).filter(lambda n: max(n) > 1), st.randoms(use_true_random=False)
)
def test_taking_sequences_keeps_their_rows(lengths, random):
    rows = [(g, t, float(10 * g + t)) for g, n in enumerate(lengths) for t in range(n)]
    random.shuffle(rows)
    x, *_ = cut_table(pl.DataFrame(rows, ["g", "t", "v"], orient="row"), Cut("g", "t"), "here")
    order = list(dict.fromkeys(g for g, *_ in rows))
    picked = np.array(random.sample(range(len(lengths)), 2))
    for i, g in zip(range(2), picked, strict=True):
        part = x[picked]
        got = part.table["v"][int(part.starts[i]) : int(part.starts[i] + part.lengths[i])].to_list()
        assert got == [10 * order[g] + t for t in range(lengths[order[g]])]


def test_equal_lengths_need_no_filling_and_long_ones_are_cut():
    table = pl.DataFrame({"id": np.repeat(range(10), 4), "a": G.normal(size=40), "y": np.repeat(np.arange(10.0), 4)})
    p = prepare(load(table, target="y", group="id", sequences=True))
    assert not p.features.padded and p.targets.task == "regression" and not np.isnan(p.train.x).any()
    assert any("in the order of the rows, for no time was named" in note for note in p.notes)
    said = problem(p.features.transform, table[:3].drop("y"))
    assert "shorter than those of training" in said and "4 steps, as all had" in said and "3 steps" in said
    q = prepare(load(table, target="y", group="id", sequences=True), context=3)
    assert q.features.shape == (3, 1) and any("10 of 10 sequences are longer than 3 steps" in n for n in q.notes)
    np.testing.assert_array_equal(q.train.x, p.train.x[:, 1:])
    assert prepare(load(table, target="y", group="id", sequences=True), standardize=False).features.mean.tolist() == [
        0.0
    ]


def test_gaps_are_filled_with_what_came_before():
    table = pl.DataFrame(
        {"id": [1, 1, 1, 2, 2, 2], "a": [1.0, None, float("nan"), None, 5.0, 6.0], "y": ["p", None, "p", "q", "q", "q"]}
    )
    data = load(table, target="y", group="id", sequences=True)
    assert data.x.table["a"].to_list() == [1, 1, 1, None, 5, 6] and data.y.tolist() == ["p", "q"]
    assert any("3 missing values are filled with the last one known" in note for note in data.notes)
    f, _ = Features.fit(data.x)
    assert f.names == ("a", "a missing") and f.transform(data.x)[1, 0].tolist() == [1.0, 1.0], "else with the median"


def test_targets_that_change_within_a_sequence():
    table = pl.DataFrame({"id": [1, 1, 2, 2], "a": [1.0, 2, 3, 4], "y": ["p", "q", "q", None]})
    data = load(table, target="y", group="id", sequences=True)
    assert data.y.tolist() == ["q", "q"]
    assert any("target 'y' changes within 1 sequences: the last value of each is taken" in n for n in data.notes)
    ragged = table.with_columns(y=pl.Series([[1], [1, 2], [3], [4]]))
    said = problem(load, ragged, target="y", group="id", sequences=True)
    assert "a target must be one value" in said and "column 'y'" in said


def test_windows_of_one_series():
    table = series()
    data = load(table[::-1], target="load", time="day", window=8)
    assert len(data) == 112 and data.feature_names == ("load", "wind")
    np.testing.assert_array_equal(data.y, table["load"].to_numpy()[8:])
    p = prepare(data)
    f = p.features
    assert (f.shape, f.names, f.padded, p.targets.task) == ((8, 2), ("load", "wind"), False, "regression")
    values = table.select("load", "wind").to_numpy().astype(np.float32)
    for part in (p.train, p.validation, p.test):
        assert part is not None
        for x, y, row in zip(part.x, part.y, part.rows, strict=True):
            np.testing.assert_array_equal(x, values[row : row + 8])
            np.testing.assert_allclose(y * p.targets.scale + p.targets.mean, table["load"][int(row) + 8], atol=1e-6)
    used = [{int(r) + i for r in part.rows for i in range(9)} for part in (p.train, p.validation, p.test) if part]
    assert not (used[0] & used[1] or used[1] & used[2] or used[0] & used[2])
    assert max(used[0]) < min(used[1]) and max(used[1]) < min(used[2])
    assert any("16 windows that reach from one part into the next are left out" in n for n in p.notes)
    train = values[: max(used[0])]  # the last target is no input
    np.testing.assert_allclose(f.mean, train.mean(0, dtype=np.float64), atol=1e-6)
    again = Features.from_json(json.loads(json.dumps(f.to_json()))).transform(table[:10])
    np.testing.assert_array_equal(again, np.stack([values[i : i + 8] for i in range(3)]), "up to the row not yet known")


def test_windows_stay_within_their_group():
    one = series(30)
    both = pl.concat(
        [one.with_columns(site=pl.lit("a")), one[:20].with_columns(pl.col("load") + 100, site=pl.lit("b"))]
    )
    data = load(both, target="load", time="day", group="site", window=5)
    assert len(data) == 25 + 15
    x = Features.fit(data.x)[0].transform(data.x)
    assert ((x[:, :, 0] > 50).all(1) | (x[:, :, 0] < 50).all(1)).all()
    p = prepare(data, split=(0.7, 0.3, 0))
    assert p.validation is not None and max(data.time[p.train.rows]) <= min(data.time[p.validation.rows])
    assert len(prepare(load(series(60), target="load", window=3), fold=(1, 2)).train) > 0


def test_tables_that_cannot_be_cut():
    table = walks()
    said = problem(load, table, target="label", time="t", sequences=True)
    assert "sequences need a group" in said and "--window N" in said
    said = problem(load, table.with_row_index("row"), target="label", group="row", sequences=True)
    assert "each sequence has one row only" in said and "--group" in said
    assert "there is no column 'idd'" in problem(load, table, target="label", group="idd", sequences=True)
    gap = table.with_columns(t=pl.when(pl.col("t") > 0).then("t"))
    said = problem(load, gap, target="label", **CUT)
    assert "the time column has gaps" in said and "column 't', row" in said
    assert "two ways to cut a table" in problem(load, table, target="label", **CUT, window=3)
    assert "must name a column" in problem(load, table, target="label", group=np.zeros(len(table)), sequences=True)
    assert "another role" in problem(load, table, target="t", **CUT)
    assert "no feature is left" in problem(load, table.select("id", "t", "label"), target="label", **CUT)
    assert "in time order, not both" in problem(prepare, load(table, target="label", group="id", time="t"))
    assert "--sequences" in problem(prepare, load(table, target="label", group="id", time="t"))
    assert "sequences says how a table is read" in problem(load, "iris", sequences=True)
    single = pl.concat([table, pl.DataFrame({"id": ["z"], "t": [0], "a": [0.0], "kind": ["x"], "label": ["up"]})])
    assert any("1 sequences have a single row" in note for note in load(single, target="label", **CUT).notes)
    twice = pl.concat([single, single.tail(1)])
    assert any("1 rows have the same time" in note for note in load(twice, target="label", **CUT).notes)


def test_series_that_are_too_short():
    said = problem(load, series(8), target="load", window=8)
    assert "the series is shorter than the window" in said and "at least 9 rows" in said and "--window 2" in said
    said = problem(prepare, load(series(40), target="load", window=10))
    assert "no window of 10 steps fits into the validation part" in said and "--split" in said
    assert "a whole number >= 1" in problem(load, series(8), target="load", window=0)
    p = prepare(load(series(), target="load", time="day", window=8))
    assert "shorter than the window" in problem(p.features.transform, series(7))


def test_weights_and_fingerprints_of_sequences():
    table = walks().with_columns(w=pl.lit(2.0))
    data = load(table, target="label", weight="w", **CUT)
    assert data.weight.tolist() == [2.0] * 30 and data.feature_names == ("a", "kind")
    assert data.fingerprint() == load(table, target="label", weight="w", **CUT).fingerprint()
    other = table.with_columns(a=pl.col("a") + 1)
    assert data.fingerprint() != load(other, target="label", weight="w", **CUT).fingerprint()
    own = prepare(load(walks(), target="label", test=walks(4, seed=3), **CUT)).test
    assert own is not None and len(own) == 4


# -- arrays -------------------------------------------------------------------------------------------------------


def test_arrays_of_different_lengths_are_filled_up():
    steps = [G.normal(size=(n, 2)).astype(np.float32) for n in (3, 5, 1, 4)]
    data = Dataset(steps, [0, 1, 0, 1])
    assert data.x.shape == (4, 5, 2) and data.x.dtype == np.float32
    f, notes = Features.fit(data.x)
    assert f.padded and f.shape == (5, 2) and f.per == "channel" and "sequences of 1 to 5 steps" in notes[0]
    together = np.concatenate(steps).astype(np.float64)
    np.testing.assert_allclose(f.mean, together.mean(0), atol=1e-6)
    np.testing.assert_allclose(f.scale, together.std(0), rtol=1e-5)
    again = Features.from_json(json.loads(json.dumps(f.to_json())))
    np.testing.assert_array_equal(again.transform(data.x), data.x)
    assert not Features.fit(np.ones((4, 5, 2)) * G.normal(size=(4, 1, 1)))[0].padded


def test_arrays_that_are_filled_up_wrongly():
    x = np.ones((3, 4, 2))
    x[0, 3], x[2, 1] = np.nan, np.nan
    said = problem(Features.fit, x)
    assert "filled up at a wrong place" in said and "sequence 3" in said and "steps of NaN before others" in said
    x[2] = np.nan
    assert "no step at all" in problem(Features.fit, x)
    x[2], x[1, 0, 1] = 1, np.nan
    assert "hold no other gaps" in problem(Features.fit, x)
    x[1, 0, 1] = 1
    f, _ = Features.fit(x)
    x[0, 3], x[0, 2, 0] = 1, np.inf
    assert "hold no other gaps" in problem(f.transform, x)


def test_predictions_say_which_sequence_they_are_of():
    p = prepare(load(walks(), target="label", **CUT))
    table = walks(4, seed=5)
    assert p.features.encoder.examples(table) == {"id": table["id"].unique(maintain_order=True).to_list()}
    p = prepare(load(series(), target="load", time="day", window=8))
    assert p.features.encoder.examples(series(10)) == {"day": [date(2024, 1, d) for d in (8, 9, 10)]}
    p = prepare(load(series().drop("day"), target="load", window=8))
    assert p.features.encoder.examples(series(10)) == {"row": [8, 9, 10]}
