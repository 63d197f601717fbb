"""How many operations and bytes a step cannot do without: the floor that times are held against.

Only matrix products and convolutions are counted (in the rows here all else is a few per cent), each multiplication and
each addition as one. Backwards, a product costs once its forward operations for the gradient of its weights (or second
operand), and once more for that of what arrived, unless that is the data.
"""

import math

from bench.models import Model


def forward(model: Model) -> int:
    """Operations of the forward pass of one example.

    >>> from bench.models import MLP
    >>> forward(MLP((784, 128, 10)))
    203264
    """
    return sum(product.flops for product in model.products)


def training(model: Model) -> int:
    """Operations of one example's forward and backward pass.

    >>> from bench.models import MLP
    >>> training(MLP((784, 128, 10))) == 2 * (2 * 784 * 128) + 3 * (2 * 128 * 10)
    True
    """
    return sum(product.flops * (3 if product.into_input else 2) for product in model.products)


def parameters(model: Model) -> int:
    """How many trained numbers.

    >>> from bench.models import MLP
    >>> parameters(MLP((784, 128, 10)))
    101770
    """
    return sum(math.prod(shape) for shape in model.shapes.values())


def update_bytes(model: Model, optimizer: str) -> int:
    """Bytes that one update reads and writes at the least, in float32: weights, and Adam's two moments, once each way.

    >>> from bench.models import MLP
    >>> update_bytes(MLP((784, 128, 10)), "adam") == 101770 * 4 * 6
    True
    """
    return parameters(model) * 4 * (6 if optimizer == "adam" else 2)
