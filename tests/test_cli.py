"""The command line as a person meets it: real processes where streams, signals and exit codes are at stake, the rest
in this process, where JAX is already loaded."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pellucid.cli import main

SRC = Path(__file__).resolve().parents[1] / "src"
SECONDS = 240  # a machine may be busy


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "PELLUCID_HOME", "COLUMNS")}
    return {**kept, "PYTHONPATH": str(SRC), "JAX_PLATFORMS": "cpu", "TERM": "xterm-256color", **changes}


def process(*args, cwd, **changes):
    return subprocess.run(
        [sys.executable, "-m", "pellucid", *map(str, args)], cwd=cwd, env=environment(**changes), capture_output=True,
        text=True, encoding="utf-8", timeout=SECONDS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a table of mixed types, and new rows without their target."""
    folder = tmp_path_factory.mktemp("cli")
    rows = ["age,city,bought"]
    for i in range(120):
        age = "" if i % 17 == 0 else 20 + i % 50
        rows.append(f"{age},{('Graz', 'Linz', 'Wien')[i % 3]},{'yes' if (20 + i % 50) > 45 else 'no'}")
    (folder / "shop.csv").write_text("\n".join(rows) + "\n")
    (folder / "new.csv").write_text("city,age,other\nLinz,60,1\nGraz,21,2\n")
    return folder


@pytest.fixture(scope="module")
def trained(place):
    """`pellucid train` as a process, away from any terminal; everything else looks at its run."""
    options = ["--epochs", 60, "--network", "mlp:8", "--learning-rate", 0.02, "--patience", 60, "--out", "shop"]
    done = process("train", "shop.csv", "--target", "bought", *options, cwd=place)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def here(place, trained, monkeypatch):
    """In that folder, with the run `shop` there."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("PELLUCID_HOME", raising=False)
    return place


def call(capsys, *args):
    """(exit code, stdout, stderr) of a command run in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    return left.value.code, out, err


# -- train --------------------------------------------------------------------------------------------------------


def test_the_result_goes_to_stdout_and_progress_to_stderr(trained, place):
    assert "this network" in trained.stdout and "epoch" not in trained.stdout.split("best epoch")[0]
    assert re.search(r"^report +shop/report.html$", trained.stdout, re.M)
    epochs = [line for line in trained.stderr.splitlines() if line.startswith("epoch")]
    assert 20 <= len(epochs) <= 50 and epochs[-1].startswith("epoch 60/60")
    assert "\x1b" not in trained.stdout + trained.stderr  # no terminal, no escape codes
    assert all(len(line) <= 80 for line in trained.stdout.splitlines())
    assert "this network" not in trained.stderr
    files = {p.name for p in (place / "shop").iterdir()}
    assert files >= {"recipe.toml", "network.json", "weights.safetensors", "record.jsonl", "result.json", "report.html"}


