"""Every example in the pages is run, and prints what stands beside it. `make docs` writes outputs anew."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
assert SPEC is not None and SPEC.loader is not None
refresh = importlib.util.module_from_spec(SPEC)
sys.modules["refresh"] = refresh
SPEC.loader.exec_module(refresh)

CONCEPTS = refresh.read(ROOT / "docs" / "concepts.md")
README = refresh.read(ROOT / "README.md") if (ROOT / "README.md").is_file() else []
WANTED = {str(number) for number in range(1, 33)}


def check(section, folder, before=None):
    outcomes = refresh.run(section, folder, before)
    assert outcomes, "nothing was run"
    wrong = [str(outcome) for outcome in outcomes if not outcome.same]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("section", CONCEPTS, ids=lambda section: section.title.split(":")[0].replace(" ", "-"))
def test_concepts(section, tmp_path):
    check(section, tmp_path, refresh.opening(CONCEPTS))


@pytest.mark.parametrize("section", README, ids="README {0.title}".format)
def test_readme(section, tmp_path):
    check(section, tmp_path)


def test_every_concept_has_its_heading_formula_source_and_example():
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    headings = {line.split(".")[0].removeprefix("## ") for line in text.splitlines() if line.startswith("## ")}
    assert headings >= WANTED
    parts = text.split("\n## ")[1:]
    numbered = [part for part in parts if part.split(".")[0] in WANTED]
    assert [part.splitlines()[0] for part in numbered if "Formula: " not in part or "Source: " not in part] == []
    run = {section.title.split(".")[0] for section in CONCEPTS}
    assert run >= WANTED


def block_after(text: str, mark: str) -> str:
    return text.split(f"<!-- {mark} -->\n```python\n")[1].split("```")[0]


@pytest.mark.slow
def test_a_newcomer_who_follows_the_guide_has_a_layer_that_keeps_the_contract(tmp_path):
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "src" / "pellucid", tmp_path / "pellucid", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pellucid" / "network" / "gate.py").write_text(block_after(guide, "the layer"), encoding="utf-8")
    test = (ROOT / "tests" / "network" / "test_layer_contract.py").read_text(encoding="utf-8")
    start = "import pellucid.network\n"
    assert test.count(start) == test.count("\nCASES = [\n") == 1
    test = test.replace(start, f"{start}from pellucid.network.gate import GLU\n")
    test = test.replace("\nCASES = [\n", f"\nCASES = [\n{block_after(guide, 'the case')}")
    (tmp_path / "test_contract.py").write_text(test, encoding="utf-8")
    shutil.copy(ROOT / "tests" / "network" / "windows.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--doctest-modules", "-W", "error", "-q", "-k",
         "glu and not swiglu or example", "test_contract.py", "pellucid/network/gate.py"],
        cwd=tmp_path, env={**refresh.environment(), "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout  # every layer has an example; four of the contract; the doctest


# -- the program that runs them -------------------------------------------------------------------------------------

PAGE = """# A page

```python
>>> ten = 10

```

## One
<!-- tested -->
```python
>>> ten + 1
12
>>> print("a", "b")
a b
>>> 1 / 0
Traceback (most recent call last):
  ...
ZeroDivisionError: division by zero

```

```console
$ pellucid --version
pellucid 9
```

```sh
rm everything
```
"""


def test_a_wrong_output_is_found_and_written_anew(tmp_path):
    import pellucid

    before, one = refresh.sections(PAGE)
    outcomes = refresh.run(one, tmp_path, before)
    assert [outcome.same for outcome in outcomes] == [False, True, True, False]
    assert "line 12: ten + 1\nexpected:\n12\ngot:\n11" in str(outcomes[0])
    anew = refresh.refreshed(PAGE, outcomes)
    assert anew == PAGE.replace("\n12\n", "\n11\n").replace("pellucid 9", f"pellucid {pellucid.__version__}")
    assert all(outcome.same for outcome in refresh.run(refresh.sections(anew)[1], tmp_path, before))


def test_an_error_that_the_page_does_not_announce_is_wrong(tmp_path):
    page = "```python\n>>> unknown\n\n```\n```console\n$ pellucid trian\n```\n"
    python, console = refresh.run(refresh.sections(page)[0], tmp_path)
    assert python.raised and "NameError: name 'unknown' is not defined" in python.got
    assert console.raised and "[exit code 2]" in console.got and "did you mean 'train'" in console.got


def test_where_only_marked_examples_run_the_others_are_left_alone():
    (section,) = refresh.sections(PAGE, marked_only=True)
    assert [block.text.splitlines()[0] for block in section.blocks] == [">>> ten + 1"]


def test_only_pellucid_is_run(tmp_path):
    section = refresh.Section("x", [refresh.Block("console", 3, "$ rm everything\n")])
    with pytest.raises(ValueError, match="line 4: only pellucid is run here, got: rm everything"):
        refresh.run(section, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("all of it\n", "something else\n", "something else\n"),
        ("score 0.91\n...\nrun a\n", "score 0.92\nloss 3\nrun a\n", "score 0.92\n...\nrun a\n"),
        ("took 3 s; ...\n", "took 4 s; all well\n", "took 4 s; all well\n"),  # what cannot match is written whole
    ],
)
def test_outputs_stay_trimmed(old, new, shown):
    assert refresh.trimmed(old, new) == shown
