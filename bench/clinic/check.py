"""Does each planted fault harm, and does its reference repair help? Measured without the doctor; writes checked.json.

    python bench/clinic/check.py --seeds 5                      # what has not been measured yet with so many seeds
    python bench/clinic/check.py --family overfitting --seeds 1
    python bench/clinic/check.py --healthy --seeds 2            # are the healthy controls healthy?

Nearly all of its time is XLA's; XLA_FLAGS=--xla_backend_optimization_level=0 saves a third of that.

harmful: the reference repair scores higher than the fault by more than `LEAST`, on average and with most seeds.
repairable: harmful, mended by settings alone (not by other data), and the mean gain is more than t standard errors of
the paired differences above zero (one-sided 95 %, three seeds or more). Both are facts of the case, not of the doctor:
cases that do not harm are left out.
"""

import argparse
import json
from types import SimpleNamespace
from typing import Any

import healthy
import jax
import numpy as np
from case import Case, Setup
from execute import UNSEEN, is_healthy, score, train
from families import CHECKED, FAMILIES, cases

LEAST = {"metric": 0.03, "loss": 0.05}  # of accuracy, R² or balanced accuracy; of a loss
WORST = {"metric": -1.0, "loss": -20.0}  # what a diverged run counts as, and the least that any does


def held(case: Case, run: Any) -> float:
    """The score that decides: on validation; on test where the split is what is wrong; and how much less than a leaking
    validation part promises the test holds (0 where it is honest)."""
    least = WORST["loss" if run is not None and run.result["metric"] == "loss" else case.measure]
    part = "test" if case.family in ("leakage", "sorted_data") else "validation"
    found = max(score(run, part, case.measure), least)
    return found - max(score(run, "validation", case.measure), least) if case.family == "leakage" else found


def check(case: Case, seeds: int) -> dict[str, Any]:
    assert case.fix is not None
    fault = [held(case, _trained(case.setup, seed)) for seed in range(seeds)]
    fixed = [held(case, _trained(case.fix, seed)) for seed in range(seeds)]
    return {**judged(case, fault, fixed), "fingerprint": case.fingerprint()}


def _trained(setup: Setup, seed: int) -> Any:
    """The run's result; many cases share one reference repair."""
    key = json.dumps([setup.to_json(), seed], sort_keys=True)
    if key not in _TRAINED:
        run, trouble = train(setup, seed, **UNSEEN)
        if run is None:
            print(f"    {trouble}", flush=True)
        _TRAINED[key] = None if run is None else SimpleNamespace(result=run.result)
    return _TRAINED[key]


_TRAINED: dict[str, Any] = {}


def judged(case: Case, fault: list[float], fixed: list[float]) -> dict[str, Any]:
    gain = np.array(fixed) - np.array(fault)
    harmed = gain > LEAST[case.measure]
    harmful = bool(gain.mean() > LEAST[case.measure] and harmed.mean() > 0.6)
    return {
        "fault": [round(v, 4) for v in fault], "fixed": [round(v, 4) for v in fixed], "harmful": harmful,
        "repairable": bool(case.mendable and harmful and len(gain) >= 3 and beyond_noise(gain)),
    }  # fmt: skip


def beyond_noise(gain: np.ndarray) -> bool:
    """Whether the mean of paired gains is above zero, by Student's one-sided test at 95 %."""
    from scipy.stats import t

    error = gain.std(ddof=1) / len(gain) ** 0.5
    return bool(gain.mean() > t.ppf(0.95, len(gain) - 1) * error)


def in_turn(found: list[Case]) -> list[Case]:
    """The first case of every family, then the second of every one, and so on."""
    places: dict[str, int] = {}
    ranks = [places.update({c.family: places.get(c.family, -1) + 1}) or places[c.family] for c in found]
    return [case for _, case in sorted(zip(ranks, found, strict=True), key=lambda pair: pair[0])]


def check_controls(seeds: int) -> None:
    for case in healthy.cases():
        runs = [train(case.setup, seed, **UNSEEN)[0] for seed in range(seeds)]
        fine = [is_healthy(case, run) for run in runs]
        scores = " ".join(f"{score(run, 'validation'):.3f}" for run in runs)
        print(
            f"{case.id:45} floor {case.floor:6.2f}  {scores}",
            "" if all(fine) else f"   not healthy: {fine}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--healthy", action="store_true", help="instead: are the controls healthy? Writes nothing")
    args = parser.parse_args()
    if args.healthy:
        return check_controls(args.seeds)
    known = json.loads(CHECKED.read_text()) if CHECKED.is_file() else {}
    for number, case in enumerate(in_turn(cases(all_planted=True))):
        old = known.get(case.id, {})
        done = old.get("fingerprint") == case.fingerprint() and len(old.get("fault", ())) >= args.seeds
        if done:  # the scores stay, and are judged by what the rules are now
            known[case.id] = {**judged(case, old["fault"], old["fixed"]), "fingerprint": case.fingerprint()}
        if done or (args.family and case.family not in args.family):
            continue
        found = known[case.id] = check(case, args.seeds)
        print(f"{case.id:50} {np.mean(found['fault']):7.3f} -> {np.mean(found['fixed']):7.3f}",
              "" if found["harmful"] else "   does no harm", flush=True)  # fmt: skip
        CHECKED.write_text(json.dumps(known, indent=0, sort_keys=True) + "\n")
        if number % 40 == 39:
            jax.clear_caches()  # or memory grows with every compiled program


if __name__ == "__main__":
    main()
