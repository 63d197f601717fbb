"""Exercises: what is planted is what is asked for, the doctor hints at it, and the known repair mends it."""

import json
import re
import shlex

import pytest

from pellucid import recipe as recipes
from pellucid.cli import main
from pellucid.commands.options import assignments
from pellucid.data.builtin import BUILTIN
from pellucid.doctor.problems import PROBLEMS
from pellucid.exercises import EXERCISES, Judged, begin, check
from pellucid.views.exercise import mended

EACH = list(EXERCISES.values())


def test_there_are_twenty_and_more_from_easy_to_subtle():
    assert len(EACH) >= 20 and [e.stars for e in EACH] == sorted(e.stars for e in EACH)
    assert {e.stars for e in EACH} == {1, 2, 3} and len({e.problem for e in EACH}) >= 15


@pytest.mark.parametrize("exercise", EACH, ids=list(EXERCISES))
def test_each_is_whole(exercise):
    faulty, mended_ = (recipes.make({**exercise.words, **fix}) for fix in ({}, exercise.fix))
    assert faulty != mended_ and faulty.data.source in BUILTIN and faulty.train.plain
    assert exercise.right <= set(PROBLEMS) and exercise.problem not in exercise.accepted
    assert exercise.planted and exercise.lesson.endswith(".") and exercise.story.endswith(".")


@pytest.mark.parametrize("exercise", EACH, ids=list(EXERCISES))
def test_neither_name_nor_story_gives_the_cause_away(exercise):
    told = f"{exercise.name} {exercise.story}".lower()
    for word in exercise.problem.split("_"):
        assert word in ("too", "of", "loss", "output", "units", "layer") or word not in told, word
    assert "pellucid" not in told


@pytest.mark.parametrize("exercise", EACH, ids=list(EXERCISES))
def test_the_known_repair_can_be_pasted(exercise):
    line = mended(exercise.fix)
    if line.startswith("--fix"):
        words = assignments(shlex.split(line)[1::2])
        assert set(words) == set(exercise.fix) and words.get("rates") == exercise.fix.get("rates")
        recipes.make({**exercise.words, **words})


HANDFUL = ["glacier", "lights-out", "ruler", "twins", "fuse"]


@pytest.mark.slow
@pytest.mark.parametrize("name", HANDFUL)
def test_the_doctor_sees_it_and_the_known_repair_mends_it(name):
    exercise = EXERCISES[name]
    begun = begin(exercise)
    alarms = [f for f in begun.findings if f.alarm]
    assert alarms and alarms[0].problem in exercise.right, begun.findings
    judged = check(exercise, exercise.fix)
    assert judged.helps and judged.reaches


def test_a_change_has_to_beat_the_noise():
    judged = Judged("metric", [0.5, 0.6, 0.7], [0.6, 0.7, 0.8], [0.98, 0.97, 0.99])
    assert not judged.helps and not judged.reaches
    judged = Judged("metric", [0.50, 0.51, 0.52], [0.70, 0.71, 0.72], [0.98, 0.97, 0.99])
    assert judged.helps and not judged.reaches
    minus = float("-inf")
    assert Judged("loss", [minus, minus, minus], [-0.2, -0.2, -0.2], [-0.2, -0.2, -0.2]).helps
    assert not Judged("loss", [-0.5, -0.5, -0.5], [minus, minus, minus], [-0.2, -0.2, -0.2]).helps
    assert not Judged("loss", [minus], [minus], [-0.2]).reaches


# -- the command --------------------------------------------------------------------------------------------------


def call(capsys, *args):
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    return left.value.code, out, err


def test_they_are_listed(capsys):
    code, out, _ = call(capsys, "exercise")
    assert code == 0 and all(name in out for name in EXERCISES) and "★★★" in out
    code, out, _ = call(capsys, "exercise", "--json")
    assert [e["name"] for e in json.loads(out)] == list(EXERCISES) and set(json.loads(out)[0]) == {
        "name",
        "stars",
        "story",
    }


def test_one_shows_the_evidence_and_hides_the_diagnosis(capsys, tmp_path):
    code, out, err = call(capsys, "exercise", "glacier", "--out", tmp_path / "run")
    assert code == 0 and "training " in out and "validation " in out and "accuracy: train" in out
    assert "something is unusual" in out and "How far do the weights move" in out
    assert "pellucid exercise glacier --cause PROBLEM" in out
    assert "too small" not in out + err and not re.search("learning_rate_too_low(?!,)", out + err)
    assert json.loads((tmp_path / "run" / "findings.json").read_text()) == []
    assert (tmp_path / "run" / "record.jsonl").is_file()


def test_answers_are_judged_and_explained(capsys):
    code, out, _ = call(
        capsys, "exercise", "glacier", "--cause", "learning-rate-too-low", "--fix", "learning_rate=0.005"
    )
    out = " ".join(out.split())
    assert code == 0 and out.startswith("right") and "it helps, and reaches the known repair" in out
    assert "planted Adam with a learning rate of 0.000003" in out and "mend it --fix learning_rate=0.005" in out
    code, out, _ = call(capsys, "exercise", "glacier", "--cause", "overfitting")
    assert code == 1 and "is not what was planted" in out and "planted  " not in out and "--reveal" in out
    code, out, _ = call(
        capsys, "exercise", "glacier", "--cause", "learning_rate_too_low", "--fix", "learning_rate=1e-7", "--json"
    )
    told = json.loads(out)
    assert code == 1 and told["right"] is True and told["fix"]["helps"] is False and len(told["fix"]["changed"]) == 3


def test_other_names_of_the_cause_are_right_as_well(capsys):
    code, out, _ = call(capsys, "exercise", "corners", "--cause", "saturated_units")
    assert code == 0 and out.startswith("right    saturated units: that is how it shows")
    assert "(bad_initial_weights)" in out


def test_all_is_shown_to_who_asks(capsys):
    code, out, _ = call(capsys, "exercise", "tower", "--reveal")
    assert code == 0 and "vanishing gradients" in out and "twelve hidden layers of sigmoids" in out
    assert "Hochreiter 1991" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["towre"], "did you mean 'tower'?"),
        (["tower", "--cause", "vanishing_gradient"], "did you mean 'vanishing_gradients'?"),
        (["tower", "--cause", "overfitting", "--fix", "epohcs=3"], "did you mean 'epochs'?"),
        (["tower", "--cause", "overfitting", "--fix", "epochs"], "KEY=VALUE"),
        (["tower", "--fix", "epochs=3"], "name it: --cause PROBLEM"),
        (["--reveal"], "no exercise is named"),
    ],
)
def test_mistakes_are_told_in_words(capsys, args, said):
    code, out, err = call(capsys, "exercise", *args)
    assert code == 2 and out == "" and err.startswith("error: ") and said in err and "Traceback" not in err