def test_json_is_one_line_and_nothing_else(trained, place):
    done = process(
        "train", "shop/recipe.toml", "--epochs", 1, "--seed", 3, "--json", "--out", "told", cwd=place, FORCE_COLOR="1"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    result = json.loads(done.stdout)
    assert result == json.loads((place / "told" / "result.json").read_text())
    assert result["epochs"] == 1 and result["seed"] == 3 and result["run"] == "told"
    recipe = tomllib.loads((place / "told" / "recipe.toml").read_text())
    assert recipe["data"]["target"] in ("bought", ["bought"]) and recipe["network"]["spec"] == "mlp:8"


def test_a_dry_run_is_a_recipe_and_touches_nothing(here, capsys):
    before = sorted(p.name for p in here.iterdir())
    code, out, _ = call(capsys, "train", "shop.csv", "--target", "bought", "--learning-rate", "auto", "--dry-run")
    assert code == 0 and sorted(p.name for p in here.iterdir()) == before
    recipe = tomllib.loads(out)  # all else is comments
    assert recipe["train"]["learning_rate"] == "auto" and recipe["network"]["spec"] == "mlp"
    assert "# hidden1" in out and "range test" in out
    code, out, _ = call(capsys, "train", "shop.csv", "--target", "bought", "--dry-run", "--json")
    assert {"recipe", "layers", "notes"} == set(json.loads(out)) and out.count("\n") == 1


def test_options_reach_the_recipe(here, capsys):
    args = [
        "--class-weights",
        "yes=2,no=1",
        "--freeze",
        "hidden1",
        "--rate",
        "output=0.1",
        "--split",
        "0.6,0.2,0.2",
        "--steps",
        7,
    ]
    args += [
        "--batch-size",
        "all",
        "--set",
        "monitor=metric",
        "--set",
        "train.keep=last",
        "--activation",
        "tanh",
        "--seed",
        0,
    ]
    code, out, err = call(capsys, "train", "shop.csv", "--target", "bought", *args, "--dry-run")
    assert code == 0, err
    found = tomllib.loads(out)
    data, train = found["data"], found["train"]
    assert data["class_weights"] == {"yes": 2.0, "no": 1.0} and data["split"] == [0.6, 0.2, 0.2]
    assert train["freeze"] == ["hidden1"] and train["rates"] == {"output": 0.1} and train["monitor"] == "metric"
    assert train["keep"] == "last" and train["epochs"] == 7 and train["batch_size"] == 72
    assert found["network"]["activation"] == "tanh"


def test_runs_go_to_the_home_of_runs(here, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path))
    code, out, _ = call(
        capsys, "train", "xor", "--epochs", 1, "--network", "mlp:4", "--quiet", "--no-baselines", "--name", "mine"
    )
    assert code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-mine") and str(run) in out
    code, out, _ = call(capsys, "runs", "--json")
    assert code == 0 and [r["name"] for r in json.loads(out)] == [run.name]
    code, out, _ = call(capsys, "report", run.name)  # a run is found by its name alone
    assert code == 0 and out.strip() == str(run / "report.html")


def test_fine_tuning_begins_with_a_runs_weights(here, capsys):
    options = ["--from", "shop", "--epochs", 1, "--out", "tuned", "--freeze", "hidden1", "--learning-rate", "0.001"]
    code, _, err = call(capsys, "train", "shop.csv", "--target", "bought", *options, "--no-baselines")
    assert code == 0, err
    from pellucid.network.network import Network

    old, new = Network.load("shop"), Network.load("tuned")
    assert (old.params["hidden1"]["w"] == new.params["hidden1"]["w"]).all()
    assert (old.params["output"]["w"] != new.params["output"]["w"]).any()


