"""The watcher of PyTorch loops: it measures what Pellucid's own loop measures, and changes nothing."""

import copy
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from pellucid.errors import PellucidWarning, SettingError

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the torch extra)")
nn, F = torch.nn, torch.nn.functional

from pellucid.connect.torch import Watch, watch  # noqa: E402
from pellucid.connect.torch_kinds import weight_names  # noqa: E402
from pellucid.connect.torch_probes import Probes, sample  # noqa: E402

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
Y = X[:, :1] * 2
IDS = torch.randint(0, 50, (64, 4), generator=torch.Generator().manual_seed(2))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))


def train(w, model, optimizer, steps=9, call=None, x=X, y=Y) -> None:
    for _ in range(steps):
        loss = F.mse_loss((call or model)(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        w.log(loss=loss)


def watched(model, call=None, x=X, **options) -> Watch:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, **options) as w:
        train(w, model, optimizer, call=call, x=x)
    return w


# -- what is measured -----------------------------------------------------------------------------------------------


def test_it_measures_what_pellucids_own_loop_measures():
    jax = pytest.importorskip("jax")
    from pellucid.data import Part
    from pellucid.network.architectures import mlp as own_mlp
    from pellucid.train.loop import Loop, Settings
    from pellucid.train.loss import Loss
    from pellucid.train.optimizers import Optimizer
    from pellucid.train.schedules import Schedule

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 3, 40).astype(np.int32)
    network = own_mlp((9, 7), activation="relu", outputs=3).initialised(jax.random.key(0), x[:1])
    settings = Settings(
        loss=Loss.of("cross_entropy"), metric=None, optimizer=Optimizer.of("momentum:0.1,0.9"),
        schedule=Schedule.of("constant"), batch_size=40, updates=9,
    )  # fmt: skip
    layers = []
    for name in ("hidden1", "hidden2", "output"):
        weights = network.params[name]
        linear = nn.Linear(*weights["w"].shape)
        linear.weight.data = torch.tensor(np.asarray(weights["w"]).T.copy())
        linear.bias.data = torch.tensor(np.asarray(weights["b"]))
        layers += [linear, nn.ReLU()]
    peer = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.1, momentum=0.9)
    with watch(peer, optimizer, quiet=True) as w:
        for _ in range(9):
            loss = F.cross_entropy(peer(torch.tensor(x)), torch.tensor(y).long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.log(loss=loss)

    loop = Loop(network, Part(x, y, None, np.arange(40)), None, settings)
    ours = [line for event in loop.run() for line in getattr(event, "measured", []) if line["kind"] == "step"]
    place = [i for i, path in enumerate(loop.program.watched) if path not in ("input", "flatten")]
    paths = [path.rpartition("/")[0] + "/" + path[-1] for path in loop.carry.params]
    order = [paths.index(p) for p in ("hidden1/w", "hidden1/b", "hidden2/w", "hidden2/b", "output/w", "output/b")]
    theirs = w.record.steps
    assert [line["step"] for line in theirs] == [line["step"] for line in ours] == [0, 1, 2, 4, 8]
    assert w.record.kinds == ["dense", "relu", "dense", "relu", "dense"]
    assert w.record.weights == ["0/w", "0/b", "2/w", "2/b", "4/w", "4/b"]
    for own, other in zip(ours, theirs, strict=True):
        assert other["learning_rate"] == pytest.approx(own["learning_rate"], rel=1e-5)
        assert other["loss"] == pytest.approx(own["loss"], rel=1e-5)
        for group in ("activation", "gradient"):
            for name in ("rms", "zero", "nonfinite", "mean"):
                picked = np.array(own[group][name])[place]
                np.testing.assert_allclose(other[group][name], picked, rtol=1e-5, atol=1e-7, err_msg=f"{group} {name}")
        for name in ("gradient", "update", "rms"):
            np.testing.assert_allclose(
                other["weight"][name], np.array(own["weight"][name])[order], rtol=1e-5, atol=1e-7, err_msg=name
            )


class Functional(nn.Module):
    """Activations that are functions, as many people write them."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.out = nn.Conv2d(1, 4, 3), nn.Linear(4 * 36, 8), nn.Linear(8, 1)

    def forward(self, x):
        h = F.relu(self.conv(x.view(-1, 1, 8, 8)))
        return self.out(torch.sigmoid(self.fc(h.flatten(1))).relu())


def test_activations_that_are_functions_are_layers():
    w = watched(Functional(), x=torch.randn(64, 64), quiet=True)
    assert w.record.layers == ["conv", "conv/relu", "fc", "fc/sigmoid", "fc/relu", "out"]
    assert w.record.kinds == ["conv", "relu", "dense", "sigmoid", "relu", "dense"]
    zero = w.record.series("activation", "zero")[1]
    assert (zero[:, 1] > 0.1).all()
    assert (zero[:, [0, 2, 3, 4, 5]] == 0).all()


def test_units_that_never_change_and_units_that_are_flat_are_counted():
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 10), nn.Tanh(), nn.Linear(10, 1))
    with torch.no_grad():
        model[0].bias[:4] = -100.0
        model[2].bias[:5] = 100.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with watch(model, optimizer, quiet=True) as w:
        for _ in range(2):
            train(w, model, optimizer, steps=2)
            model.eval()
            with torch.no_grad():
                validation = F.mse_loss(model(X), Y)
            model.train()
            w.log(validation_loss=validation, validation_accuracy=0.5)
    first, second = w.record.units
    assert (first["step"], second["step"]) == (2, 4)
    assert first["dead"] == [0.0, 0.25, 0.0, 0.5, 0.0]
    assert first["saturated"][:3] == ["nan"] * 3
    assert 0.5 <= first["saturated"][3] < 0.6
    assert all(0 < share <= 1 for share in first["rank"][:4])
    assert [line["validation"] for line in w.record.epochs] == [{"loss": pytest.approx(float(validation), rel=1e-5),
                                                                 "accuracy": 0.5}] * 2  # fmt: skip
    assert w.record.epochs[0]["train"]["loss"] > 0


def test_the_rate_is_read_at_each_update_of_each_group():
    model = mlp()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.2}]
    optimizer = torch.optim.AdamW(groups)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with watch(model, optimizer, quiet=True) as w:
        for _ in range(3):
            train(w, model, optimizer, steps=1)
            schedule.step()
    assert [line["learning_rate"] for line in w.record.steps] == [0.1, 0.05, 0.025]
    assert w.record.steps[1]["learning_rates"] == [0.05, 0.1]
    assert w.record.setup["optimizer"] == "adamw"


def test_gathered_gradients_are_those_of_the_update():
    """Four batches an update: each weight's gradient is their sum; one batch four times as large gives the same."""
    torch.manual_seed(0)
    model = mlp()
    twin = copy.deepcopy(model)
    lines = []
    for net, parts in ((model, 4), (twin, 1)):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        with watch(net, optimizer, quiet=True) as w:
            for _ in range(2):
                optimizer.zero_grad()
                for x, y in zip(X.chunk(parts), Y.chunk(parts), strict=True):
                    loss = F.mse_loss(net(x), y) / parts
                    loss.backward()
                    w.log(loss=loss * parts)
                optimizer.step()
        lines.append(w.record.steps)
    for gathered, whole in zip(*lines, strict=True):
        np.testing.assert_allclose(gathered["weight"]["gradient"], whole["weight"]["gradient"], rtol=1e-4)
        np.testing.assert_allclose(gathered["activation"]["rms"], whole["activation"]["rms"], rtol=1e-4)
        assert gathered["loss"] == pytest.approx(whole["loss"], rel=1e-4)


def test_a_large_tensor_is_sampled_evenly_in_whatever_layout():
    x = torch.randn(16, 12, 9, 7)
    last = x.contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    taken = sample(x, 1)
    assert 1000 < len(taken) <= 4096
    assert torch.equal(taken, sample(last, 1))


# -- nothing is changed ---------------------------------------------------------------------------------------------


class Tied(nn.Module):
    """A shared layer, a frozen one, one that is not used, an embedding with sparse gradients, a bare parameter."""

    def __init__(self):
        super().__init__()
        self.embed, self.shared = nn.Embedding(50, 8, sparse=True), nn.Linear(8, 8)
        self.again = self.shared
        self.frozen, self.unused = nn.Linear(8, 8).requires_grad_(False), nn.Linear(3, 3)
        self.gain, self.out = nn.Parameter(torch.ones(8)), nn.Linear(8, 1)

    def forward(self, ids):
        h = F.relu(self.shared(self.embed(ids).mean(1)))
        return self.out(self.frozen(self.again(h)) * self.gain)


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.act, self.norm, self.out = (
            nn.Linear(8, 16),
            nn.ReLU(True),
            nn.BatchNorm1d(16),
            nn.Linear(16, 1),
        )

    def forward(self, x):
        return self.out(F.dropout(self.norm(self.act(self.first(x))), 0.2, self.training, inplace=True))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.cell, self.out = nn.LSTM(1, 8, 2, batch_first=True), nn.GRUCell(8, 8), nn.Linear(8, 1)

    def forward(self, x):
        y, _ = self.lstm(x.unsqueeze(-1))
        h = torch.zeros(len(x), 8)
        for t in [*range(8), *range(8), *range(8)]:  # the cell is called more often than samples are kept apart
            h = self.cell(y[:, t], h)
        return self.out(h)


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.out = nn.Linear(1, 8), nn.Linear(8, 1)
        self.body = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)

    def forward(self, x):
        return self.out(self.body(self.up(x.unsqueeze(-1))).mean(1))


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.out = nn.Linear(8, 16), nn.Linear(16, 1)
        self.body = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.5))

    def forward(self, x):
        return self.out(torch.utils.checkpoint.checkpoint(self.body, self.first(x), use_reentrant=False))


