"""PyTorch: a watcher for any training loop, and weights to and from a `state_dict`.

    with pc.connect.torch.watch(model, optimizer) as w:     # the doctor for a PyTorch loop; loads no JAX
        ...

    pc.connect.torch.save(network, "weights.safetensors")   # a Pellucid network's weights; needs no PyTorch

The two lie in `torch_watch` and `torch_weights`, and each is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pellucid.errors import MissingExtra

if TYPE_CHECKING:
    from pellucid.connect.torch_watch import Watch as Watch
    from pellucid.connect.torch_watch import watch as watch
    from pellucid.connect.torch_weights import load as load
    from pellucid.connect.torch_weights import load_state_dict as load_state_dict
    from pellucid.connect.torch_weights import save as save
    from pellucid.connect.torch_weights import state_dict as state_dict

_HOMES = {"torch_watch": "Watch watch", "torch_weights": "load load_state_dict save state_dict"}
_HOME = {name: f"pellucid.connect.{home}" for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pellucid.connect.torch' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingExtra("PyTorch is not installed", fix='pip install "pellucid[torch]"') from error


def __dir__() -> list[str]:
    return sorted(_HOME)
