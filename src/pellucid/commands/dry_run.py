"""`pellucid train --dry-run`: everything that would be done, and nothing done.

What is printed is itself a recipe, the rest of it comments: `pellucid train iris --dry-run > recipe.toml`.
"""

import json
from pathlib import Path
from typing import Any

import msgspec


def dry_run(recipe: Any, folder: Path | None, *, as_json: bool = False) -> int:
    from pellucid import recipe as recipes
    from pellucid.machine import set_up
    from pellucid.network.summary import rows
    from pellucid.session import Session
    from pellucid.views.terminal import opening

    set_up()
    searched = recipe.train.learning_rate == "auto"
    still = msgspec.structs.replace(recipe, train=msgspec.structs.replace(recipe.train, learning_rate=None))
    session = Session(still if searched else recipe, None, {}, folder, (), 0.0)
    resolved = runnable(session.recipe, recipe)
    notes = list(session.notes)
    if searched:
        notes.append("the learning rate is found by a range test when the run begins")
    layers = rows(session.network, session.network.example())
    if as_json:
        print(json.dumps({"recipe": recipes.to_dict(resolved), "layers": layers, "notes": notes}, ensure_ascii=False))
        return 0
    import tomli_w

    said = [*opening(session), "", *session.network.summary().splitlines(), *([""] if notes else []), *notes]
    print("\n".join(f"# {line}".rstrip() for line in said))
    print()
    print(tomli_w.dumps(recipes.to_dict(resolved)), end="")
    return 0


def runnable(resolved: Any, given: Any) -> Any:
    """The resolved recipe as one that runs from anywhere: the network by its spec, for there is no run folder, and the
    search for a learning rate where one was asked for."""
    network, train = resolved.network, resolved.train
    if given.network.spec is None and given.network.start is None:
        spec = "mlp" if network.spec in (None, "network.json") else network.spec
        network = msgspec.structs.replace(network, spec=spec)
    if given.train.learning_rate == "auto":
        train = msgspec.structs.replace(train, learning_rate="auto")
    return msgspec.structs.replace(resolved, network=network, train=train)