def normed():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.BatchNorm1d(8), nn.Linear(8, 1))


AWKWARD = {
    "plain": (mlp, X, ["0", "1", "2"]),
    "shared, frozen, unused, sparse": (Tied, IDS, ["embed", "shared", "shared/relu", "frozen", "out"]),
    "in place": (InPlace, X, ["first", "act", "norm", "out"]),
    "recurrent": (Recurrent, X, ["lstm", "cell", "out"]),
    "transformer": (Transformer, X, None),
    "checkpointed": (Checkpointed, X, ["first", "body/0", "body/1", "body/2", "out"]),
    "weight norm": (normed, X, ["0", "1", "2"]),
    "DataParallel": (lambda: nn.DataParallel(mlp()), X, ["0", "1", "2"]),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(1)), X, ["0", "1", "2"]),
    "one layer": (lambda: nn.Linear(8, 1), X, ["dense"]),
    "own mode": (lambda: mlp().eval(), X, ["0", "1", "2"]),
}


def trained(make, x, watching):
    """Bytes of the weights and running state, validation losses, and the next random number."""
    torch.manual_seed(0)
    model = make()
    model(x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    training = model.training
    losses = []

    def loop(w=None):
        for step in range(20):
            loss = F.mse_loss(model(x), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if w is not None:
                w.log(loss=loss)
            if step % 7 == 3:
                model.eval()
                with torch.no_grad():
                    losses.append(F.mse_loss(model(x), Y))
                if w is not None:
                    w.log(validation_loss=losses[-1])
                model.train(training)
                copy.deepcopy(model)(x)

    w = None
    if watching:
        with watch(model, optimizer, quiet=True) as w:
            loop(w)
    else:
        loop()
    return [a.clone() for a in model.state_dict().values()], torch.stack(losses), torch.rand(3), w


@pytest.mark.parametrize("name", AWKWARD)
def test_training_is_the_same_to_the_byte_and_every_layer_is_met(name):
    make, x, layers = AWKWARD[name]
    plain, losses, drawn, _ = trained(make, x, False)
    seen, same_losses, same_drawn, w = trained(make, x, True)
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert torch.equal(losses, same_losses)
    assert torch.equal(drawn, same_drawn)
    assert w.notes == []
    if layers is not None:
        assert w.record.layers == layers
    assert np.isfinite(w.record.series("gradient", "rms")[1]).all()
    assert [line["step"] for line in w.record.steps] == [0, 1, 2, 4, 8, 16]
    assert len(w.record.epochs) == 3


def test_weights_that_do_not_move_are_told_from_those_that_do():
    torch.manual_seed(0)
    w = watched(Tied(), x=IDS, quiet=True)
    line = dict(zip(w.record.weights, w.record.steps[1]["weight"]["update"], strict=True))
    assert {name for name, moved in line.items() if moved == 0} == {"frozen/w", "frozen/b", "unused/w", "unused/b"}
    assert w.record.setup["frozen"] == ["frozen/w", "frozen/b"]
    slope = dict(zip(w.record.weights, w.record.steps[1]["weight"]["gradient"], strict=True))
    assert line["embed/w"] == pytest.approx(0.1 * slope["embed/w"], rel=1e-4)  # sparse: over all of its rows


def test_nothing_is_left_on_the_model_and_a_copy_made_meanwhile_is_free():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, quiet=True) as w:
        train(w, model, optimizer, steps=1)
        pickled, copied = pickle.dumps(model), copy.deepcopy(model)
        assert b"pellucid" not in pickled
    assert torch.equal(pickle.loads(pickled)(X), model(X))
    assert torch.equal(copied(X), model(X))
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_an_error_of_the_training_passes_and_all_is_taken_off():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match="mat1 and mat2"), watch(model, optimizer, quiet=True):
        model(torch.zeros(2, 3))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.overrides._get_current_function_mode() is None


