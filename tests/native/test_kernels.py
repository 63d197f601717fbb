"""The native kernels beside the same in plain JAX, in float64, over drawn shapes; and what happens without them.

`check.cc` holds the kernels alone to plain loops, under an address sanitizer.
"""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid
from pellucid import (
    GELU,
    GRU,
    LSTM,
    RNN,
    Attention,
    BatchNorm,
    Bidirectional,
    Conv,
    Dense,
    Flatten,
    Input,
    LayerNorm,
    MaxPool,
    Network,
    Output,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from pellucid.checkup import check_machine
from pellucid.errors import NetworkError
from pellucid.native import native, plain
from pellucid.network.layer import Context, Layer
from pellucid.network.probes import Probes
from pellucid.network.transformer import TiedEmbedding

SOURCE = Path(pellucid.__file__).parent / "native" / "source"
here = pytest.mark.skipif(native().isa is None, reason=f"no native kernels: {native().why}")


def drawn(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def outcome(
    layer: Layer, x: np.ndarray, valid: np.ndarray | None, dtype: type, mask: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The output and the gradients of sum(sin(output)), by path, as the training step computes them."""
    params, state = Network(layer).init(jax.random.key(0), jnp.asarray(x, jnp.float32))
    leaves, tree = jax.tree.flatten(params)
    weights = jax.tree.unflatten(tree, [jnp.asarray(0.4 * drawn(a.shape, i), dtype) for i, a in enumerate(leaves)])

    def loss(weights, x):
        ctx = Context(train=True, reverse_only=True, state=state, valid=valid, mask=mask)
        y = ctx.run(layer, weights, x)
        return jnp.sin(y).sum(), (y, ctx.updates)

    (_, (y, updates)), gradients = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(
        weights, jnp.asarray(x, dtype)
    )
    found = {jax.tree_util.keystr(path): value for path, value in jax.tree.leaves_with_path(gradients)}
    moved = {f"{path}/{name}": value for path, own in updates.items() for name, value in own.items()}
    return {name: np.asarray(value, np.float64) for name, value in {**found, **moved, "y": y}.items()}


def agree(layer: Layer, x: np.ndarray, valid: np.ndarray | None = None, mask: np.ndarray | None = None) -> None:
    params, state = Network(layer).init(jax.random.key(0), jnp.asarray(x, jnp.float32))

    def run(x):
        ctx = Context(train=True, reverse_only=True, valid=valid, state=state, mask=mask)
        return ctx.run(layer, params, x)

    text = str(jax.make_jaxpr(run)(jnp.asarray(x, jnp.float32)))
    assert "pellucid_" in text, "the kernel is not in use: nothing would be compared"
    swift = outcome(layer, x, valid, np.float32, mask)
    with jax.enable_x64(True), plain():
        right = outcome(layer, x, valid, np.float64, mask)
    for name, value in right.items():
        np.testing.assert_allclose(swift[name], value, rtol=0, atol=2e-5 * max(np.abs(value).max(), 1e-3), err_msg=name)


@here
@settings(max_examples=5, deadline=None)
@given(
    st.integers(1, 5), st.integers(3, 9), st.integers(3, 17), st.sampled_from([1, 3, 8, 20]), st.integers(1, 40),
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.sampled_from(["same", "valid"]), st.booleans(),
)  # fmt: skip
def test_a_convolution_and_its_gradients(batch, high, wide, n, width, size, stride, dilation, padding, bias):
    padding = padding if (size - 1) * dilation < 3 else "same"
    layer = Conv(width, size, stride, padding, dilation, bias=bias)
    agree(layer, drawn((batch, high, wide, n), width))


@here
def test_a_convolution_over_sequences_and_over_many_threads_worth_of_small_images():
    agree(Conv(7, 3, stride=2), drawn((3, 11, 5), 0))
    agree(Conv(33, 3, padding="valid"), drawn((9, 4, 4, 40), 1))  # windows are laid out for so narrow an output


@here
@settings(max_examples=6, deadline=None)
@given(
    st.integers(1, 5), st.integers(3, 9), st.integers(3, 17), st.sampled_from([1, 3, 20]), st.integers(1, 40),
    st.sampled_from([[ReLU()], [MaxPool(2)], [ReLU(), MaxPool(2)], [ReLU(), MaxPool((3, 1))]]), st.booleans(),
)  # fmt: skip
def test_a_convolution_with_relu_and_pooling_as_one(batch, high, wide, n, width, behind, bias):
    layer = Sequential(Conv(width, 3, bias=bias), *behind)
    x = drawn((batch, high, wide, n), width)
    agree(layer, x)
    text = str(jax.make_jaxpr(lambda x: Network(layer).apply(*Network(layer).init(jax.random.key(0), x), x))(
        jnp.asarray(x, jnp.float32)))  # fmt: skip
    assert "pellucid_convolve_join" in text and "pellucid_largest" not in text


@here
@pytest.mark.parametrize("pool", [MaxPool(2), MaxPool((3, 1))])
def test_relu_and_pooling_as_one_behind_anything(pool):
    layer = Sequential(("norm", LayerNorm()), ("relu", ReLU()), ("pool", pool))
    agree(layer, drawn((3, 7, 8, 19), 9))
    agree(Sequential(("relu", ReLU()), ("pool", MaxPool(2))), drawn((3, 7, 5), 10))
    x = drawn((2, 6, 4), 11)
    x[0, 2, 1] = np.nan
    y = outcome(Sequential(ReLU(), MaxPool(2)), x, None, np.float32)["y"]
    assert np.isnan(y[0, 1, 1]) and np.isnan(y).sum() == 1


@here
@settings(max_examples=6, deadline=None)
@given(
    st.integers(7, 9), st.integers(9, 13), st.integers(9, 17), st.integers(16, 40), st.floats(-30, 30),
    st.sampled_from([[], [ReLU()], [MaxPool(2)], [ReLU(), MaxPool(2)], [Tanh()]]),
)  # fmt: skip
def test_batch_normalisation_alone_and_with_what_follows(batch, high, wide, n, shift, behind):
    x = drawn((batch, high, wide, n), n) + shift
    layer = Sequential(("norm", BatchNorm()), *behind)
    agree(layer, x.astype(np.float32))
    agree(Sequential(("norm", BatchNorm())), x.reshape(-1, n).astype(np.float32))


@here
@pytest.mark.parametrize(("scale", "bias"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.parametrize("shape", [(70, 65), (3, 50, 33), (2, 3, 5, 512), (5000, 3)])
def test_layer_normalisation_and_its_gradients(shape, scale, bias):
    layer = Sequential(("norm", LayerNorm(scale=scale, bias=bias, epsilon=1e-3)), ("bend", Tanh()))
    agree(layer, 2 * drawn(shape, 5) + 3)


@here
@pytest.mark.parametrize("mask", ["1111100", "0110101", "0000000", "1000000"])
def test_batch_normalisation_of_the_rows_that_count(mask):
    """Rows that only fill up a batch, whatever is in them; the loss here asks for their gradients too."""
    counts = np.array([one == "1" for one in mask])
    scale = 1.0 if counts.any() else 0.01  # without any, what comes out is x / sqrt(epsilon)
    x = scale * (drawn((7, 11, 13, 24), 3) + 5)
    x[~counts] *= 3
    agree(Sequential(("norm", BatchNorm()), ReLU(), MaxPool(2)), x.astype(np.float32), mask=counts)
    rows = scale * drawn((7 * 60, 24), 4)
    agree(Sequential(("norm", BatchNorm())), rows.astype(np.float32), mask=np.repeat(counts, 60))


@here
@pytest.mark.parametrize("mask", [None, np.arange(15) < 11])
def test_what_is_computed_as_one_is_what_its_layers_give_one_by_one(mask):
    """To the last bit, so that a step that is measured, layer by layer, goes where one that is not does."""
    layer = Sequential(
        ("conv", Conv(24, 3)), ("relu", ReLU()), ("pool", MaxPool(2)), ("next", Conv(40, 3)),
        ("norm", BatchNorm()), ("relu2", ReLU()), ("pool2", MaxPool(2)),
    )  # fmt: skip
    x = jnp.asarray(drawn((15, 13, 14, 3), 8), jnp.float32)
    params, state = Network(layer).init(jax.random.key(2), x)

    def outcome(watched: tuple[str, ...] | None):
        def loss(params, x):
            probes = None if watched is None else Probes(Probes.empty(watched))
            ctx = Context(train=True, reverse_only=True, state=state, probes=probes, mask=mask)
            return jnp.sin(ctx.run(layer, params, x)).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, x)

    jax.tree.map(
        np.testing.assert_array_equal, outcome(None), outcome(("conv", "relu", "pool", "norm", "relu2", "pool2"))
    )


@here
def test_what_does_not_fit_behind_a_convolution_is_told_by_its_own_name():
    layer = Sequential(("conv", Conv(3)), ("relu", ReLU()), ("pool", MaxPool(4)))
    with pytest.raises(NetworkError, match="the window of 4 x 4 is larger") as told:
        Context(reverse_only=True).run(
            layer, Network(Sequential(("conv", Conv(3)))).init(jax.random.key(0), jnp.ones((2, 3, 3, 1)))[0],
            jnp.ones((2, 3, 3, 1)),
        )  # fmt: skip
    assert told.value.parts["where"] == "pool"


@here
@settings(max_examples=4, deadline=None)
@given(st.integers(8, 70), st.integers(100, 300), st.integers(32, 70), st.booleans())
def test_a_dense_layer_and_its_gradients(rows, n, width, bias):
    rows = max(rows, -(-500_000 // (n * width)))  # smaller products are XLA's
    agree(Dense(width, bias=bias), drawn((rows, n), width) / np.sqrt(n))


@here
@pytest.mark.parametrize("bend", [ReLU(), Tanh(), Sigmoid(), GELU(approximate=True), GELU()], ids=str)
def test_a_dense_layer_and_what_bends_it(bend):
    layer, x = Sequential(Dense(70), bend, Dense(60)), np.float32(drawn((5, 60, 200), 3) / np.sqrt(200))
    agree(layer, x)
    params, _ = Network(layer).init(jax.random.key(0), x)
    calls = str(jax.make_jaxpr(lambda p: Context(reverse_only=True).run(layer, p, x))(params))
    assert ("pellucid_dense_bend" in calls) == (bend != GELU())  # the exact one has no kernel


@here
@pytest.mark.parametrize("bend", ["tanh", "sigmoid", {"type": "gelu", "approximate": True}])
def test_a_step_that_is_measured_bends_to_the_same_bits(bend):
    optimizer = {"type": "adam", "clip_norm": 1.0}  # which dense networks' own steps do not know
    with_, without = (
        pellucid.fit(
            Sequential(Input(), Flatten(), Dense(200), Layer.of(bend), Dense(160), Layer.of(bend), Output()), "digits",
            out=None, signals=on, optimizer=optimizer, batch_size=128, steps=12, baselines=False,
        )
        for on in (True, False)
    )  # fmt: skip
    for a, b in zip(jax.tree.leaves(with_.network.params), jax.tree.leaves(without.network.params), strict=True):
        np.testing.assert_array_equal(a, b)


@here
def test_logits_from_the_vectors_of_the_tokens():
    layer, ids = TiedEmbedding(40, 64, Dense(64)), jnp.arange(9 * 60, dtype=jnp.int32).reshape(9, 60) * 7 % 40
    params, _ = Network(layer).init(jax.random.key(0), ids)

    def slopes(params):
        return jax.grad(lambda p: jnp.sin(50 * Context(reverse_only=True).run(layer, p, ids)).sum())(params)

    assert str(jax.make_jaxpr(slopes)(params)).count("pellucid_dense_dw") == 2  # of the body too
    with jax.enable_x64(True), plain():
        right = slopes(jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params))
    for a, b in zip(jax.tree.leaves(slopes(params)), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())


@here
@pytest.mark.parametrize("layer", [MaxPool(2), MaxPool(3, stride=2, padding="same"), MaxPool(2, stride=1)])
def test_the_largest_of_windows(layer):
    agree(layer, drawn((3, 8, 7, 19), 2))


@here
@settings(max_examples=5, deadline=None)
@given(
    st.sampled_from([RNN, LSTM, GRU]), st.integers(1, 20), st.integers(1, 6), st.integers(1, 40), st.booleans(),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_recurrent_layers_and_their_gradients(kind, batch, steps, width, each_step, backwards, filled):
    valid = np.arange(steps) < drawn((batch, 1), 3) * 2 + 3 if filled else None
    agree(kind(width, each_step=each_step, backwards=backwards), drawn((batch, steps, 4), width), valid)


@here
@settings(max_examples=4, deadline=None)
@given(
    st.integers(1, 4), st.sampled_from([1, 7, 64, 65, 140]), st.integers(1, 3), st.sampled_from([1, 8, 20, 40]),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_attention_and_its_gradients(batch, steps, heads, d, causal, rotary):
    layer = Attention(heads, causal=causal, rotary=rotary and d % 2 == 0, head_width=d)
    agree(layer, drawn((batch, steps, 11), steps))


@here
def test_relu_units_and_both_directions():
    agree(RNN(17, activation=ReLU()), drawn((5, 6, 3), 4))
    agree(Bidirectional(GRU(9)), drawn((5, 6, 3), 5), np.arange(6) < np.array([[6], [1], [2], [6], [4]]))


@here
@pytest.mark.parametrize(
    "layers",
    [
        [Conv(6, 3)],
        [Conv(6, 3), ReLU(), MaxPool(2)],
        [LSTM(5)],
        [GRU(5)],
        [RNN(5)],
        [Attention(2, causal=True, head_width=5)],
    ],
)
def test_every_transformation_works_outside_the_training_step(layers):
    """The kernels have no forward mode and no rule for batching; plain JAX steps in, of any order."""
    x = jnp.asarray(drawn((3, 4, 5, 2) if isinstance(layers[0], Conv) else (3, 4, 2), 6), jnp.float32)
    net = Sequential(*layers, Dense(1))
    params, state = Network(net).init(jax.random.key(1), x)

    def f(scale):
        return Network(net).apply(params, state, x * scale)[0].sum()

    def values():
        many = jax.vmap(f)(jnp.array([0.5, 1.0, 2.0]))
        forward = jax.jvp(f, (1.0,), (1.0,))[1]
        return many, forward, jax.grad(f)(1.0), jax.hessian(f)(1.0)

    got = values()
    assert "pellucid_" in str(jax.make_jaxpr(f)(1.0))
    with plain():
        right = values()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), got, right)


@here
def test_a_nan_comes_through():
    x = drawn((2, 6, 4), 7)
    x[0, 2, 1] = np.nan
    for layer in (LSTM(3), GRU(3), RNN(3), RNN(3, activation=ReLU())):
        y = outcome(layer, x, None, np.float32)["y"]
        assert np.isnan(y[0, 2:]).all() and np.isfinite(y[0, :2]).all() and np.isfinite(y[1]).all()
    pooled = outcome(MaxPool(2), x, None, np.float32)["y"]
    assert np.isnan(pooled[0, 1, 1]) and np.isfinite(pooled[1]).all()


TRAIN = """
import json, sys
import pellucid as pc
from pellucid.native import native
import warnings
from sklearn.datasets import load_digits
x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8, 1).astype("uint8") if sys.argv[1] == "cnn" else x.reshape(-1, 8, 8).astype("float32")
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    how = dict(steps=60, batch_size=32, baselines=False, seed=3, doctor="off")
    run = pc.fit(sys.argv[1], pc.Dataset(x, y), out=sys.argv[2], **how)
steps = [json.loads(line) for line in open(run.path / "record.jsonl")]
print(json.dumps({
    "isa": native().isa, "why": native().why,
    "losses": [line["loss"] for line in steps if line.get("kind") == "step" and line["step"] <= 20],
    "end": run.result["validation"]["loss"],
    "told": [str(t.message) for t in told if "native kernels" in str(t.message)],
}))
"""


def train(network: str, out: Path, **environment: str) -> dict:
    import json

    path = str(Path(pellucid.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, network, str(out)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@here
@pytest.mark.slow
@pytest.mark.parametrize("network", ["cnn", "lstm:16"])
def test_a_training_goes_the_same_way_with_and_without(network, tmp_path):
    swift = train(network, tmp_path / "swift", PELLUCID_NATIVE="1")
    slow = train(network, tmp_path / "slow", PELLUCID_NATIVE="0")
    assert swift["isa"] == native().isa and slow["isa"] is None and "PELLUCID_NATIVE=0" in slow["why"]
    assert len(swift["losses"]) >= 5
    np.testing.assert_allclose(swift["losses"], slow["losses"], rtol=1e-4)
    assert swift["end"] == pytest.approx(slow["end"], rel=0.02)


def test_a_damaged_library_is_told_of_once_and_not_used(monkeypatch, tmp_path):
    from pellucid.native import library

    damaged = tmp_path / "kernels.so"
    damaged.write_bytes(b"\x7fELF, but no more")
    monkeypatch.setattr(library, "PATH", damaged)
    monkeypatch.delenv(library.OFF, raising=False)  # or it would not be looked for
    library.native.cache_clear()
    try:
        with pytest.warns(UserWarning, match="native kernels cannot be used.*To mend it") as told:
            found = library.native()
        with warnings.catch_warnings(record=True) as later:
            warnings.simplefilter("always")
            assert library.native() is found and not library.usable(jnp.ones(2))
        assert not later and len(told) == 1 and found.isa is None and "not usable" in found.why
    finally:
        library.native.cache_clear()


@here
@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="nothing tells what the processor has")
def test_the_best_set_of_instructions_is_taken():
    if os.environ.get("PELLUCID_NATIVE_ISA"):
        pytest.skip("PELLUCID_NATIVE_ISA asks for another")
    has = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    avx2 = {"avx2", "fma"} <= has
    avx512 = avx2 and {"avx512f", "avx512vl", "avx512dq", "avx512bw"} <= has
    assert native().isa == ("avx512" if avx512 else "avx2" if avx2 else "base")


def test_this_machine_computes_rightly():
    found = check_machine()
    assert found["agrees"], found["checks"]
    assert found["versions"]["kernels"] == (native().isa or "plain")
    assert ("kernel: lstm" in [check["name"] for check in found["checks"]]) == (native().isa is not None)


@pytest.mark.slow
def test_kernels_against_plain_loops_under_an_address_sanitizer(tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler is here")
    tables = {"base": ("4", "6", [])}
    if native().isa in ("avx2", "avx512"):
        tables["avx2"] = ("8", "6", ["-mavx2", "-mfma"])
    if native().isa == "avx512":
        tables["avx512"] = ("16", "14", [f"-mavx512{part}" for part in ("f", "vl", "dq", "bw")] + ["-mavx2", "-mfma"])
    elif sys.platform != "linux" or not tables.get("avx2"):
        pytest.skip("the dispatcher wants all tables; they are built for x86-64 alone")
    common = [compiler, "-std=c++17", "-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize=alignment",
              "-fno-sanitize-recover=all", f"-I{SOURCE}"]  # fmt: skip
    built = []
    for name, (lanes, rows, flags) in tables.items():
        built.append(tmp_path / f"{name}.o")
        names = [f"-DPELLUCID_LANES={lanes}", f"-DPELLUCID_TILE_ROWS={rows}", f'-DPELLUCID_NAME="{name}"',
                 f"-DPELLUCID_TABLE=kernels_{name}"]  # fmt: skip
        subprocess.run([*common, *flags, *names, "-c", SOURCE / "kernels.cc", "-o", built[-1]], check=True)
    check = tmp_path / "check"
    sources = [Path(__file__).with_name("check.cc"), SOURCE / "dispatch.cc"]
    subprocess.run([*common, *sources, *built, "-pthread", "-o", check], check=True)
    for name in tables:
        done = subprocess.run([check, name, "25", "7"], capture_output=True, text=True)
        assert done.returncode == 0 and f"{name}: 25 cases, 0 failures" in done.stdout, done.stdout + done.stderr
