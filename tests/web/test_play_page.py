"""The playground's page in a browser: it learns, its numbers are explain's, nothing goes elsewhere."""

import json
import urllib.error
import urllib.request

import numpy as np
import pytest

from pellucid.playground.choices import read
from pellucid.playground.play import Play
from pellucid.views.explain import walk
from pellucid.web.play import playground

SPIRAL = "data=spiral&noise=0&features=x1.x2.sin(x1).sin(x2)&widths=8.8&optimizer=adam&learning_rate=0.03"


@pytest.fixture(scope="module")
def app():
    return playground(seats=3)


@pytest.fixture(scope="module")
def url(app, serving):
    return serving(app)


@pytest.fixture
def opened(browser, url):
    """`opened(fragment, ...)` -> a page that is ready; at the end: no console error, no request elsewhere."""
    faults, contexts = [], []

    def open_(fragment="", width=1300, **more):
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: faults.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith((url, "data:", "blob:")) else faults.append(r.url))
        page.goto(f"{url}#{fragment}" if fragment else url)
        page.wait_for_selector("body[data-ready]")
        return page

    open_.faults = faults
    yield open_
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def learn(until):
    """Play until something is true."""

    def play(page, expression):
        page.click("#play")
        until(page, expression)
        if page.evaluate("playground.playing"):
            page.click("#play")
        until(page, "!playground.playing && !!playground.walk")

    return play


def test_the_spiral_is_learned_and_the_address_brings_it_back(opened, learn, until):
    page = opened(SPIRAL)
    page.select_option("#pace", "100")
    learn(page, "playground.frame.scores.train.metric > 0.97")
    assert "updates" in page.inner_text("#counts") and page.evaluate("playground.frame.step") <= 5000
    assert len(page.evaluate("JSON.stringify(playground.frame)")) < 60_000
    page.get_by_role("button", name="moons").click()
    until(page, "playground.choices.data == 'moons'")
    assert "data=moons" in page.url
    page.go_back()
    until(page, "playground.choices.data == 'spiral' && playground.frame.step == 0")
    assert read(page.evaluate("location.hash.slice(1)")) == read(SPIRAL)


def test_one_updates_numbers_are_those_of_explain_and_of_the_update_itself(opened, until):
    page = opened("data=xor&points=100")
    page.click("#step")
    until(page, "playground.frame.step == 1 && !!playground.walk")
    page.get_by_role("button", name="Layer 2, neuron 2").click()
    until(page, "playground.walk && playground.walk.layer == 1 && playground.walk.unit == 1")
    for phase in range(4):
        page.click("#next-phase")
        until(page, f"playground.phase == {phase}")
    until(page, "!!playground.moved")
    shown = page.evaluate("playground.walk")
    play = Play(read("data=xor&points=100"))
    play.step(1)
    train = play.session.prepared.train
    made = walk(play.network, train.x[shown["row"]], train.y[shown["row"]], play.session.settings.loss)
    stage = next(s for s in made.stages if s.path == "hidden2")
    assert shown["check"]["agrees"] and made.check.agrees
    assert shown["forward"]["z"] == pytest.approx(stage.y[1], rel=1e-3)
    assert shown["backward"]["delta"] == pytest.approx(stage.dy[1], rel=1e-3)
    assert [w["g"] for w in shown["update"]["weights"][:-1]] == pytest.approx(
        list(stage.gradients["w"][:, 1]), rel=1e-3
    )
    assert sum(t["product"] for t in shown["backward"]["terms"]) == pytest.approx(shown["backward"]["da"], rel=1e-3)
    play.step(1)
    moved = page.evaluate("playground.moved.weights")
    after = np.append(play.weights()["hidden2/w"][:, 1], play.weights()["hidden2/b"][1])
    assert [w["new"] for w in moved] == pytest.approx(after.tolist(), rel=1e-3)
    for w in moved:
        assert w["new"] == pytest.approx(w["w"] - 0.03 * w["g"], abs=1e-4)
    assert f"{stage.y[1]:.3g}".lstrip("-")[:4] in page.inner_text("#walk")