# -- awkward loops --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("size", [2.0**16, 2.0**127])
def test_a_scaled_loss_is_divided_out(fused, size):
    """With the larger scale the first attempts make no update; they are not taken for one."""
    lines = []
    for scaled in (False, True):
        torch.manual_seed(0)
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.0, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=size, enabled=scaled)
        with watch(model, optimizer, quiet=True) as w:
            for _ in range(9):
                loss = 10 * F.mse_loss(model(X), Y)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                w.log(loss=loss)
        lines.append(w.record.steps[-1])
    plain, scaled = lines
    np.testing.assert_allclose(scaled["gradient"]["rms"], plain["gradient"]["rms"], rtol=1e-4)
    np.testing.assert_allclose(scaled["weight"]["gradient"], plain["weight"]["gradient"], rtol=1e-4)
    assert w.notes == []
    for line in w.record.steps:
        assert np.isfinite(line["weight"]["gradient"]).all()
        np.testing.assert_allclose(line["gradient"]["rms"], plain["gradient"]["rms"], rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_precision(dtype):
    torch.manual_seed(0)
    plain = watched(mlp(), quiet=True)
    torch.manual_seed(0)
    w = watched(mlp().to(dtype), x=X.to(dtype), quiet=True)
    rough = 0.05 if dtype != torch.float64 else 1e-4
    np.testing.assert_allclose(
        w.record.steps[1]["gradient"]["rms"], plain.record.steps[1]["gradient"]["rms"], rtol=rough
    )
    assert w.notes == []


def test_autocast():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, quiet=True) as w, torch.autocast("cpu", dtype=torch.bfloat16):
        train(w, model, optimizer)
    assert np.isfinite(w.record.series("gradient", "rms")[1]).all()
    assert w.notes == []


