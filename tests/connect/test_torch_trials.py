"""Trials beside a PyTorch loop: copies are trained, what helps is told with numbers, and nothing of yours moves."""

import copy
import random

import numpy as np
import pytest

from pellucid.connect.trials import Trials, tried
from pellucid.doctor.finding import Remedy
from pellucid.errors import SettingError

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the torch extra)")
nn, F = torch.nn, torch.nn.functional

from pellucid.connect.torch import watch  # noqa: E402

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(192, 6, generator=GENERATOR)
Y = (X[:, 0] + X[:, 1] > 0).long()
BATCHES = list(zip(X[:128].split(16), Y[:128].split(16), strict=True))
UNSEEN = [(X[128:], Y[128:])]


def loss(model, x, y):
    return F.cross_entropy(model(x), y)


def mlp(*more) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), *more, nn.Linear(8, 2))


def trials_of(model, optimizer, batches=BATCHES, validation=UNSEEN, loss=loss, **budget) -> Trials:
    budget = {"steps": 24, "seeds": 2, "seconds": 600.0} | budget
    return watch(model, optimizer, quiet=True).try_remedies(loss, batches, validation, **budget)


def everything(model, optimizer, loader) -> list:
    """All that a trial could touch, as bytes and plain values."""

    def plain(value):
        if isinstance(value, torch.Tensor):
            return value.detach().numpy().tobytes(), value.requires_grad
        if isinstance(value, dict):
            return {name: plain(one) for name, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, list | tuple) else value

    return [
        plain(dict(model.state_dict())), plain(optimizer.state_dict()),
        [None if p.grad is None else plain(p.grad) for p in model.parameters()],
        [module.training for module in model.modules()], plain(torch.get_rng_state()), random.getstate(),
        str(np.random.get_state()), plain(loader.generator.get_state()),
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    ]  # fmt: skip


def test_nothing_of_the_users_is_touched_and_training_goes_on_the_same_to_the_byte():
    def train(trying: bool) -> tuple[list, list]:
        model = mlp(nn.BatchNorm1d(8), nn.Dropout(0.5))
        random.seed(0)
        np.random.seed(0)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        data = torch.utils.data.TensorDataset(X, Y)
        loader = torch.utils.data.DataLoader(data, 32, shuffle=True, generator=torch.Generator().manual_seed(3))
        seen = []
        with watch(model, optimizer, quiet=True) as w:
            for epoch in range(2):
                for place, (x, y) in enumerate(loader):
                    optimizer.zero_grad()
                    loss(model, x, y).backward()
                    optimizer.step()
                    if trying and epoch == 1 and place == 1:
                        model[2].eval()  # a layer that somebody froze
                        before = everything(model, optimizer, loader)
                        assert len(w.try_remedies(loss, loader, UNSEEN, steps=3, seeds=1, seconds=600)) >= 6
                        assert everything(model, optimizer, loader) == before
                        model[2].train()
                schedule.step()
            seen.append(w.record.steps)
        return everything(model, optimizer, loader), seen

    assert train(True) == train(False)


def test_the_branch_without_a_change_is_the_loop_done_by_hand():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss(model, *BATCHES[0]).backward()
    optimizer.step()  # there is a momentum to take over
    found = trials_of(model, optimizer, seeds=2)
    longest = max(found, key=lambda trial: len(trial.treated))  # one that was better with the first seed
    for seed in range(2):
        twin, second = copy.deepcopy((model, optimizer))
        generator = np.random.default_rng(seed)
        order = [*generator.permutation(8), *generator.permutation(8), *generator.permutation(8)]
        for place in order:
            second.zero_grad()
            loss(twin, *BATCHES[place]).backward()
            second.step()
        assert longest.without[seed] == loss(twin, *UNSEEN[0]).item()
    assert found[0].before == loss(model, *UNSEEN[0]).item()
    smaller = next(t for t in found if t.remedy.text == "a learning rate 10 times smaller")
    assert smaller.remedy.settings == {"learning_rate": 0.001}
    twin, second = copy.deepcopy((model, optimizer))
    second.param_groups[0]["lr"] = 0.001
    generator = np.random.default_rng(0)
    for place in [*generator.permutation(8), *generator.permutation(8), *generator.permutation(8)]:
        second.zero_grad()
        loss(twin, *BATCHES[place]).backward()
        second.step()
    assert smaller.treated[0] == pytest.approx(loss(twin, *UNSEEN[0]).item(), rel=1e-6)


def test_a_step_that_is_too_small_is_found_and_stands_in_the_findings(capsys):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5)
    with watch(model, optimizer, classes=2, loss="cross_entropy", task="classification") as w:
        for _ in range(40):
            for x, y in BATCHES:
                optimizer.zero_grad()
                value = loss(model, x, y)
                value.backward()
                optimizer.step()
                w.log(loss=value)
            with torch.no_grad():
                w.log(validation_loss=loss(model, *UNSEEN[0]))
        w.try_remedies(loss, BATCHES, UNSEEN, steps=60)
    alarm = w.findings()[0]
    assert alarm.problem == "learning_rate_too_low" and alarm.tried == tuple(w.trials)
    helping = {t.remedy.text: t for t in w.trials.helping}
    assert "Adam, rate 0.001" in helping and "the gradient's norm clipped at 1" not in helping
    named = next(r for r in alarm.remedies if "learning_rate" in r.settings)  # the rate that the finding names is tried
    trial = next(t for t in w.trials if t.remedy.settings == named.settings)
    assert trial.helps and max(trial.treated) < min(trial.without) and len(trial.treated) == 3
    said = capsys.readouterr().err
    assert "updates from the state after 320 updates, beside no change; validation loss, 3 seeds" in said
    assert "Adam, rate 0.001" in said