def test_cross_validation(here, capsys):
    code, out, err = call(
        capsys, "train", "iris", "--folds", 2, "--epochs", 1, "--network", "mlp:4", "--no-baselines", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert len(found["folds"]) == 2 and found["mean"]["accuracy"] == pytest.approx(
        sum(f["test"]["accuracy"] for f in found["folds"]) / 2
    )
    assert len(list(Path(found["run"]).glob("fold*/report.html"))) == 2


def test_several_seeds(here, capsys):
    words = ("train", "iris", "--epochs", 1, "--network", "mlp:4", "--no-baselines")
    code, out, err = call(capsys, *words, "--seeds", 2, "--seed", 7, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [one["seed"] for one in found["seeds"]] == [7, 8]
    a, b = (one["test"]["loss"] for one in found["seeds"])
    assert a != b and found["std"]["loss"] == pytest.approx(abs(a - b) / 2**0.5)
    alone = json.loads(call(capsys, *words, "--seed", 8, "--json")[1])
    assert alone["test"]["loss"] == b
    assert call(capsys, *words, "--seeds", 1)[0] == 2


def test_divergence_is_exit_code_3_and_leaves_a_result(here, capsys):
    args = [
        "train",
        "diabetes",
        "--optimizer",
        "sgd",
        "--learning-rate",
        1000,
        "--epochs",
        2,
        "--network",
        "mlp:4",
        "--json",
    ]
    code, out, err = call(capsys, *args, "--no-baselines", "--out", "diverged")
    assert code == 3
    assert "error: training diverged: the loss is not finite" in err and "--learning-rate 100" in err
    assert json.loads(out)["stopped"] == "diverged"
    _, out, _ = call(capsys, "runs", ".", "--json")
    assert {r["name"]: r["status"] for r in json.loads(out)}["diverged"] == "diverged"


# -- looking ------------------------------------------------------------------------------------------------------


def test_predict_writes_csv(trained, place):
    done = process("predict", "shop", "new.csv", "--probabilities", cwd=place)
    assert done.returncode == 0, done.stderr
    header, first, second = done.stdout.splitlines()
    assert header == "prediction,probability_no,probability_yes"
    assert first.startswith("yes,") and second.startswith("no,")
    assert sum(float(v) for v in first.split(",")[1:]) == pytest.approx(1, abs=1e-5)
    assert done.stderr == ""


def test_predict_to_a_file_and_as_json(here, capsys):
    code, out, _ = call(capsys, "predict", "shop", "new.csv", "--out", "deep/predicted.csv")
    assert code == 0 and "2 predictions in deep/predicted.csv" in out
    assert (here / "deep" / "predicted.csv").read_text() == "prediction\nyes\nno\n"
    _, out, _ = call(capsys, "predict", "shop", "new.csv", "--json")
    assert json.loads(out) == {"run": "shop", "rows": 2, "prediction": ["yes", "no"]}


def test_an_unseen_category_is_a_note(here, capsys):
    (here / "far.csv").write_text("city,age\nOslo,60\n")
    code, out, err = call(capsys, "predict", "shop", "far.csv")
    assert code == 0 and out.startswith("prediction\n")
    assert err.startswith("note: ") and "Oslo" in err and err.count("\n") == 1


def test_evaluate_gives_the_runs_own_test_score_again(here, capsys):
    code, out, err = call(capsys, "evaluate", "shop", "--json")
    assert code == 0, err
    found, result = json.loads(out), json.loads((here / "shop" / "result.json").read_text())
    assert (
        found["part"] == "test"
        and found["accuracy"] == result["test"]["accuracy"]
        and found["rows"] == result["rows"]["test"]
    )
    code, out, _ = call(capsys, "evaluate", "shop", "shop.csv")
    assert code == 0 and "120 rows of shop.csv" in out and "true \\ predicted" in out


def test_compare_shows_what_differs(here, capsys):
    if not (here / "again").exists():
        call(capsys, "train", "shop/recipe.toml", "--epochs", 1, "--seed", 3, "--quiet", "--out", "again")
    code, out, _ = call(capsys, "compare", "shop", "again")
    assert code == 0 and all(len(line.rstrip()) <= 80 for line in out.splitlines())
    for said in ("train.epochs", "train.seed", "validation accuracy", "A loss", "parameters"):
        assert said in out
    assert "optimizer" not in out.split("scores")[0]
    _, out, _ = call(capsys, "compare", "shop", "again", "--json")
    found = json.loads(out)
    assert found["settings"]["train.epochs"] == [60, 1] and len(found["runs"][0]["loss"]) == 60


def test_runs_lists_them(here, capsys):
    code, out, _ = call(capsys, "runs", ".")
    line = next(line for line in out.splitlines() if line.startswith("shop "))
    assert code == 0 and "finished" in line and "accuracy" in line and "/60" in line


def test_datasets_are_listed(capsys):
    code, out, _ = call(capsys, "datasets")
    assert code == 0 and "digits" in out and "1,797" in out
    _, out, _ = call(capsys, "datasets", "--json")
    assert {"name": "iris", "rows": 150, "features": 4, "task": "classification"}.items() <= json.loads(out)[1].items()


def test_explain_a_run_and_data(here, capsys):
    code, out, err = call(capsys, "explain", "shop", "--row", 2)
    assert code == 0, err
    assert (
        out.startswith("shop, row 2: no; the network of shop") and "all" in out.splitlines()[-2] + out.splitlines()[-1]
    )
    code, out, _ = call(capsys, "explain", "xor", "--network", "mlp:3", "--activation", "tanh", "--json")
    assert code == 0 and json.loads(out)["check"]["agrees"] is True
    code, _, err = call(capsys, "explain", "xor", "--row", 401)
    assert code == 2 and "there is no such row" in err and "1 to 400" in err
    code, _, err = call(capsys, "explain", "shop", "--layer", "hiden1")
    assert code == 2 and "did you mean 'hidden1'?" in err


def test_explain_fails_loudly_where_the_walk_is_wrong(here, capsys, monkeypatch):
    import dataclasses

    from pellucid.views import explain_math

    wrong = dataclasses.replace(explain_math.BENDS["tanh"], df=lambda s, z: z)
    monkeypatch.setitem(explain_math.BENDS, "tanh", wrong)
    code, out, _ = call(capsys, "explain", "xor", "--network", "mlp:3", "--activation", "tanh")
    assert code == 1 and "CHECK FAILED against jax.grad" in out


def test_verify_trains_it_again(here, capsys):
    code, out, err = call(capsys, "verify", "shop", "--json")
    found = json.loads(out)
    assert code == (0 if found["agrees"] else 1)
    assert found["agrees"] or not found["comparable"], err


# -- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["tarin", "x"], "there is no verb 'tarin'; did you mean 'train'?"),
        (["train"], "there is nothing to train on"),
        (["train", "irsi"], "the built-in set 'iris' has a similar name"),
        (["train", "shop.csv", "--target", "bougt"], "did you mean 'bought'?"),
        (["train", "shop.csv", "--epochs", "many"], "--epochs"),
        (["train", "shop.csv", "--epohcs", "3"], "--epochs"),
        (["train", "shop.csv", "--learning-rate", "fast"], "a number, or auto"),
        (["train", "shop.csv", "--batch-size", "2.5"], "a whole number, or all"),
        (["train", "shop.csv", "--split", "0.5,0.5"], "split"),
        (["train", "shop.csv", "--set", "epohcs=3"], "did you mean 'epochs'?"),
        (["train", "shop.csv", "--epochs", "3", "--steps", "3"], "both epochs and steps are given"),
        (["train", "shop.csv", "--rate", "output"], "NAME=NUMBER"),
        (["train", "shop.csv", "--device", "abacus"], "cpu, gpu or tpu"),
        (["train", "shop.csv", "--network", "mlp:-3"], "a setting is out of range"),
        (["train", "shop"], "this is a run, and no data"),
        (["train", "nothing.toml"], "there is no such recipe"),
        (["train", "shop.csv", "--target", "bought", "--out", "shop"], "there is a run here already"),
        (["train", "--resume", "shop"], "the run is finished"),
        (["train", "--resume", "shop", "--epochs", "9"], "a resumed run keeps its own settings"),
        (["predict", "shpo", "new.csv"], "there is no run here"),
        (["predict", "shop", "nwe.csv"], "did you mean 'new.csv'?"),
        (["compare", "shop"], "two runs or more"),
        (["runs", "nowhere"], "there is no such folder"),
        (["explain", "shop", "--network", "mlp:3"], "a run brings its own settings"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_words(here, capsys, args, said):
    code, out, err = call(capsys, *args)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and said in err and "Traceback" not in err


def test_a_run_by_a_wrong_name_names_the_nearest(here, capsys):
    _, _, err = call(capsys, "predict", here / "shpo", "new.csv")
    assert "did you mean 'shop'?" in err


def test_a_recipe_that_runs_code_needs_trust(here, capsys):
    (here / "net.py").write_text(
        "from pellucid.network.architectures import mlp\nprint('ran')\ndef make(): return mlp((3,))\n"
    )
    (here / "code.toml").write_text('[data]\nsource = "xor"\n[network]\nspec = "net.py:make"\n[train]\nepochs = 1\n')
    code, out, err = call(capsys, "train", "code.toml", "--dry-run")
    assert code == 2 and "add --trust" in err and "ran" not in out
    code, out, err = call(capsys, "train", "code.toml", "--dry-run", "--trust")
    assert code == 0 and "ran" in out


def test_a_folder_that_cannot_be_is_exit_code_1(here, capsys):
    code, _, err = call(capsys, "train", "xor", "--epochs", 1, "--out", "new.csv/run", "--quiet")
    assert code == 1 and err.startswith("error: a file stands where a folder is needed")


def test_exhausted_memory_and_bugs_are_exit_code_1(here, capsys, monkeypatch):
    def fails(error):
        def run_recipe(*args, **settings):
            raise error

        monkeypatch.setattr(sys.modules["pellucid.fit"], "run_recipe", run_recipe)
        return call(capsys, "train", "xor")

    code, _, err = fails(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes"))
    assert code == 1 and err.startswith("error: the memory is exhausted")
    code, _, err = fails(KeyError("surprise"))
    assert code == 1 and "KeyError" in err and "PELLUCID_TRACEBACK=1" in err and "Traceback" not in err
    monkeypatch.setenv("PELLUCID_TRACEBACK", "1")
    code, _, err = fails(KeyError("surprise"))
    assert code == 1 and "Traceback" in err


def test_colour_where_it_is_wanted(here, capsys, monkeypatch):
    from pellucid.views import console

    for name, value, coloured in (("FORCE_COLOR", "1", True), ("NO_COLOR", "1", False)):
        with monkeypatch.context() as patch:
            patch.delenv("NO_COLOR", raising=False)
            patch.setenv("TERM", "xterm-256color")
            patch.setenv(name, value)
            console.err.cache_clear()
            _, _, err = call(capsys, "predict", "nowhere/at-all", "new.csv")
            assert ("\x1b[" in err) is coloured
    console.err.cache_clear()


def test_version_and_help(capsys):
    from pellucid import __version__

    assert call(capsys, "--version") == (0, f"pellucid {__version__}\n", "")
    code, out, _ = call(capsys, "train", "--help")
    assert code == 0 and all(len(line) <= 100 for line in out.splitlines())
    for option in ("--target", "--network", "--learning-rate", "--resume", "--dry-run", "--json"):
        assert option in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['pellucid', '--help']\nfrom pellucid.cli import main\n"
        "try: main()\nexcept SystemExit as left: assert left.code == 0\n"
        "heavy = {'jax', 'numpy', 'polars', 'sklearn', 'optax', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="pipes break in another way there")
def test_a_broken_pipe_is_quiet(tmp_path):
    command = [sys.executable, "-m", "pellucid", "datasets"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody_reads:
        done = subprocess.run(command, env=environment(), stdout=nobody_reads, stderr=subprocess.PIPE, timeout=SECONDS)
    assert done.stderr == b"" and done.returncode == 0


# -- interrupted --------------------------------------------------------------------------------------------------


def started(*args, cwd):
    """A run as a process, once it has told of an epoch; and its stderr."""
    running = subprocess.Popen(
        [sys.executable, "-m", "pellucid", *args], cwd=cwd, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip
    assert isinstance(running.stderr, io.TextIOWrapper)
    said = ""
    for line in running.stderr:
        said += line
        if line.startswith("epoch"):
            break
    return running, said


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals there")
def test_interrupted_terminated_and_resumed(place, capsys, monkeypatch):
    long = [
        "train",
        "iris",
        "--network",
        "mlp:4",
        "--epochs",
        "700",
        "--patience",
        "700",
        "--no-baselines",
        "--out",
        "long",
    ]
    running, _ = started(*long, cwd=place)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 130 and out == ""
    assert "interrupted; resume with: pellucid train --resume long" in err and "Traceback" not in err
    monkeypatch.chdir(place)
    _, listed, _ = call(capsys, "runs", ".", "--json")
    assert {r["name"]: r["status"] for r in json.loads(listed)}["long"] == "interrupted"

    running, _ = started("train", "--resume", "long", cwd=place)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 143 and "resume with" in err

    code, out, err = call(capsys, "train", "--resume", "long", "--json")
    assert code == 0, err
    assert json.loads(out)["epochs"] == 700 and (place / "long" / "report.html").is_file()