@pytest.mark.parametrize("make", [lambda p: torch.optim.SGD(p, lr=0.1), lambda p: torch.optim.LBFGS(p, max_iter=3)])
def test_a_step_with_a_closure(make):
    """As Lightning makes all of them."""
    model = mlp()
    optimizer = make(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = F.mse_loss(model(X), Y)
        loss.backward()
        return loss

    with watch(model, optimizer, quiet=True) as w:
        for _ in range(3):
            w.log(loss=optimizer.step(closure))
    assert len(w.record.steps) == 3
    assert (w.record.series("weight", "gradient")[1] > 0).all()
    assert (w.record.series("gradient", "rms")[1] > 0).all()


@pytest.mark.parametrize("how", ["torch.compile(model)", "model.compile()", "compiled later", "a part"])
def test_a_compiled_model_trains_as_ever_and_what_is_not_seen_is_said(how):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(mlp(), nn.Linear(1, 1)) if how == "a part" else mlp()
    twin = copy.deepcopy(model)
    call = torch.compile(model, backend="eager") if how in ("torch.compile(model)", "compiled later") else model
    if how == "model.compile()":
        model.compile(backend="eager")
    if how == "a part":
        model[0] = torch.compile(model[0], backend="eager")
    w = watched(call if how == "torch.compile(model)" else model, call=call, quiet=True)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    train(w, twin, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert len(w.notes) == 1
    assert "compiled" in w.notes[0]
    assert w.record.layers == (["1"] if how == "a part" else [])
    assert w.record.weights[0] == ("0/0/w" if how == "a part" else "0/w")
    assert len(w.record.steps) == 5
    assert (w.record.series("weight", "update")[1] > 0).all()


def test_a_model_that_is_never_called_as_a_whole():
    model = mlp()
    w = watched(model, call=lambda x: model[2](model[1](model[0](x))), quiet=True)
    assert w.record.layers == []
    assert "never called as a whole" in w.notes[0]


def test_functional_transforms_are_left_alone():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, quiet=True) as w:
        weights = dict(model.named_parameters())
        slopes = torch.func.grad(lambda p: F.mse_loss(torch.func.functional_call(model, p, (X,)), Y))(weights)
        for name, weight in weights.items():
            weight.grad = slopes[name].detach()
        optimizer.step()
    assert w.record.layers == []
    assert (np.array(w.record.steps[0]["weight"]["gradient"]) > 0).all()


def test_two_watchers_find_the_same_and_the_second_says_so():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, quiet=True) as first:
        with pytest.warns(PellucidWarning, match="watched already"):
            second = watch(model, optimizer, quiet=True).__enter__()
        for _ in range(5):
            train(first, model, optimizer, steps=1)
            second.log(loss=first.journal._told[-1][1])
        second.__exit__(None, None, None)
    assert first.record.steps == second.record.steps
    third = watched(model, quiet=True)
    assert len(third.record.steps) == 5


