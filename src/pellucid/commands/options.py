"""From the text of options to settings, and from what names a run to its folder."""

import os
import tomllib
from pathlib import Path
from typing import Any

from pellucid.errors import DataError, SettingError
from pellucid.rundir import RunDir


def home() -> Path:
    """The folder of runs: `runs` here, or in `$PELLUCID_HOME`."""
    return Path(os.environ.get("PELLUCID_HOME") or ".") / "runs"


def find_run(text: str | Path) -> RunDir:
    """The run of this path, or of this name among the runs; an error that names the nearest where there is none."""
    path = Path(text).expanduser()
    named = RunDir(home() / path)
    if not path.exists() and named.exists:
        return named
    return RunDir(path if path.exists() or path.parent != Path(".") else home() / path).require()


def choose_device(device: str | None) -> None:
    """Must come before JAX is imported. A GPU is what JAX takes by itself; naming one demands it of each maker."""
    if device in ("cpu", "tpu"):
        os.environ["JAX_PLATFORMS"] = device
    elif device == "gpu":
        os.environ.pop("JAX_PLATFORMS", None)
    elif device is not None:
        raise SettingError("there is no such device", where="--device", expected="cpu, gpu or tpu", got=device)


def check_device(device: str | None) -> None:
    """Whether what was asked for is there."""
    import jax

    try:
        found = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        asked = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
        raise SettingError(
            "JAX cannot use this device", where=f"--device {device}" if device else asked,
            got=str(error).splitlines()[0] if str(error) else None, fix="leave it out, or use cpu",
        ) from error  # fmt: skip
    if device == "gpu" and found != "gpu":
        raise SettingError(
            "JAX finds no GPU", where="--device gpu", got=f"only {found}",
            fix='install JAX for it, for example: pip install "jax[cuda12]"',
        )  # fmt: skip


def number_or(words: str, text: str | None, kind: type, where: str) -> Any:
    """`text` as a number of this kind, or one of the words that are allowed in its place.

    >>> number_or("auto", "0.1", float, "--learning-rate"), number_or("all", "ALL", int, "--batch-size")
    (0.1, 'all')
    """
    if text is None or text.strip().lower() in words.split():
        return None if text is None else text.strip().lower()
    try:
        return kind(text)
    except ValueError:
        expected = f"a {'whole ' if kind is int else ''}number, or {' or '.join(words.split())}"
        raise SettingError("a setting has the wrong type", where=where, expected=expected, got=text) from None


def numbers(text: str | None, where: str) -> list[float] | None:
    """Numbers between commas.

    >>> numbers("0.7,0.15,0.15", "--split")
    [0.7, 0.15, 0.15]
    """
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingError("these are no numbers", where=where, expected="such as 0.7,0.15,0.15", got=text) from None


def size(text: str, where: str) -> int | list[int]:
    """One side of a square, or height and width.

    >>> size("32", "--image-size"), size("32x48", "--image-size")
    (32, [32, 48])
    """
    try:
        found = [int(part) for part in text.lower().split("x")]
    except ValueError:
        found = []
    if len(found) not in (1, 2) or min(found) < 1:
        raise SettingError("this is no size of an image", where=where, expected="such as 32 or 32x48", got=text)
    return found if len(found) == 2 else found[0]


def pairs(texts: list[str], where: str) -> dict[str, float]:
    """`name=number` as a dict.

    >>> pairs(["cat=2", "a=b=0.5"], "--rate")
    {'cat': 2.0, 'a=b': 0.5}
    """
    found = {}
    for text in texts:
        name, sign, value = text.rpartition("=")
        try:
            if not sign or not name:
                raise ValueError
            found[name] = float(value)
        except ValueError:
            raise SettingError("this does not name a number", where=where, expected="NAME=NUMBER", got=text) from None
    return found


def class_weights(text: str | None) -> str | dict[str, float] | None:
    """`balanced`, or one weight a label.

    >>> class_weights("balanced"), class_weights("cat=2,dog=1")
    ('balanced', {'cat': 2.0, 'dog': 1.0})
    """
    if text is None or text.strip().lower() == "balanced":
        return None if text is None else "balanced"
    return pairs(text.split(","), "--class-weights")


def assignments(texts: list[str]) -> dict[str, Any]:
    """What `--set key=value` says: the value is read as TOML, and as plain text where it is none.

    >>> assignments(["train.keep=last", "signals=false", "split=[0.8, 0.1, 0.1]"])
    {'train.keep': 'last', 'signals': False, 'split': [0.8, 0.1, 0.1]}
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise SettingError("this sets nothing", where="--set", expected="KEY=VALUE", got=text)
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value.strip()
    return found


def refuse_code(recipe: Any, trusted: bool, where: object) -> None:
    """A recipe file that names Python code runs it: that needs a person's word."""
    spec = recipe.network.spec
    if isinstance(spec, str) and ".py:" in spec and not trusted:
        raise SettingError(
            "the recipe runs the code of a Python file", where=where, got=spec,
            fix="read that file; if you trust it, add --trust",
        )  # fmt: skip


def own_rows(recipe: Any, network: Any) -> tuple[Any, str, Any]:
    """(part, its name, all parts) of a run's own data as its network takes them in: the test part, where it has one."""
    from pellucid.data import load, prepare

    d = recipe.data
    prepared = prepare(
        load(d.source, **d.loading()), seed=recipe.train.seed, features=network.features, targets=network.targets,
        **d.preparing(),
    )  # fmt: skip
    for name in ("test", "validation", "train"):
        part = getattr(prepared, name)
        if part is not None and len(part):
            return part, name, prepared
    raise DataError("the run has no rows to score", where=d.source)
