"""The clinic's cases are well-formed: nothing is trained here but one tiny case."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

CLINIC = Path(__file__).resolve().parents[2] / "bench" / "clinic"


@pytest.fixture(scope="module")
def clinic():
    """The clinic's modules, which import each other as the files of one folder."""
    sys.path.insert(0, str(CLINIC))
    try:
        import case
        import execute
        import families
        import healthy
        import intervals
        import labels
        import live
        import published
        import repair
        import run
        import sets
        import summary

        every = [*published.cases(), *families.cases(all_planted=True), *healthy.cases()]
        yield SimpleNamespace(
            case=case, execute=execute, families=families, healthy=healthy, intervals=intervals, labels=labels,
            live=live, published=published, repair=repair, run=run, sets=sets, summary=summary, every=every,
        )  # fmt: skip
    finally:
        sys.path.remove(str(CLINIC))


def setups(clinic):
    return [s for case in clinic.every for s in (case.setup, case.fix) if s is not None]


def test_ids_are_unique(clinic):
    ids = [case.id for case in clinic.every]
    assert len(set(ids)) == len(ids)


def test_every_name_is_a_problem_of_the_doctor(clinic):
    from pellucid.doctor.problems import PROBLEMS

    assert {name for case in clinic.every for name in case.right} <= set(PROBLEMS)


def test_the_halves_are_fixed(clinic):
    """By the first byte of the id's SHA-256: no tuning may ever move a case."""
    half = clinic.case.half_of
    ids = ("SO-31627380", "SO-31880720", "TDC-cnn-flip", "TDC-cnn-imbalance")
    assert [half(id) for id in ids] == ["report", "develop", "report", "develop"]


def test_every_family_has_twenty_variants(clinic):
    counts = {name: sum(c.family == name for c in clinic.every) for name in clinic.families.FAMILIES}
    assert not {name: count for name, count in counts.items() if count < 20}


def test_recipes_hold(clinic):
    from pellucid import recipe

    for setup in setups(clinic):
        recipe.make(setup.settings)


def read_network(network):
    import pellucid.network.catalogue  # noqa: F401
    from pellucid.network.architecture import Architecture
    from pellucid.network.layer import Layer

    return (Architecture if network["type"] in Architecture.registry else Layer).from_json(network)


def test_networks_hold(clinic):
    for setup in setups(clinic):
        read_network(setup.settings["network"])


def test_every_remedy_of_random_search_makes_a_recipe(clinic):
    from pellucid import recipe

    some = [*{case.family: case for case in clinic.every}.values(), *clinic.every[::7]]
    for name, change in clinic.repair.REMEDIES.items():
        made = [clinic.repair.remedied(case.setup, change) for case in some]
        assert any(made), name
        for setup in filter(None, made):
            recipe.make(setup.settings)
            read_network(setup.settings["network"])


def test_cases_are_json_and_have_a_fix_where_they_were_planted(clinic):
    for case in clinic.every:
        json.dumps(case.setup.to_json())
        assert (case.fix is not None) == (case.part == "generated")
        assert (case.floor is not None) == (not case.causes), case.id


def test_live_objects_are_there_and_the_same_each_time(clinic):
    for setup in setups(clinic):
        for word, name in setup.live.items():
            assert clinic.live.find(word, name) is clinic.live.find(word, name)


def test_every_label_has_a_meaning(clinic):
    facts = clinic.published.facts()
    labels = {label for fact in facts for label in fact["labelled_faults"]} - {"wrong_output_activation"}
    assert labels <= set(clinic.labels.MEANINGS)
    for fact in facts:
        assert bool(clinic.labels.meaning(fact)) == (fact["labelled_faults"] != ["healthy"]), fact["id"]


def test_at_least_200_healthy_runs(clinic):
    assert len(clinic.healthy.cases()) * 5 >= 200


def test_targets_are_raw_only_while_asked_for(clinic):
    import pellucid as pc

    data = clinic.sets.build({"set": "diabetes", "target_scale": [10.0, 0.0]})
    with clinic.execute.raw_targets():
        assert pc.prepare(data).targets.columns[0].scale == 1.0
    assert pc.prepare(data).targets.columns[0].scale > 100


def test_a_row_tells_what_was_wanted_and_what_was_said(clinic):
    base = clinic.case.Setup({"set": "xor"}, {"network": {"type": "mlp", "widths": [4]}, "steps": 5, "plain": True})
    case = clinic.case.Case("x", "generated", "stopped_too_early", base, ("stopped_too_early",), fix=base)
    row = json.loads(json.dumps(clinic.execute.examine(case, 0)))
    assert row["trouble"] is None and row["result"]["steps"] == 5 and row["right"] == ["stopped_too_early"]
    said = [{"problem": "stopped_too_early", "severity": "warning", "layer": None, "step": 4, "remedies": []}]
    note = [{"problem": "plateau", "severity": "note", "layer": None, "step": 0, "remedies": []}]
    assert clinic.summary.named_first({**row, "findings": note + said})
    assert not clinic.summary.detected({**row, "findings": note})
    assert clinic.summary.after({**row, "findings": said}) == 0.8


def test_a_run_that_diverged_is_a_row(clinic):
    words = {"network": {"type": "mlp", "widths": [4]}, "steps": 20, "plain": True}
    setup = clinic.case.Setup({"set": "sine"}, words | {"optimizer": {"type": "sgd", "learning_rate": 1e9}})
    case = clinic.case.Case("x", "generated", "learning_rate_too_high", setup, ("learning_rate_too_high",), fix=setup)
    row = json.loads(json.dumps(clinic.execute.examine(case, 0)))
    assert row["trouble"] == "diverged" and row["score"] == "-inf"


def test_doctests(clinic):
    import doctest

    import bases

    for module in (bases, clinic.case, clinic.intervals, clinic.published):
        assert doctest.testmod(module).failed == 0