def test_weights_that_the_optimizer_does_not_hold():
    model = mlp()
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    other = torch.optim.SGD([model[2].weight], lr=0.1)
    with watch(model, first, quiet=True) as w:
        for _ in range(5):
            train(w, model, first, steps=1)
            other.step()
    assert w.notes == ["the optimizer does not hold 2/w and 1 more: only another one can move them"]
    moved = dict(zip(w.record.weights, w.record.steps[2]["weight"]["update"], strict=True))
    assert moved["2/w"] > 0
    assert moved["2/b"] == 0


def test_an_optimizer_that_never_steps():
    model = mlp()
    with watch(model, torch.optim.SGD(model.parameters(), lr=0.1), quiet=True) as w:
        model(X)
    assert "optimizer.step() was not seen" in w.notes[0]


# -- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["_take", "_gradient", "lines", "attach"])
def test_a_fault_of_its_own_is_told_once_and_training_goes_on(where, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("a fault")

    if where == "_gradient":
        monkeypatch.setattr(Probes, where, lambda *args: fail)
        monkeypatch.setattr(Probes, "_gradient", lambda self, *args: self_failing(self, fail))
    else:
        monkeypatch.setattr(Probes, where, fail)
    torch.manual_seed(0)
    model = mlp()
    twin = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    text = "training goes on as it is .ZeroDivisionError: a fault"
    with pytest.warns(PellucidWarning, match=text) as told, watch(model, optimizer) as w:
        train(w, model, optimizer)
    assert len(told) == 1
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    other = torch.optim.SGD(twin.parameters(), lr=0.1)
    train(w, twin, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert "stepped aside" in capsys.readouterr().err


def self_failing(probes, fail):
    def come(gradient):
        with probes.guard():
            fail()

    return come


def test_not_even_warnings_as_errors_break_a_training(monkeypatch, capsys):
    monkeypatch.setattr(Probes, "lines", lambda *args: 1 / 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watched(mlp(), quiet=True)
    assert "training goes on as it is" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_ends_the_watching_alone(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.warns(PellucidWarning, match="stopped watching after 0 updates"):
        watched(mlp(), out=tmp_path / "taken", quiet=True)


# -- telling --------------------------------------------------------------------------------------------------------


def test_the_record_is_written_as_a_runs_is(tmp_path):
    from pellucid.signals.record import read_record

    w = watched(mlp(), out=tmp_path, quiet=True, every=3, task="regression", rows=64)
    read = read_record(tmp_path / "record.jsonl")
    assert read == w.record
    assert read.setup["task"] == "regression"
    assert (read.setup["batch"], read.setup["optimizer"], read.setup["learning_rate"]) == (64, "sgd", 0.1)
    assert [line["step"] for line in read.chunks] == [3, 6, 9]
    assert set(read.chunks[0]["loss"]) == {"mean", "std", "min", "max", "turns"}
    assert [line["step"] for line in read.epochs] == [3, 6, 9]  # no validation: the chunks stand in for epochs
    json.dumps(w.record.setup, allow_nan=False)


def test_the_closing_words(capsys):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer):
        F.mse_loss(model(X), Y).backward()
        optimizer.step()
    out, err = capsys.readouterr()
    assert out == ""
    assert "pellucid: 3 layers and 4 weights watched over 1 update; nothing found" in err
    assert "no loss was told, so harm cannot be shown" in err
    watched(mlp(), quiet=True)
    assert capsys.readouterr().err == ""


def test_findings_are_told_and_silenced(monkeypatch, capsys):
    from pellucid.connect import watcher
    from pellucid.doctor.finding import Finding, Remedy

    def conclude(record, silence=()):
        found = Finding("dead_units", "warning", "4 of 16 units are dead", "1", 8, remedies=(Remedy({"lr": 0.01}),))
        return [] if "dead_units" in silence else [found]

    monkeypatch.setattr(watcher, "conclude", conclude)
    w = watched(mlp())
    assert [f.problem for f in w.findings()] == ["dead_units"]
    err = capsys.readouterr().err
    assert "1 finding.\n  warning: units that are dead in 1, from update 8\n    4 of 16" in err
    assert "change: lr = 0.01" in err
    assert watched(mlp(), silence=("dead_units",)).findings() == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"silence": ["dead_unit"]}, "did you mean 'dead_units'"),
        ({"clases": 3}, "did you mean 'classes'"),
        ({"every": 0}, "whole number >= 1"),
    ],
)
def test_wrong_settings_are_errors_before_training(options, text):
    model = mlp()
    with pytest.raises(SettingError, match=text):
        watch(model, torch.optim.SGD(model.parameters(), lr=0.1), **options)


