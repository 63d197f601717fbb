"""Whether this machine computes rightly: small sums of every kind against the same in float64 by NumPy.

Compilers and libraries have had faults that give wrong numbers on one processor and not on the next (for JAX alone:
jax-ml/jax#39103, #39264, #40633), so it is worth asking the machine at hand.
"""

import os
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from pellucid import recipe as recipes
from pellucid.native import Native, calls, native
from pellucid.native.steps import DenseSteps, Examples, dense_steps

CLOSE = 1e-4  # of the largest value that was expected


def check_machine() -> dict[str, Any]:
    """{"versions", "devices", "kernels": {"isa", "why"}, "checks": [{"name", "error", "agrees"}], "agrees"}.

    error: the largest distance from NumPy's float64, as a share of the largest value.

    >>> check_machine()["agrees"]
    True
    """
    found = native()
    with jax.default_device(jax.devices()[0]):
        checks = [_checked(name, check) for name, check in _checks(found)]
    return {
        "versions": recipes.versions(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None,
        "kernels": {"isa": found.isa, "why": found.why},
        "checks": checks,
        "agrees": all(check["agrees"] for check in checks),
    }


Check = Callable[[], tuple[Any, np.ndarray]]  # (what is found here, what is right)


def _checks(found: Native) -> list[tuple[str, Check]]:
    checks: list[tuple[str, Check]] = [
        ("matrix product", _product), ("matrix times vectors, batched", _vectors), ("softmax", _softmax),
        ("gradient of a small network", _gradient),
    ]  # fmt: skip
    if found.isa is not None and jax.default_backend() == "cpu":
        checks += [
            ("kernel: convolution", _convolution), ("kernel: convolution by frames, back", _by_frames),
            ("kernel: largest of a window", _largest),
            ("kernel: convolution, ReLU and pooling as one", _joined),
            ("kernel: batch normalisation of the rows that count", _batch_norm), ("kernel: dense layer, back", _dense),
            ("kernel: layer normalisation, back", _row_norm),
            ("kernel: steps of a dense network", _dense_steps),
            ("kernel: lstm", _lstm), ("kernel: gru", _gru), ("kernel: attention, back", _attention),
        ]  # fmt: skip
    return checks


def _checked(name: str, check: Check) -> dict[str, Any]:
    got, right = check()
    error = float(np.abs(np.asarray(got, np.float64) - right).max() / np.abs(right).max())
    return {"name": name, "error": float(f"{error:.2g}"), "agrees": bool(error < CLOSE)}


def _numbers(*shape: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(sum(shape))).normal(size=shape).astype(np.float32)


def _product() -> tuple[Any, np.ndarray]:
    a, b = _numbers(33, 257), _numbers(257, 65)
    with jax.default_matmul_precision("highest"):
        return jax.jit(jnp.matmul)(a, b), a.astype(np.float64) @ b


def _vectors() -> tuple[Any, np.ndarray]:
    a, b = _numbers(7, 40, 50), _numbers(7, 50)
    with jax.default_matmul_precision("highest"):
        got = jax.jit(jax.vmap(lambda a, b: (a * b).sum(-1)))(a, b)
    return got, np.einsum("ijk,ik->ij", a.astype(np.float64), b)


def _softmax() -> tuple[Any, np.ndarray]:
    a = 20 * _numbers(9, 31)
    right = np.exp(a.astype(np.float64) - a.max(-1, keepdims=True))
    return jax.jit(jax.nn.softmax)(a), right / right.sum(-1, keepdims=True)


def _gradient() -> tuple[Any, np.ndarray]:
    x, w, v = _numbers(16, 12), _numbers(12, 20), _numbers(20, 1)
    with jax.default_matmul_precision("highest"):
        got = jax.jit(jax.grad(lambda w: (jnp.tanh(x @ w) @ v).sum()))(w)
    h = np.tanh(x.astype(np.float64) @ w)
    return got, x.astype(np.float64).T @ ((1 - h * h) * v.T)


SLIDING = calls.Sliding((1, 1), (1, 1), (1, 1), (9, 10))


def _windows(x: np.ndarray) -> np.ndarray:
    """[3, 3, *x.shape]: what each place of a window sees."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.array([[padded[:, i : i + 9, j : j + 10] for j in range(3)] for i in range(3)])


def _images(channels: int = 5) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Images, weights and bias of a convolution, and what it gives."""
    x, w, b = _numbers(2, 9, 10, channels), _numbers(3, 3, channels, 33), _numbers(33)
    return (x, w, b), np.einsum("uvbijc,uvco->bijo", _windows(x), w) + b


def _convolution() -> tuple[Any, np.ndarray]:
    given, right = _images()
    return jax.jit(lambda x, w, b: calls.convolved(x, w, b, SLIDING))(*given), right


def _by_frames() -> tuple[Any, np.ndarray]:
    (x, w, b), y = _images(20)  # from 16 channels on
    got = jax.jit(jax.grad(lambda w: (cast(Any, calls.convolve(x, w, b, SLIDING)) ** 2).sum() / 2))(w)
    return got, np.einsum("uvbijc,bijo->uvco", _windows(x), y)


def _joined() -> tuple[Any, np.ndarray]:
    given, right = _images()
    join = calls.Join(SLIDING, calls.Then((2, 2), relu=True))
    right = np.maximum(right[:, :8], 0).reshape(2, 4, 2, 5, 2, 33).max((2, 4))
    return jax.jit(lambda x, w, b: calls.joined(x, w, b, join))(*given), right


def _batch_norm() -> tuple[Any, np.ndarray]:
    x, scale, bias, mask = _numbers(5, 6, 7, 19) + 3, _numbers(19), _numbers(19), np.array([1, 1, 0, 1, 0], bool)
    kept = x[mask].astype(np.float64)
    right = (x - kept.mean((0, 1, 2))) / np.sqrt(kept.var((0, 1, 2)) + 1e-5) * scale + bias

    def run(*given: Any) -> Any:
        y, *_ = cast(Any, calls.batch_norm(*given, 1e-5, calls.Then()))
        return y

    return jax.jit(run)(x, scale, bias, mask), right


def _dense() -> tuple[Any, np.ndarray]:
    x, w, b = _numbers(40, 21), _numbers(21, 37), _numbers(37)
    got = jax.jit(jax.grad(lambda w: (cast(Any, calls.dense(x, w, b)) ** 2).sum() / 2))(w)
    wide = x.astype(np.float64)
    return got, wide.T @ (wide @ w + b)


def _row_norm() -> tuple[Any, np.ndarray]:
    x, scale, bias = _numbers(50, 21) + 3, jnp.asarray(_numbers(21)), jnp.asarray(_numbers(21))
    got = jax.jit(jax.grad(lambda x: (cast(Any, calls.row_norm(x, scale, bias, 1e-5)) ** 2).sum() / 2))(x)
    wide = x.astype(np.float64)
    off, factor = wide - wide.mean(-1, keepdims=True), 1 / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
    slope = (off * factor * scale + bias) * scale
    along = (slope * off * factor).mean(-1, keepdims=True)
    return got, factor * (slope - slope.mean(-1, keepdims=True) - off * factor * along)


def _attention() -> tuple[Any, np.ndarray]:
    x, how = _numbers(2, 9, 3 * 2 * 5), calls.Looking(2, causal=True)
    got = jax.jit(jax.grad(lambda x: cast(Any, calls.attend(x, how)).sum()))(x)
    q, k, v = x.reshape(2, 9, 3, 2, 5).transpose(2, 0, 3, 1, 4).astype(np.float64)
    powers = np.tril(np.exp(q @ k.swapaxes(2, 3) / np.sqrt(5)))
    weights = powers / powers.sum(-1, keepdims=True)
    taken = v.sum(-1)[..., None, :]  # what a step gains by looking at each other one
    scores = weights * (taken - (weights * taken).sum(-1, keepdims=True)) / np.sqrt(5)
    dv = np.broadcast_to(weights.sum(2)[..., None], v.shape)
    right = np.stack([scores @ k, scores.swapaxes(2, 3) @ q, dv])
    return got, right.transpose(1, 3, 0, 2, 4).reshape(x.shape)


def _dense_steps() -> tuple[Any, np.ndarray]:
    x, y, w, b = _numbers(30, 21), _numbers(30, 5), _numbers(21, 5), _numbers(5)
    steps = DenseSteps((21, 5), ("identity",), "mean_squared_error", "plain", False, batch=30, examples=30)
    none, zeros = jnp.zeros((0,)), jnp.zeros(2)
    examples = Examples(jnp.asarray(x), jnp.asarray(y), jnp.zeros((0,), jnp.int32), none, none)
    rates, counts, once = jnp.full((3, 1), 0.5), jnp.array([1, 0, 0], jnp.int32), jnp.array([[1, 0]], jnp.int32)
    call = jax.jit(lambda w, b: dense_steps(steps, examples, once, counts, jnp.zeros(6), rates, zeros, [w, b])[1][0])
    off = (x.astype(np.float64) @ w + b - y) * 2 / y.size
    return call(w, b), w - 0.5 * x.astype(np.float64).T @ off


def _largest() -> tuple[Any, np.ndarray]:
    x = _numbers(2, 8, 6, 5)
    right = x.astype(np.float64).reshape(2, 4, 2, 3, 2, 5).max((2, 4))
    return jax.jit(lambda x: calls.pooled(x, calls.Pooling((2, 2), (2, 2), (0, 0), (4, 3))))(x), right


def _lstm() -> tuple[Any, np.ndarray]:
    z, u, h, c = _numbers(5, 3, 76), 0.3 * _numbers(19, 76), np.zeros((3, 19)), np.zeros((3, 19))
    first = jnp.zeros((3, 19)), jnp.zeros((3, 19))
    got = jax.jit(lambda z, u: calls.recurred(z, u, None, first, None, calls.Reading("lstm", False))[0])(z, u)
    right = []
    for step in z.astype(np.float64):
        i, f, g, o = np.split(step + h @ u, 4, -1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        right.append(h)
    return got, np.stack(right)


def _gru() -> tuple[Any, np.ndarray]:
    z, u, v, h = _numbers(5, 3, 57), 0.3 * _numbers(19, 57), _numbers(19), np.zeros((3, 19))
    first = (jnp.zeros((3, 19)),)
    got = jax.jit(lambda z, u, v: calls.recurred(z, u, v, first, None, calls.Reading("gru", False))[0])(z, u, v)
    right = []
    for step in z.astype(np.float64):
        (r, s, g), (ru, su, gu) = np.split(step, 3, -1), np.split(h @ u, 3, -1)
        s = _sigmoid(s + su)
        h = (1 - s) * np.tanh(g + _sigmoid(r + ru) * (gu + v)) + s * h
        right.append(h)
    return got, np.stack(right)


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))
