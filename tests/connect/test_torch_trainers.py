"""The watcher of PyTorch inside other trainers, where they are installed (and in the shape of them, elsewhere)."""

import warnings

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the torch extra)")
nn, F = torch.nn, torch.nn.functional

from pellucid.connect.torch import watch  # noqa: E402

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
Y = X[:, :1] * 2
DATA = torch.utils.data.TensorDataset(X, Y)


def test_a_trainer_that_wraps_the_optimizer_and_steps_by_a_closure():
    """As Lightning and accelerate do it: the loop sees a wrapper, whose `step` calls the optimizer's own."""

    class Wrapped:
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def step(self, closure):
            return self.optimizer.step(closure=closure)

    def train(watching: bool):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))
        wrapped = Wrapped(torch.optim.Adam(model.parameters(), lr=0.01))

        def closure():
            wrapped.optimizer.zero_grad()
            loss = F.mse_loss(model(X), Y)
            loss.backward()
            return loss

        w = watch(model, wrapped, quiet=True) if watching else None
        if w is not None:
            w.__enter__()
        for _ in range(9):
            loss = wrapped.step(closure)
            if w is not None:
                w.log(loss=loss)
        if w is not None:
            w.__exit__(None, None, None)
        return [p.detach().clone() for p in model.parameters()], w

    (plain, _), (seen, w) = train(False), train(True)
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))
    assert w.notes == [] and [line["step"] for line in w.record.steps] == [0, 1, 2, 4, 8]
    assert w.record.layers == ["0", "1", "2"] and (w.record.series("weight", "gradient")[1] > 0).all()


def test_inside_lightning(tmp_path):
    lightning = pytest.importorskip("lightning", reason="Lightning is not installed")

    class Doctor(lightning.Callback):
        def on_train_start(self, trainer, module):
            self.watch = watch(module, trainer.optimizers[0], quiet=True).__enter__()

        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            self.watch.log(loss=outputs["loss"])

        def on_train_end(self, trainer, module):
            self.watch.__exit__(None, None, None)

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            return F.mse_loss(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    doctor = Doctor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=2, callbacks=[doctor], logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(Module(), torch.utils.data.DataLoader(DATA, 16))
    record = doctor.watch.record
    assert doctor.watch.updates == 8 and [line["step"] for line in record.steps] == [0, 1, 2, 4]
    assert record.weights == ["net/0/w", "net/0/b", "net/2/w", "net/2/b"]
    assert all("loss" in line for line in record.steps)


def test_inside_the_trainer_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1))

        def forward(self, x, labels=None):
            y = self.net(x)
            return {"loss": F.mse_loss(y, labels), "logits": y}

    class Doctor(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, optimizer=None, **more):
            self.watch = watch(model, optimizer, quiet=True).__enter__()

        def on_log(self, args, state, control, logs=None, **more):
            if "loss" in logs:
                self.watch.log(loss=logs["loss"])

        def on_train_end(self, args, state, control, **more):
            self.watch.__exit__(None, None, None)

    doctor = Doctor()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = transformers.TrainingArguments(
            str(tmp_path), max_steps=9, per_device_train_batch_size=16, report_to=[], use_cpu=True, logging_steps=1,
            save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        rows = [{"x": x, "labels": y} for x, y in DATA]
        transformers.Trainer(Model(), arguments, train_dataset=rows, callbacks=[doctor]).train()
    record = doctor.watch.record
    assert doctor.watch.updates == 9 and [line["step"] for line in record.steps] == [0, 1, 2, 4, 8]
    assert record.weights == ["net/0/w", "net/0/b", "net/2/w", "net/2/b"]
