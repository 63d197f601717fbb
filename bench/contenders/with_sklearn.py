"""scikit-learn's MLPClassifier: multilayer networks on rows of numbers, ReLU, no L2."""

import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier

from bench.contenders import Call, Training, logistic_loss
from bench.data import Data, order
from bench.models import MLP, Weights
from bench.rows import Row


def classifier(row: Row, x: np.ndarray, y: np.ndarray, weights: Weights, batch: int) -> MLPClassifier:
    """A classifier that has these weights."""
    model = row.model
    assert isinstance(model, MLP)
    found = MLPClassifier(
        model.widths[1:-1], solver=row.optimizer, alpha=0.0, batch_size=batch, learning_rate_init=row.rate, max_iter=1,
        shuffle=False, momentum=0.0, nesterovs_momentum=False, tol=0.0, n_iter_no_change=10**9, warm_start=True,
    )  # fmt: skip
    some = np.concatenate([np.flatnonzero(y == k)[:1] for k in range(10)])  # one of each class: it then knows them all
    found.set_params(batch_size=len(some)).fit(x[some], y[some])
    found.set_params(batch_size=batch)
    count = len(model.widths) - 1
    found.coefs_ = [weights[f"dense{i}/w"].astype(x.dtype) for i in range(1, count + 1)]
    found.intercepts_ = [weights[f"dense{i}/b"].astype(x.dtype) for i in range(1, count + 1)]
    return found


class SklearnTraining(Training):
    """Warm starts: each `fit` goes on with the weights as they are, Adam's moments beginning anew."""

    def __init__(self, row: Row, data: Data, weights: Weights):
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")
        self.row, self.x, self.y = row, data.scaled.reshape(len(data.x), -1), data.y
        self.net = classifier(row, self.x, self.y, weights, row.batch)

    def epoch(self, number: int) -> None:
        picks = order(self.row, number)
        self.net.fit(self.x[picks], self.y[picks])

    def timed(self, first: int, epochs: int) -> list[float]:
        self.net.set_params(shuffle=True)  # by itself, which spares the copy
        return super().timed(first, epochs)

    def loss(self) -> float:
        n = self.row.checked
        return logistic_loss(np.log(self.net.predict_proba(self.x[:n]) + 1e-30), self.y[:n])


def train(row: Row, data: Data, weights: Weights) -> Training:
    return SklearnTraining(row, data, weights)


def infer(row: Row, data: Data, weights: Weights) -> Call:
    warnings.filterwarnings("ignore", message="Stochastic Optimizer")
    net = classifier(row, data.x, data.y, weights, 64)
    return lambda x: np.log(net.predict_proba(x) + 1e-30)