def deep(activation) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 16), activation()]
    for _ in range(2):
        layers += [nn.Linear(16, 16), activation()]
    return nn.Sequential(*layers, nn.Linear(16, 1), nn.Sigmoid())


def test_what_layers_and_inputs_allow_is_tried_and_raw_inputs_are_found():
    """Sigmoids behind inputs in the thousands; the last sigmoid belongs to the loss and stays."""
    model = deep(nn.Sigmoid)
    batches = [(1000 * x + 5000, y) for x, y in BATCHES]
    found = trials_of(
        model, torch.optim.Adam(model.parameters(), lr=1e-2), batches, None,
        lambda model, x, y: F.binary_cross_entropy(model(x).reshape(-1), y.float()), steps=100,
    )  # fmt: skip
    by = {next(iter(t.remedy.settings)): t for t in found}
    assert set(by) == {"learning_rate", "activation", "norm", "initial", "clip_norm", "optimizer", "standardize"}
    assert all(np.isfinite(t.treated).all() for t in found if "learning_rate" not in t.remedy.settings)
    cure = by["standardize"]
    assert cure.helps and max(cure.treated) < 0.3 < 0.6 < min(cure.without)
    assert found.helping[0] == cure and "training loss" in str(found)


def test_weights_that_are_not_finite_begin_anew():
    model = mlp()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    found = trials_of(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert found.notes[0] == "the weights are not finite: all branches begin anew"
    assert found.begun == "weights drawn anew" and np.isfinite(found[0].without).all()


def test_frozen_weights_are_kept_where_others_are_drawn_anew():
    from pellucid.connect.torch_remedies import redraw

    model = mlp(nn.Linear(8, 8))
    model[2].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    assert redraw(model) == []
    after = model.state_dict()
    assert [name for name in after if torch.equal(after[name], before[name])] == ["2.weight", "2.bias"]


class Holding(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 2)
        self.last = None

    def forward(self, x):
        self.last = self.fc(x)
        return self.last


class Sharing(nn.Linear):
    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (Holding, r"the model cannot be copied, so nothing can be tried\n  where:    Holding"),
        (lambda: Sharing(6, 2), "got:      a copy that shares weights with the model"),
    ],
)
def test_a_model_that_cannot_be_copied_is_told_so(make, text):
    model = make()
    model(X)
    with pytest.raises(SettingError, match=text):
        trials_of(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_loss_that_cannot_be_tried_is_told_and_leaves_no_gradient():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(SettingError, match=r"this loss cannot be tried[\s\S]*function of \(model, \*batch\)"):
        trials_of(model, optimizer, loss=lambda other, x, y: loss(model, x, y))  # not the one that was handed over
    with pytest.raises(SettingError, match=r"fix:      w.try_remedies\(lambda model, x, y"):
        trials_of(model, optimizer, loss=nn.CrossEntropyLoss())
    with pytest.raises(SettingError, match=r"got:      it gave shape \(64,\)"):
        trials_of(model, optimizer, loss=lambda m, x, y: F.cross_entropy(m(x), y, reduction="none"))
    with pytest.raises(SettingError, match="there are no batches"):
        trials_of(model, optimizer, batches=[])
    with pytest.raises(SettingError, match="these are no batches"):
        trials_of(model, optimizer, batches=X)
    with pytest.raises(SettingError, match="steps"):
        trials_of(model, optimizer, steps=0)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=2),
        lambda p: torch.optim.AdamW([{"params": [one]} for one in p], lr=1e-3, weight_decay=0.1),
    ],
)
def test_other_optimizers_can_be_tried(make):
    model = mlp()
    found = trials_of(model, make(list(model.parameters())), steps=3, seeds=1)
    assert len(found) >= 5 and np.isfinite([t.without[0] for t in found]).all()
    assert found.notes == []


def test_a_batch_may_be_a_dict_and_the_weights_in_half_precision():
    model = mlp().bfloat16()
    found = trials_of(
        model, torch.optim.SGD(model.parameters(), lr=0.1), [{"x": X, "y": Y}], None,
        lambda model, batch: loss(model, batch["x"].bfloat16(), batch["y"]), steps=2, seeds=1,
    )  # fmt: skip
    assert len(found) >= 4


class Counting:
    """A trainer whose branches take no time, and whose remedies all help."""

    def __init__(self):
        self.steps = []

    def branch(self, settings, seed, steps):
        self.steps.append(steps)
        return 0.5 if settings else 1.0

    def seconds_left(self):
        return 10.0


def test_what_does_not_fit_the_time_is_left_out_and_said():
    remedies = [Remedy({"learning_rate": float(i)}, f"rate {i}") for i in range(4)]

    def fitting(steps, step, other, branches):
        return min(steps, 60 // branches)

    trainer = Counting()
    trials, notes = tried(trainer, remedies, 50, 2, 3.0, (1.0, 0.0), fitting)
    assert set(trainer.steps) == {12} and [t.before for t in trials] == [3.0] * 4
    assert notes == ["12 updates a branch instead of 50, to keep within the time"]
    trainer = Counting()
    trials, notes = tried(trainer, remedies, 50, 2, 3.0, (1.0, 0.0), lambda *a: 30 // a[-1])
    assert set(trainer.steps) == {10} and [t.remedy.text for t in trials] == ["rate 0", "rate 1"]
    assert notes[0] == "no time for rate 2, rate 3: give more seconds"
