"""Imports point one way: each part of the package may use what lies below it, and nothing else."""

import ast
from pathlib import Path

import pytest

import pellucid

ROOT = Path(pellucid.__file__).parent
# from the ground up; what stands in one row may not import what stands in a higher one
ROWS = [
    {"errors", "spec", "files", "signals", "shown", "native", "memory", "threads"},
    {"data"},
    {"network"},
    {"train"},
    {"doctor"},
    {"recipe", "rundir", "machine", "doubts"},
    {"resolve", "outcome", "trivial"},
    {"preflight", "network_facts", "glance", "history", "inspection"},
    {"examine"},
    {"session"},
    {"repair", "branches", "midway"},
    {"fit"},
    {"verify", "checkup", "several", "exercises", "playground"},
    {"views", "connect", "web", "commands", "cli", "__main__"},
]
ONLY_ABOVE = {"doctor": {"errors", "signals", "spec", "files"}}  # it serves other people's loops as well
LEVEL = {part: level for level, parts in enumerate(ROWS) for part in parts}
HEAVY = {"jax", "optax", "polars", "sklearn", "rich", "safetensors"}


def module_of(path: Path) -> str:
    parts = ("pellucid", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(tree: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    """Every import that is ever carried out: inside functions too, but not what is for type checkers alone."""
    found: list[ast.Import | ast.ImportFrom] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found += [i for part in node.orelse for i in imports(part)]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        else:
            found += imports(node)
    return found


def names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    # `from pellucid import files` names a module, `from pellucid.files import write` does not
    full = [f"{node.module}.{alias.name}" for alias in node.names]
    return [name if name in MODULES else str(node.module) for name in full]


def edges() -> dict[str, set[str]]:
    """{module: the modules of the package that it imports}."""
    out = {}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {name for node in imports(tree) for name in names(node)}
        out[module] = {name for name in found if name in MODULES and name not in ("pellucid", module)}
    return out


EDGES = edges()


def part_of(module: str) -> str:
    return module.split(".")[1]


def test_each_part_of_the_package_has_its_place():
    parts = {part_of(module) for module in MODULES if module != "pellucid"}
    assert parts == set(LEVEL)


@pytest.mark.parametrize("module", [m for m in MODULES if m != "pellucid"])
def test_imports_point_down(module):
    part = part_of(module)
    below = {other for other, level in LEVEL.items() if level <= LEVEL[part]}
    allowed = ONLY_ABOVE.get(part, below) | {part}
    wrong = sorted(used for used in EDGES[module] if part_of(used) not in allowed)
    assert wrong == []


def test_no_imports_go_in_a_circle():
    """Depth first; a module that is met again on the way down closes a circle."""
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for used in sorted(EDGES[module]):
            if circle := visit(used, (*way, module)):
                return circle
        done.add(module)
        return []

    assert [circle for module in MODULES if (circle := visit(module, ()))] == []


@pytest.mark.parametrize(
    "module", [m for m in MODULES if part_of(m + ".") in ("signals", "doctor", "data", "errors", "spec")]
)
def test_the_lower_parts_know_no_jax(module):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    used = {name.split(".")[0] for node in imports(tree) for name in names(node)}
    assert not used & {"jax", "optax", "flax", "equinox", "torch"}


def test_the_command_line_starts_without_anything_heavy():
    for module in ("pellucid", "pellucid.cli", "pellucid.errors", "pellucid.files"):
        tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        used = {name.split(".")[0] for node in top for name in names(node)}
        assert not used & HEAVY, module


def test_scikit_learn_estimators_stand_alone():
    """Outside data (built-in sets and baselines) nothing but the estimators imports scikit-learn."""
    users = set()
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(name.split(".")[0] == "sklearn" for node in imports(tree) for name in names(node)):
            users.add(module)
    assert {m for m in users if part_of(m) != "data"} == {"pellucid.connect.sklearn"}
