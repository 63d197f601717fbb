"""Language models: a text as windows of token ids, each beside the same window one token on.

The text is split in order, the first part to train, as it will be read. The ids of a part are one array, and `x` and
`y` two views of it: nothing is stored twice.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.data.dataset import Dataset, is_texts
from pellucid.data.features import Features
from pellucid.data.parts import Part, Prepared, check_split, fractions
from pellucid.data.split import LARGEST
from pellucid.data.targets import TargetColumn, Targets
from pellucid.data.token_encoder import TokenEncoder, check_context
from pellucid.data.tokens import Characters, Tokenizer, fit_tokenizer, parse
from pellucid.data.utf8 import utf8
from pellucid.errors import DataError, SettingError

SUFFIXES = (".txt", ".text", ".md")
CONTEXT = 64
SPLIT = (0.90, 0.05, 0.05)  # of a text, where no split is asked for: a language model wants all it can read


def read_text(path: Path) -> str:
    """A text file (UTF-8, gzipped or not), its lines ended by line feeds; `DataError` for anything else."""
    raw = utf8(path, holds="text", kind="a text file (UTF-8)", fix="save it as plain text")
    return raw.decode().replace("\r\n", "\n")


def text_folder(folder: Path) -> list[Path]:
    """The files of a folder, by name, if all are texts (hidden ones aside); else none."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return files if all(path.is_file() and is_text_file(path) for path in files) else []


def is_text_file(path: Path) -> bool:
    """Whether the name is that of a text file: `.txt`, `.text`, `.md`, and the same with `.gz`."""
    return path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def prepare_language(
    dataset: Dataset, *, split: Any = None, context: int | None = None, tokens: str | None = None,
    features: Features | None = None, **others: Any,
) -> Prepared:  # fmt: skip
    """A text split in order, as windows of `context` ids (64 by default), with a tokenizer that is fitted on the
    training part; characters are those of the whole text, for which there are is structure, as class labels are.

    >>> p = prepare_language(Dataset("to be or not to be, " * 50, task="language"), context=8)
    >>> p.train.x.shape, p.train.x.dtype, p.features.vocabulary
    ((112, 8), dtype('uint8'), 8)
    >>> p.features.encoder.tokenizer.decode(p.train.y[0])
    'o be or '
    """
    _refuse(dataset, others)
    place = dataset.source or dataset.name
    encoder = _fitted_before(features, tokens, place)
    context = check_context(context) or (CONTEXT if encoder is None else encoder.steps)
    notes = list(dataset.notes)
    texts = _split(dataset, split, context, notes)
    if encoder is None:
        encoder = _fit(dataset, texts["train"], tokens or "characters", context, notes)
    if encoder.steps != context or features is None:
        features = _features(replace(encoder, steps=context))
    ids = {name: encoder.tokenizer.encode(text, f"{place} ({name})") for name, text in texts.items()}
    _check_lengths({name: len(found) for name, found in ids.items()}, context, place)
    parts = {name: _part(found, len(texts[name]), features) for name, found in ids.items()}
    return Prepared(
        parts["train"], parts.get("validation"), parts.get("test"), features, _targets(features), notes,
        dataset.fingerprint(),
    )  # fmt: skip


def encode_language(dataset: Dataset, features: Features, where: str) -> Part:
    """A text as windows, with a tokenizer that was fitted before."""
    encoder = _fitted_before(features, None, where)
    assert encoder is not None
    text = _joined(dataset)
    ids = encoder.tokenizer.encode(text, where)
    _check_lengths({"the text": len(ids)}, encoder.steps, where)
    return _part(ids, len(text), features)


def _part(ids: np.ndarray, characters: int, features: Features) -> Part:
    """x and y [n, T] are views of the same ids; what does not fill a last window is left out."""
    steps = features.shape[0]
    n = (len(ids) - 1) // steps
    flat = ids[: n * steps + 1].astype(features.dtype)
    x, y = flat[:-1].reshape(n, steps), flat[1:].reshape(n, steps)  # [n·T] -> [n, T]
    return Part(x, y, None, np.arange(n), characters / len(ids))