def test_what_is_no_model_and_no_optimizer():
    model = mlp()
    with pytest.raises(SettingError, match=r"expected: an nn.Module\n  got:      function"):
        watch(mlp, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(SettingError, match=r"expected: a torch.optim.Optimizer"):
        watch(model, 0.1)


def test_weights_have_the_names_that_pellucid_gives_them():
    assert list(weight_names(nn.LSTM(2, 3, 2, bidirectional=True)))[:6] == [
        "lstm/w", "lstm/u", "lstm/b", "lstm/v", "lstm/w_reverse", "lstm/u_reverse",
    ]  # fmt: skip
    assert list(weight_names(nn.Sequential(nn.MultiheadAttention(4, 2)))) == ["0/w", "0/b", "0/out", "0/out_bias"]


def test_without_pytorch_it_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import pellucid as pc; pc.connect.torch.watch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "pellucid[torch]"' in done.stderr


def test_the_page_shows_a_gradient_that_vanishes():
    page = (Path(__file__).parents[2] / "docs" / "watch.md").read_text(encoding="utf-8")
    names: dict = {}
    exec(page.split("<!-- pytorch -->\n```python\n")[1].split("```")[0], names)
    record = names["w"].record
    gradients = record.series("gradient", "rms")[1]
    assert (gradients[:, 0] < 1e-6 * gradients[:, -1]).all()  # the first layer hears nothing
    assert all(line["validation"]["loss"] > 0.6 for line in record.epochs)  # of two classes: ln 2 is 0.693
    assert len(record.epochs) == 10
    assert [f.problem for f in names["findings"]] == ["vanishing_gradients"]


class Well(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(20, 32), nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, x):
        return self.out(F.relu(self.second(F.relu(self.first(x)))))


def test_a_network_that_learns_well_is_let_alone(capsys):
    torch.manual_seed(0)
    x = torch.randn(2000, 20)
    y = (x[:, 0] + x[:, 1] > 0).long()
    model = Well()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, optimizer, classes=2, loss="cross_entropy", task="classification") as w:
        for _ in range(6):
            for rows in torch.randperm(1600).split(32):
                loss = F.cross_entropy(model(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                w.log(loss=loss)
            with torch.no_grad():
                w.log(validation_loss=F.cross_entropy(model(x[1600:]), y[1600:]))
    assert [f.problem for f in w.findings() if f.alarm] == []
    assert capsys.readouterr().err.startswith("pellucid: 5 layers and 6 weights watched over 300 updates; ")


def test_no_jax_is_loaded():
    code = """
import sys, torch
import pellucid as pc
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with pc.connect.torch.watch(model, optimizer) as w:
    for _ in range(5):
        loss = model(torch.ones(4, 3)).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step(); w.log(loss=loss)
w.findings(), pc.diagnose(w.record)
assert len(w.try_remedies(lambda model, x: model(x).square().mean(), [torch.ones(4, 3)], steps=2)) > 2
print(sorted({'jax', 'optax', 'polars', 'sklearn', 'rich'} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert "1 layer and 2 weights watched over 5 updates" in done.stderr
