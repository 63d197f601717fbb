"""The public face: `import pellucid as pc`."""

import ast
import subprocess
import sys
import types
from pathlib import Path

import pytest

import pellucid as pc

NAMES = [name for name in dir(pc) if name != "__version__"]


def fresh(code: str) -> str:
    """What a new Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_there_and_says_what_it_is(name):
    found = getattr(pc, name)
    assert isinstance(found.__doc__, str)
    assert len(found.__doc__) > 20
    assert not found.__doc__.startswith(f"{name}(")  # the text that dataclasses make up by themselves


def test_the_table_of_names_is_what_type_checkers_see():
    tree = ast.parse(Path(pc.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    told = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    assert told == {**pc._HOME, "connect": "pellucid", "errors": "pellucid"}


def test_each_layer_loss_metric_optimizer_and_schedule_is_public():
    pc.fit  # noqa: B018  (registers them all)
    for family in (pc.Layer, pc.Loss, pc.Metric, pc.Optimizer, pc.Schedule):
        here = [c for c in family.registry.values() if c.__module__.startswith("pellucid.")]
        own = [c for c in here if getattr(c, "reproducible", True)]  # a foreign module is made by connect.jax alone
        assert own
        missing = {c.__name__ for c in own} - set(dir(pc))
        assert missing == set()


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'jax', 'polars', 'sklearn', 'numpy', 'optax'}"
    assert fresh(f"import sys, pellucid; print(sorted({heavy} & set(sys.modules)))") == "[]"


def test_data_can_be_loaded_without_jax():
    assert fresh("import sys, pellucid as pc; pc.load('iris'); print('jax' in sys.modules)") == "False"


@pytest.mark.parametrize(
    "first",
    [
        "import pellucid.fit",
        "from pellucid.fit import run_recipe",
        "import importlib; importlib.import_module('pellucid.fit')",
        "import pellucid.verify",
        "import pellucid; pellucid.fit",
    ],
)
def test_fit_is_the_function_whatever_was_imported_before(first):
    code = f"{first}\nimport pellucid as pc, sys\nprint(pc.fit is sys.modules['pellucid.fit'].fit, callable(pc.fit))"
    assert fresh(code) == "True True"


def test_fit_writes_the_report_and_run_report_writes_it_again(tmp_path):
    run = pc.fit("perceptron", "iris", epochs=1, out=tmp_path, baselines=False)
    page = run.path / "report.html"
    assert "iris" in page.read_text(encoding="utf-8")
    page.unlink()
    assert run.report() == page
    assert page.is_file()


def test_a_report_that_fails_is_a_warning_and_the_run_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["pellucid.session"], "reporter", lambda path: 1 / 0)
    with pytest.warns(pc.errors.PellucidWarning, match="report could not be written: division by zero"):
        run = pc.fit("perceptron", "iris", epochs=1, out=tmp_path, baselines=False)
    assert (run.path / "result.json").is_file()


def test_a_run_in_memory_has_no_report():
    run = pc.fit("perceptron", "iris", epochs=1, out=None, baselines=False)
    with pytest.raises(pc.errors.RunError, match=r"without a folder has no report\n  fix: .* out=\"runs\""):
        run.report()


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pellucid' has no attribute 'Dens'"):
        pc.Dens  # noqa: B018
    with pytest.raises(AttributeError, match=r"module 'pellucid.connect' has no attribute 'mxnet'"):
        pc.connect.mxnet  # noqa: B018


def test_the_subpackages_are_modules():
    assert isinstance(pc.errors, types.ModuleType)
    assert dir(pc.connect) == ["jax", "keras", "onnx", "sklearn", "tensorboard", "torch"]
    assert pc.connect.jax.from_function.__name__ == "from_function"
    assert pc.connect.sklearn.PellucidRegressor.__name__ == "PellucidRegressor"
