"""The whole step (forward, loss, gradients, update) beside PyTorch's, from the same weights on the same batch."""

import jax
import numpy as np
import pytest

from pellucid.data import Part
from pellucid.network.architectures import mlp
from pellucid.train.loop import Loop, Settings
from pellucid.train.loss import Loss
from pellucid.train.metrics import Metric
from pellucid.train.optimizers import Optimizer
from pellucid.train.schedules import Schedule

torch = pytest.importorskip("torch", reason="PyTorch is not installed (the bench extra)")

UPDATES = 7
PEERS = {
    "sgd:0.1": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum:0.1,0.9": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "nesterov:0.1,0.9": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam:0.01": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam:0.01,b1=0.8,b2=0.95": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95)),
}


@pytest.mark.parametrize("optimizer", PEERS)
def test_seven_updates_give_the_weights_that_pytorch_gives(optimizer):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 3, 40).astype(np.int32)
    network = mlp((9, 7), activation="tanh", outputs=3)
    network = network.initialised(jax.random.key(0), x[:1])
    settings = Settings(
        loss=Loss.of("cross_entropy"), metric=Metric.of("accuracy"), optimizer=Optimizer.of(optimizer),
        schedule=Schedule.of("constant"), batch_size=40, updates=UPDATES,
    )  # fmt: skip
    layers = []
    for name in ("hidden1", "hidden2", "output"):
        weights = network.params[name]
        linear = torch.nn.Linear(*weights["w"].shape)
        linear.weight.data = torch.tensor(np.asarray(weights["w"]).T.copy())
        linear.bias.data = torch.tensor(np.asarray(weights["b"]))
        layers += [linear, torch.nn.Tanh()]
    peer = torch.nn.Sequential(*layers[:-1])
    update = PEERS[optimizer](list(peer.parameters()))
    losses = []
    for _ in range(UPDATES):
        update.zero_grad()
        loss = torch.nn.functional.cross_entropy(peer(torch.tensor(x)), torch.tensor(y).long())
        loss.backward()
        update.step()
        losses.append(float(loss.detach()))

    loop = Loop(network, Part(x, y, None, np.arange(40)), None, settings)
    found = [event.loss for event in loop.run() if hasattr(event, "validation")]
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    ours = loop.carry.params  # after the last update, whichever epoch was best
    for name, layer in zip(("hidden1", "hidden2", "output"), layers[::2], strict=True):
        np.testing.assert_allclose(ours[f"{name}/w"], layer.weight.detach().numpy().T, atol=2e-6)
        np.testing.assert_allclose(ours[f"{name}/b"], layer.bias.detach().numpy(), atol=2e-6)