def _features(encoder: TokenEncoder) -> Features:
    return Features(encoder, (encoder.steps,), encoder.dtype, (), "all", np.zeros(()), np.ones(()))


def _targets(features: Features) -> Targets:
    return Targets((TargetColumn("next token", "token", 0, features.vocabulary or 0),))


def _fit(dataset: Dataset, train: str, tokens: str, context: int, notes: list[str]) -> TokenEncoder:
    kind, _ = parse(tokens)
    if kind == "characters":
        sets = [dataset, dataset.validation, dataset.test]
        tokenizer: Tokenizer = Characters.fit(_joined(part) for part in sets if part is not None)
        notes.append(f"characters: {tokenizer.vocabulary} different ones in the whole text, each a token")
    else:
        tokenizer = fit_tokenizer(tokens, [train], ("unknown",) if kind == "words" else ())
        notes.append(f"{tokens}: {tokenizer.vocabulary:,} different tokens, from the training part")
    ids = tokenizer.encode(train)
    return TokenEncoder(tokenizer, context, "windows", characters_per_token=len(train) / max(len(ids), 1))


def _fitted_before(features: Features | None, tokens: str | None, place: str) -> TokenEncoder | None:
    if features is None:
        return None
    encoder = features.encoder
    if not isinstance(encoder, TokenEncoder) or encoder.layout != "windows":
        raise DataError("the network was not trained as a language model", where=place, got="a text")
    if tokens is not None and parse(tokens)[0] != encoder.tokenizer.kind:
        raise SettingError(
            "the network has its own tokens", where="tokens", expected=encoder.tokenizer.kind, got=tokens,
            fix="leave tokens out",
        )  # fmt: skip
    return encoder


def _split(dataset: Dataset, split: Any, context: int, notes: list[str]) -> dict[str, str]:
    """The text of each part: cut in order, beside the parts that the set brings."""
    text = _joined(dataset)
    own = {"validation": dataset.validation, "test": dataset.test}
    default = split is None
    split = check_split(split or SPLIT)
    validation, test = (0.0, 0.0) if all(own.values()) else fractions(dataset, split)
    if default:  # no more windows than a score needs
        most = LARGEST * context / len(text)
        validation, test = min(validation, most), min(test, most)
    last = len(text) - round(len(text) * test)
    first = last - round(len(text) * validation)
    found = {"train": text[:first], "validation": text[first:last], "test": text[last:]}
    given = {name: _joined(part) for name, part in own.items() if part is not None}
    wanted = {"train": True, "validation": validation > 0, "test": test > 0}
    if validation + test > 0:
        shares = ", ".join(f"{name} {round(len(found[name]) / len(text), 3):g}" for name in found if wanted[name])
        notes.append(f"the text is split in order: {shares}")
    return {name: found[name] for name in found if wanted[name]} | given


def _check_lengths(tokens: dict[str, int], context: int, place: str) -> None:
    """Each part needs one window and the token behind it."""
    shortest = min(tokens.values())
    if shortest > context:
        return
    fits = 1 << max((shortest - 1).bit_length() - 1, 0)
    raise DataError(
        "the text is shorter than the context",
        where=place,
        expected=f"at least {context + 1} tokens" + (" in each part" if len(tokens) > 1 else ""),
        got=", ".join(f"{name}: {count:,} tokens" for name, count in tokens.items()),
        fix=f"--context {fits}, or a longer text" if shortest > 1 else "give a longer text",
    )


def _joined(dataset: Dataset) -> str:
    if not is_texts(dataset.x):
        raise DataError("a language model needs text", where=dataset.source or dataset.name, got=repr(dataset))
    text = "\n".join(v or "" for v in dataset.x.tolist())
    if not text:
        raise DataError("the text is empty", where=dataset.source or dataset.name, expected="text", got="no characters")
    return text


def _refuse(dataset: Dataset, others: dict[str, Any]) -> None:
    """Settings that make no sense for a text are told, not dropped."""
    problems = {"class_weights": "a text has no classes to weigh", "fold": "a text is split in order, not in folds"}
    for name, problem in problems.items():
        if others.get(name) is not None:
            raise SettingError(problem, where=name, got=others[name], fix=f"leave {name} out")
