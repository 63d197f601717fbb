"""The benchmark as one command: a row from end to end, its table, and going on where it was stopped."""

import json
import os
import sys
import time

import pytest
from bench.journal import Journal
from bench.rows import ROWS

from bench import __main__ as command
from bench import alternate, flops, page, process, tables


def line(row, contender, seconds, round_=1, **more):
    facts = {"at": 0.0, "load": 0.1, "others": 0.01, "peak_memory_bytes": 2**20, "loss": 0.5}
    return {"row": row, "contender": contender, "round": round_, "seconds": seconds, **facts, **more}


LIMITS = {
    "row": "limits",
    "contender": "numpy",
    "round": 1,
    "sgemm": {"512": 1e11, "1024": 2e11},
    "triad": 1e10,
    "at": 0.0,
}


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """One that knows the machine's limits already."""
    monkeypatch.setattr(alternate.limits, "CONTENDERS", ("numpy",))
    monkeypatch.setattr(page, "native", lambda: "")
    found = Journal(tmp_path / "bench.jsonl")
    found.add(LIMITS)
    return found


def test_a_row_from_end_to_end_and_on_from_there(journal, capsys, monkeypatch):
    given = ["--rows", "perceptron-full", "--peers", "sklearn", "--rounds", "1", "--journal", str(journal.path)]
    command.main(given)
    found = {x["contender"]: x for x in Journal(journal.path).of("perceptron-full")}
    assert found["pellucid"]["loss"] == pytest.approx(found["sklearn"]["loss"], rel=1e-4)
    shown = capsys.readouterr()
    cells = next(x for x in shown.out.splitlines() if x.startswith("| 784-10, SGD, all")).strip("| ").split(" | ")
    middle = {c: tables.Spread.of(x["seconds"]).middle for c, x in found.items()}
    assert cells[3] == f"**{middle['sklearn'] / middle['pellucid']:.2f}** (scikit-learn)"
    share = flops.training(ROWS["perceptron-full"].model) * 10_000 / middle["pellucid"] / 2e11
    assert cells[5] == tables.percent(share)
    assert "going on with" in shown.err and " ".join(["python -m bench", *given]) in shown.out

    def never(*_):
        raise AssertionError("a finished benchmark started a process")

    monkeypatch.setattr(process, "run", never)
    command.main(given)
    assert capsys.readouterr().out == shown.out


def test_a_contender_that_fails_or_takes_too_long_ends_nothing(journal, monkeypatch):
    said = []
    monkeypatch.setattr(alternate, "missing", lambda c: "keras is not installed" if c == "keras" else "")
    monkeypatch.setattr(
        process,
        "run",
        lambda command, cap, env: process.Done(
            *((None, "", "", cap, 0.0) if "torch" in command else (3, "", "x\nKaboom: y\n", 1.0, 0.0))
        ),
    )
    alternate.alternate(journal, ["wide"], ["torch", "keras", "flax"], 2, 9.0, said.append)
    told = {x["contender"]: x.get("failed") or x.get("skipped") for x in journal.of("wide")}
    assert told == {
        "pellucid": "Kaboom: y",
        "torch": "took longer than 9 s",
        "keras": "keras is not installed",
        "flax": "Kaboom: y",
    }
    assert "skipped: keras is not installed" in "\n".join(said)
    assert "- PyTorch: failed: took longer than 9 s (wide)" in tables.remarks(journal, ["wide"])


def test_a_process_that_overstays_is_ended_with_its_children():
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    done = process.run([sys.executable, "-c", code], 1.5, dict(os.environ))
    assert done.trouble == "took longer than 2 s"
    child = int(done.out)
    for _ in range(100):  # its parent is gone, so whoever adopted it has to take note
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{child}/stat") as file:
            if file.read().split()[2] == "Z":
                return
        time.sleep(0.05)
    raise AssertionError("the child of a process that was ended lives on")


def test_further_rounds_are_for_who_came_near(journal):
    for contender, seconds in {"pellucid": [1.0], "torch": [9.0], "keras": [1.4], "flax": [2.0]}.items():
        journal.add(line("wide", contender, seconds))
    assert alternate.near(journal, ROWS["wide"], ["pellucid", "torch", "keras", "flax"]) == [
        "pellucid",
        "torch",
        "keras",
    ]


def test_other_work_does_not_count(journal):
    for contender, seconds, loss in (("pellucid", 1.0, 0.5), ("torch", 1.3, 0.502), ("keras", 0.1, 0.6)):
        journal.add(line("wide", contender, [seconds] * 3, loss=loss))
    found = tables.results(journal, ROWS["wide"])
    assert tables.ratio(found) == (1.3, "torch")
    assert tables.cell(found["keras"]) == "100 ms *"
    assert tables.remarks(journal, ["wide"]) == [
        "- Keras (JAX): came to another loss: 0.6000, Pellucid to 0.5000 (wide)"
    ]
    assert "Targets met: wide (1.30 of 1.3)." in page.summary(journal, ["wide"])
    assert "Missed: wide (1% of SGEMM, of 60%)." in page.summary(journal, ["wide"])


def test_medians_and_quartiles():
    spread = tables.Spread.of([0.004, 0.001, 0.002, 0.003, 0.005])
    assert str(spread) == "3.00 ms (2.00-4.00)"
    assert str(tables.Spread.of([2.0])) == "2.00 s"


def test_a_journal_cut_short_goes_on_and_one_of_something_else_is_put_aside(tmp_path):
    path = tmp_path / "bench.jsonl"
    journal = Journal(path)
    journal.add(line("wide", "torch", [1.0]))
    with path.open("a") as file:
        file.write('{"row": "wide", "cont')
    again = Journal(path)
    assert again.resumed == 1 and again.has("wide", "torch", 1) and not again.has("wide", "torch", 2)
    first, rest = path.read_text().split("\n", 1)
    about = json.loads(first)
    about["about"]["source"] = "other"
    path.write_text(json.dumps(about) + "\n" + rest)
    assert Journal(path).resumed == 0
    assert len(list(tmp_path.glob("bench.*.jsonl"))) == 1


def test_the_page_keeps_what_stands_around_the_marks(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write("new\n", path)
    assert path.read_text() == f"before\n{page.BEGIN}\nnew\n{page.END}\nafter\n"
    path.write_text("no marks")
    with pytest.raises(SystemExit, match="between which to write"):
        page.write("new", path)


def test_a_busy_machine_is_told(journal):
    journal.add(line("wide", "torch", [1.0], others=0.4))
    journal.add(line("wide", "pellucid", [1.0]))
    assert (
        page.busy(journal)
        == "**The machine was not quiet**: during 1 of 2 processes others took more than 10% of it (at most 40%)."
    )


def test_an_unknown_row_is_told_with_those_there_are():
    with pytest.raises(SystemExit, match="there is no row 'mpl-64'; there are: perceptron-1, "):
        command.arguments(["--rows", "mpl-64"])
