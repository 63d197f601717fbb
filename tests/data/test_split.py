import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.split import fold_rows, split_rows
from pellucid.errors import DataError, SettingError

FRACTIONS = st.tuples(st.sampled_from([0.0, 0.1, 0.15, 0.3]), st.sampled_from([0.0, 0.1, 0.15, 0.3]))
COMMON = settings(max_examples=60, deadline=None)


def covered(split, rows):
    parts = np.concatenate([split.train, split.validation, split.test])
    return sorted(parts.tolist()) == list(range(rows))


@COMMON
@given(st.integers(3, 200), FRACTIONS, st.integers(0, 3))
def test_shuffled_parts_are_disjoint_cover_all_and_have_their_size(rows, fractions, seed):
    split = split_rows(rows, fractions, seed=seed)
    assert covered(split, rows)
    for part, fraction in zip((split.validation, split.test), fractions, strict=True):
        assert abs(len(part) - rows * fraction) <= 1
        assert (len(part) > 0) == (fraction > 0)
    again = split_rows(rows, fractions, seed=seed)
    np.testing.assert_array_equal(split.train, again.train)


@COMMON
@given(st.lists(st.integers(1, 40), min_size=2, max_size=8), FRACTIONS, st.integers(0, 3))
def test_stratified_parts_hold_their_share_of_every_class_within_one_row(sizes, fractions, seed):
    classes = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    if len(classes) < 3:
        return
    split = split_rows(len(classes), fractions, classes=classes, seed=seed)
    assert covered(split, len(classes))
    for label, size in enumerate(sizes):
        assert (classes[split.train] == label).any()
        for part, fraction in zip((split.validation, split.test), fractions, strict=True):
            count = (classes[part] == label).sum()
            assert abs(count - size * fraction) <= 1 or size < 3
            assert not (size >= 3 and fraction > 0 and count == 0)


def test_stratified_totals_come_out_right_although_each_class_rounds():
    classes = np.repeat(np.arange(40), 10)  # 1.5 rows of each class for each part
    split = split_rows(400, (0.15, 0.15), classes=classes)
    assert (len(split.validation), len(split.test)) == (60, 60)


@COMMON
@given(st.lists(st.integers(1, 30), min_size=3, max_size=30), st.integers(0, 3), st.booleans())
def test_no_group_is_in_two_parts_and_no_part_is_empty(sizes, seed, by_class):
    group = np.repeat([f"g{i}" for i in range(len(sizes))], sizes).astype(object)
    classes = np.arange(len(group)) % 3 if by_class else None
    split = split_rows(len(group), (0.15, 0.15), group=group, classes=classes, seed=seed)
    assert covered(split, len(group))
    seen = [set(group[part]) for part in (split.train, split.validation, split.test)]
    assert all(seen)
    assert sum(map(len, seen)) == len(sizes)


def test_groups_of_like_size_come_close_to_the_fractions():
    group = np.repeat(np.arange(100), 7)
    split = split_rows(700, (0.15, 0.15), group=group)
    assert (len(split.validation), len(split.test)) == (105, 105)


@COMMON
@given(st.lists(st.integers(0, 30), min_size=3, max_size=100))
def test_in_time_order_nothing_learned_comes_after_what_is_tested(times):
    time = np.array(times)
    split = split_rows(len(time), (0.15, 0.15), time=time)
    assert covered(split, len(time))
    assert all(len(part) for part in (split.train, split.validation, split.test))
    assert time[split.train].max() <= time[split.validation].min()
    assert time[split.validation].max() <= time[split.test].min()


def test_rows_of_one_moment_stay_together():
    time = np.repeat(np.arange(10), 7)
    split = split_rows(70, (0.15, 0.15), time=time)
    assert not set(time[split.train]) & set(time[split.validation])
    assert not set(time[split.validation]) & set(time[split.test])


@COMMON
@given(st.integers(10, 80), st.integers(2, 5), st.sampled_from(["plain", "classes", "group"]), st.integers(0, 2))
def test_each_row_is_tested_in_one_fold(rows, folds, kind, seed):
    labels = np.random.default_rng(seed).integers(0, 3, rows)
    by = {"classes": {"classes": labels}, "group": {"group": np.arange(rows) // 2}, "plain": {}}[kind]
    tested = []
    for k in range(folds):
        rest, test = fold_rows(rows, (k, folds), seed=seed, **by)
        assert sorted([*rest.tolist(), *test.tolist()]) == list(range(rows))
        if kind == "classes":
            for label in range(3):
                assert abs((labels[test] == label).sum() - (labels == label).sum() / folds) < 1
        if kind == "group":
            assert not set(by["group"][rest]) & set(by["group"][test])
        tested += test.tolist()
    assert sorted(tested) == list(range(rows))


def test_folds_in_time_order_learn_from_what_came_before():
    time = np.arange(40)[::-1]
    for k in range(3):
        rest, test = fold_rows(40, (k, 3), time=time)
        assert len(test) == 10
        assert time[rest].max() < time[test].min()


def test_too_few_rows_groups_or_folds():
    with pytest.raises(DataError) as few:
        split_rows(2, (0.15, 0.15))
    assert "at least 3 rows, one for each part" in str(few.value)
    assert "n_samples = 2" in str(few.value)
    with pytest.raises(DataError) as groups:
        split_rows(9, (0.15, 0.15), group=np.arange(9) % 2)
    assert "there are fewer groups than parts" in str(groups.value)
    with pytest.raises(DataError) as folds:
        fold_rows(3, (0, 4))
    assert "there are fewer rows than folds" in str(folds.value)
    with pytest.raises(SettingError) as fold:
        fold_rows(9, (3, 3))
    assert "k from 0 to K - 1" in str(fold.value)
