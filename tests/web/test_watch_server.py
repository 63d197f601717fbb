"""What the live page's server answers: the list, a run, what may be asked of it, a moment of its past; and to whom."""

import json
import os
import shutil

import numpy as np
import pytest
from asgi import ask
from made_runs import untrained

import pellucid as pc
from pellucid.inspection.moment import layers, moment
from pellucid.network.network import Network
from pellucid.rundir import Lock, RunDir
from pellucid.web.serve import Address, guarded
from pellucid.web.watch import Watch, app


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run on the moons, with its history."""
    run = pc.fit("mlp:6", "moons", out=tmp_path_factory.mktemp("runs"), epochs=6, baselines=False, learning_rate=0.05)
    assert run.path is not None
    return run.path


@pytest.fixture
def server(trained):
    guard = guarded(app(Watch(trained.parent)), Address(None, "127.0.0.1", 8765, "t"))

    def call(method, path, value=None):
        headers = {"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8765"}
        return ask(guard, method, f"/t/{path}", headers, [b"" if value is None else json.dumps(value).encode()])

    return call


def test_the_list_and_a_run(server, trained):
    found = server("GET", "runs").json()
    assert [run["name"] for run in found["runs"]] == [trained.name] and found["runs"][0]["status"] == "finished"
    whole = server("GET", f"run/{trained.name}").json()
    result = json.loads((trained / "result.json").read_text())
    assert whole["result"]["test"] == result["test"] and whole["best"] == result["best_epoch"]
    assert whole["tables"]["epochs"]["epoch"] == [1, 2, 3, 4, 5, 6]
    assert whole["kept"] == [0, 1, 2, 3, 4, 5, 6] and whole["progress"]["step"] == result["steps"]


@pytest.mark.parametrize("name", ["..", "../..", "/etc", ".", "nothing/../..", "\\..\\.."])
def test_paths_stay_in_the_folder(server, name):
    for path in (f"run/{name}", f"run/{name}/moment?epoch=0"):
        found = server("GET", path)
        assert found.status in (400, 404), path
        assert "root:" not in found.text


def test_a_link_out_of_the_folder_is_no_run(server, trained, tmp_path):
    (tmp_path / "recipe.toml").write_text("")
    link = trained.parent / "link"
    os.symlink(tmp_path, link)
    try:
        assert server("GET", "run/link").status == 404
        assert [run["name"] for run in server("GET", "runs").json()["runs"]] == [trained.name]
    finally:
        link.unlink()


def test_what_a_run_may_be_asked(server, trained):
    place = RunDir(trained)
    assert server("GET", f"run/{trained.name}/ask").status == 405, "a change takes a POST"
    assert server("POST", f"run/{trained.name}/ask", {"ask": "explode"}).status == 400
    assert server("POST", f"run/{trained.name}/ask", [1]).status == 400
    refused = server("POST", f"run/{trained.name}/ask", {"ask": "stop"})
    assert refused.status == 409 and "not going" in refused.json()["error"] and not place.control.exists()
    with Lock(place.lock):
        assert server("POST", f"run/{trained.name}/ask", {"ask": "pause"}).status == 200
        assert server("POST", f"run/{trained.name}/ask", {"ask": "stop"}).status == 200
    assert place.requests() == {"pause", "stop"}, "the one must not lose the other"


def test_a_moment_is_the_network_of_that_epoch(server, trained):
    place = RunDir(trained)
    first, last = (server("GET", f"run/{trained.name}/moment?epoch={n}").json() for n in (0, 6))
    assert first["weights"][0]["levels"] != last["weights"][0]["levels"]
    assert first["score"]["wrong"] > last["score"]["wrong"]
    best = json.loads((trained / "result.json").read_text())["best_epoch"]
    network, kept = Network.load(trained), np.load(place.history / "samples.npz")
    wrong = int((network.probabilities(kept["x"]).argmax(1) != kept["y"]).sum())  # with the weights of the best epoch
    assert moment(place, best)["score"]["wrong"] == wrong
    boundary = last["boundary"]
    points = np.array([point[:2] for point in boundary["points"]])
    assert np.allclose(points, kept["x"]) and sum(p[3] for p in boundary["points"]) == last["score"]["wrong"]
    assert (points >= boundary["low"]).all() and (points <= boundary["high"]).all()
    assert server("GET", f"run/{trained.name}/moment?epoch=99").status == 400
    assert server("GET", f"run/{trained.name}/moment?epoch=-1").status == 400


def test_an_example_goes_through_the_layers_in_order(server, trained):
    found = server("GET", f"run/{trained.name}/layers?epoch=6&sample=3").json()
    assert [one["path"] for one in found["layers"]] == ["input", "flatten", "hidden1", "relu1", "output"]
    kept = np.load(trained / "history" / "samples.npz")
    chances = dict(found["answer"]["likely"])
    assert sum(chances.values()) == pytest.approx(1, abs=1e-3)
    assert found["answer"]["truth"] == str(kept["y"][3])


def test_a_link_to_other_weights_is_not_followed(trained, tmp_path):
    copy = tmp_path / "runs" / "copy"
    shutil.copytree(trained, copy)
    secret = tmp_path / "secret.safetensors"
    shutil.copy(copy / "history" / "epoch-000003.safetensors", secret)
    (copy / "history" / "epoch-000003.safetensors").unlink()
    os.symlink(secret, copy / "history" / "epoch-000003.safetensors")
    guard = guarded(app(Watch(copy.parent)), Address(None, "127.0.0.1", 8765, "t"))
    assert ask(guard, "GET", "/t/run/copy/moment?epoch=3").status == 400
    assert ask(guard, "GET", "/t/run/copy/moment?epoch=2").status == 200


@pytest.mark.parametrize(
    ("network", "data", "settings"),
    [
        ("cnn:4", "images", {}),
        ("mlp:4", "sine", {}),
        ("gru:4", "steps", {}),
        ("transformer:layers=1,heads=2,width=8", "text", {"context": 8}),
    ],
)
def test_every_kind_of_data_has_moments(network, data, settings, tmp_path):
    rng = np.random.default_rng(0)
    if data == "images":
        y = np.arange(60) % 2
        data = pc.Dataset(
            ((rng.random((60, 6, 6)) + y[:, None, None]) * 120).astype(np.uint8), y, class_names=("<b>", "&")
        )
    elif data == "steps":
        x = rng.normal(size=(60, 5, 2)).astype(np.float32)
        data = pc.Dataset(x, (x.cumsum(1)[:, :, 0] > 0).astype(np.int64))
    elif data == "text":
        data = tmp_path / "text.txt"
        data.write_text("to be or not to be <i>\n" * 60)
    data = data if isinstance(data, pc.Dataset) else pc.load(data)
    place = untrained(RunDir(tmp_path / "runs" / "one"), network, data, **settings)
    found, through = moment(place, 0), layers(place, 0, 0)
    json.dumps([found, through], allow_nan=False)
    assert found["score"]["of"] >= 9 and found["samples"] and through["layers"]
