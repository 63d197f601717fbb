"""`pellucid generate`: what a run's language model writes, as it comes."""

import json
import sys
from pathlib import Path

from pellucid.commands import options


def generate(
    run: Path, prompt: str | None, *, tokens: int, temperature: float, top_k: int | None, top_p: float | None,
    seed: int, device: str | None, as_json: bool,
) -> None:  # fmt: skip
    options.choose_device(device)
    place = options.find_run(run)
    from pellucid.machine import set_up
    from pellucid.network.network import Network

    options.check_device(device)
    set_up()
    network = Network.load(place.path)
    pieces = network.generate(prompt, tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    if as_json:
        facts = {"run": str(place.path), "prompt": prompt, "text": "".join(pieces), "seed": seed}
        print(json.dumps(facts, ensure_ascii=False))
        return
    if prompt:
        sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
