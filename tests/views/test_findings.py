"""What the doctor says, in the terminal and on the page."""

from types import SimpleNamespace

import pytest
from rich.console import Console

from pellucid.doctor.finding import Finding, Remedy, Trial
from pellucid.views import report_findings
from pellucid.views.findings import findings, numbers, repaired

RELU = Remedy({"activation": "relu"}, "ReLU")
VANISHING = Finding(
    "vanishing_gradients", "warning", "gradients shrink 4 times a layer", layer="<hidden1>", step=1200,
    evidence={"gradient_decay": {"ratio": 1e-9, "factor": 4.0}, "explains": {"plateau": "it stands"}}, remedies=(RELU,),
    tried=(Trial(RELU, 200, 2.3, (2.3, 2.3), (0.5, 0.7), True),),
).to_json()  # fmt: skip
NOTE = Finding("duplicate_rows", "note", "1 row is a copy").to_json()


def shown(thing, width=100):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(thing)
    return capture.get()


def test_a_run_that_goes_well_gets_one_line():
    assert shown(findings([])) == "doctor: nothing is wrong\n"
    assert shown(findings([NOTE])) == "doctor: nothing is wrong (1 note in findings.json)\n"
    assert "1 row is a copy" in shown(findings([NOTE], notes=True))


def test_an_alarm_says_what_where_why_and_what_to_do():
    said = shown(findings([NOTE, VANISHING]))
    for part in (
        "doctor: vanishing gradients, <hidden1>", "shrink 4 times a layer", "error is multiplied", "try  ReLU",
        "--set activation=relu", "Hochreiter 1991", "after 200 updates the loss is 0.6, and 2.3 without", "it helps",
    ):  # fmt: skip
        assert part in said
    assert "copy" not in said  # notes do not disturb


def test_a_hint_gives_evidence_and_a_question_and_not_the_cause():
    said = shown(findings([VANISHING], "hint"))
    assert "something is unusual in <hidden1> since step 1,200" in said and "ratio 1e-09, factor 4" in said
    assert "How large is the gradient at the last layer" in said
    assert "vanish" not in said and "ReLU" not in said and "it stands" not in said


@pytest.mark.parametrize("width", [40, 80])
def test_narrow_terminals_are_not_overrun(width):
    assert max(len(line) for line in shown(findings([VANISHING]), width).splitlines()) <= width


def test_evidence_is_numbers_alone():
    assert numbers({"a": {"x_y": 1.0, "ok": True}, "z": 2, "name": "w", "explains": {"p": "q"}}) == "x y 1, z 2"


ROUND = {
    "trials": [VANISHING["tried"][0]], "kept": True, "problem": "vanishing_gradients", "text": "ReLU",
    "remedy": "--set a", "by": "loss", "before": 2.3, "after": 0.5, "metric": "accuracy", "metric_before": 0.1,
    "metric_after": 0.9,
}  # fmt: skip


def test_what_repair_came_to():
    told = {
        "repair": {
            "rounds": [ROUND, {**ROUND, "kept": False, "after": None}, {"trials": ROUND["trials"], "kept": False}]
        }
    }
    said = shown(repaired(told), 200)
    assert "ReLU (--set a) is kept: validation loss 2.3 to 0.5, accuracy 0.1 to 0.9" in said
    assert "rolled back, for it diverged" in said and "1 remedies tried, none helps" in said
    assert repaired({}) is None and repaired({"repair": {"rounds": []}}) is None


def test_the_page_tells_all_of_it_and_escapes_what_comes_from_outside():
    page = report_findings.findings(SimpleNamespace(findings=[NOTE, VANISHING], result={"repair": {"rounds": [ROUND]}}))
    assert "&lt;hidden1&gt;" in page and "<hidden1>" not in page and "since step 1,200" in page
    assert "<code>--set activation=relu</code>" in page and "1 row is a copy" in page
    assert "2.3000, 2.3000" in page and "0.5000, 0.7000" in page and "yes" in page