def test_an_own_csv_is_learned_and_its_names_are_text(opened, learn, until, tmp_path):
    g = np.random.default_rng(0)
    x = g.normal(size=(80, 2))
    name = "<img src=x onerror=alert(1)>"
    rows = [f"{name},width,kind"] + [f"{a:.3f},{b:.3f},{'<b>in</b>' if a * a + b * b < 1.2 else 'out'}" for a, b in x]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(rows))
    page = opened("widths=8&optimizer=adam&learning_rate=0.1")
    page.set_input_files("input[type=file]", str(file))
    until(page, "playground.choices.data == 'own'")
    learn(page, "playground.frame.scores.train.metric > 0.9")
    assert name in page.inner_text("#data") and "<b>in</b>" in page.inner_text("#plane")
    assert page.query_selector("img, #plane b") is None
    page.click("#share")
    until(page, "document.querySelector('#said').innerText.includes('not your data')")
    other = opened(page.url.split("#")[1])  # whoever opens the link brings the same table, and has the same choices
    assert "there is no table yet" in other.inner_text("#said")
    other.set_input_files("input[type=file]", str(file))
    until(other, "playground.choices.data == 'own'")
    assert other.evaluate("playground.choices.widths") == [8] and other.url == page.url
    assert len(opened.faults) == 1 and "400" in opened.faults.pop()
    file.write_text("a,b\n1,2,3\n")
    page.set_input_files("input[type=file]", str(file))
    until(page, "document.querySelector('#said').innerText.includes('wrong number of fields')")
    assert len(opened.faults) == 1 and "400" in opened.faults.pop()  # the browser notes what the server refused


def test_a_preset_tells_what_to_look_for_the_doctor_names_it_and_the_cure_is_a_button_away(opened, learn, until):
    page = opened()
    page.select_option("#preset", "vanishing")
    until(page, "playground.choices.widths.length == 6")
    page.select_option("#pace", "20")
    learn(page, "document.querySelector('#doctor').innerText.includes('Vanishing gradients')")
    page.get_by_role("button", name="Cure it").click()
    until(page, "playground.choices.activations[0] == 'relu' && playground.frame.scores.train.metric > 0.9")
    page.click("#tab-race")
    page.select_option("#race select", "100")
    page.get_by_role("button", name="Start the race").click()
    until(page, "!!document.querySelector('#race ol')", 90)
    assert "Adam" in page.inner_text("#race ol")


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (360, "dark")])
def test_everyone_can_use_it(opened, until, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened("data=gaussians", width=width, color_scheme=scheme, reduced_motion="reduce")
    page.keyboard.press(" ")  # the keyboard plays
    until(page, "playground.frame.step > 50")
    page.keyboard.press(" ")
    until(page, "!playground.playing && !!playground.walk")
    found = [v for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"][:200] for n in v["nodes"]]) for v in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_server_is_bounded_and_tells_so(url, app):
    def ask(path, body):
        request = urllib.request.Request(url + path, json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    app.state.room.seats.clear()
    few = {"choices": {"points": 40, "widths": [2]}}
    seats = [ask("begin", few)[1]["seat"] for _ in range(3)]
    status, told = ask("begin", few)
    assert status == 400 and "full" in told["error"] and "at most 3" in told["error"]
    assert ask("tick", {"seat": seats[0], "updates": 10**9})[0] == 400
    assert ask("tick", {"seat": seats[0], "updates": "1"})[0] == 400
    assert ask("walk", {"seat": seats[0], "part": "__class__", "row": 0, "layer": 0, "unit": 0})[0] == 400
    assert ask("walk", {"seat": seats[0], "part": "train", "row": 99999, "layer": 0, "unit": 0})[0] == 400
    assert ask("begin", {"seat": seats[0], "choices": {"widths": [3] * 99}})[0] == 400
    _, frame = ask("tick", {"seat": seats[0], "updates": 3})
    assert frame["frame"]["step"] == 3
    assert ask("tick", {"seat": seats[1], "updates": 0})[1]["frame"]["step"] == 0  # another's updates are not mine
    ask("leave", {"seat": seats[0]})
    assert ask("tick", {"seat": seats[0]})[0] == 410
    assert ask("begin", few)[0] == 200
