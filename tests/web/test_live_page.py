"""The live page in a browser: a real training beside it, hostile names, several runs, and what axe says of it."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_runs import record, untrained

import pellucid as pc
from pellucid.doctor.problems import PROBLEMS
from pellucid.rundir import Lock, RunDir

SRC = Path(__file__).resolve().parents[2] / "src"
SECONDS = 120  # a machine may be busy
HOSTILE = "<img src=x onerror=document.title='owned'>"


def started(*words, cwd, **more):
    environment = {**os.environ, "PYTHONPATH": str(SRC), "JAX_PLATFORMS": "cpu", "PELLUCID_WATCH_LINGER": "2"}
    command = [sys.executable, "-m", "pellucid", *words]
    return subprocess.Popen(command, cwd=cwd, env=environment, text=True, **more)


class Opened:
    """A page, with what it asked for and what it complained of."""

    def __init__(self, browser, url, **look):
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, **look)
        self.page, self.url, self.said, self.asked = self.context.new_page(), url, [], []
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", lambda m: self.said.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("request", lambda r: self.asked.append(r.url))
        self.page.goto(url.split("#")[0] + ("#" + url.split("#")[1] if "#" in url else ""))

    def close(self):
        self.context.close()
        assert self.said == []
        assert [url for url in self.asked if not url.startswith((self.url.split("#")[0], "data:", "blob:"))] == []


def until(page, script, *given):
    page.wait_for_function(script, arg=list(given), timeout=SECONDS * 1000)


def axe(page):
    """Faults that axe-core counts as serious or critical."""
    found = pytest.importorskip("axe_playwright_python.sync_playwright").Axe().run(page)
    return [
        (v["id"], [node["html"][:160] for node in v["nodes"]])
        for v in found.response["violations"]
        if v["impact"] in ("serious", "critical")
    ]


def test_a_real_run_is_watched_paused_looked_back_at_stopped_and_resumed(browser, tmp_path):
    words = "train digits --network mlp:32,32 --optimizer sgd --learning-rate 3 --schedule constant --batch-size 32"
    options = "--epochs 2500 --patience 2500 --no-baselines --quiet --watch"
    process = started(*words.split(), *options.split(), cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        line = process.stderr.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", line).group()
        assert "pellucid watch opens it again" in line
        opened = Opened(browser, url)
        page = opened.page
        curve = "document.querySelector('[aria-label=Loss] .chart')?.chart.data[0].length || 0"
        until(page, f"() => {curve} > 3")
        before = page.evaluate(curve)
        until(page, f"([n]) => {curve} > n + 3", before)  # the curve moves
        assert page.locator(".badge").inner_text() == "running"

        title = PROBLEMS["learning_rate_too_high"].title  # the doctor speaks while it goes on
        page.get_by_role("heading", name=title).first.wait_for()
        page.get_by_role("button", name="Pause", exact=True).click()
        until(page, "() => document.querySelector('.badge').textContent === 'paused'")
        place = RunDir(next((tmp_path / "runs").iterdir()))
        assert json.loads(place.clock.read_text().splitlines()[-1])["kind"] == "paused"

        page.get_by_text("Look back in time").click()
        weights = page.get_by_role("img", name="weights hidden1/w")
        weights.wait_for()
        drawn = "([a]) => document.querySelector(\"[aria-label='weights hidden1/w']\").toDataURL() !== a"
        slider = page.get_by_role("slider", name="epoch")
        slider.focus()
        for key in ("Home", "End"):  # from the keyboard: untrained, and the last epoch kept
            shown = weights.evaluate("(canvas) => canvas.toDataURL()")
            page.keyboard.press(key)
            if key == "Home":
                page.get_by_text("untrained").wait_for()
            until(page, drawn, shown)
        page.get_by_text(re.compile(r"\d+ of 256 wrong")).wait_for()
        assert page.get_by_role("img", name=re.compile("^row ")).count() > 8, "digits are shown as pictures"
        page.get_by_text("on its way through the layers").wait_for()
        assert axe(page) == []

        page.get_by_role("button", name="Continue").click()
        until(page, "() => document.querySelector('.badge').textContent === 'running'")
        page.get_by_role("button", name="Stop…").click()
        page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
        until(page, "() => document.querySelector('.badge').textContent === 'interrupted'")
        assert process.wait(timeout=SECONDS) == 130
        assert page.get_by_role("button", name="Pause", exact=True).is_disabled()
        opened.close()
        assert (place.checkpoint / "state.safetensors").is_file() and not place.result.exists()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`pellucid watch` over runs with hostile names, a long one, and a deep one."""
    root = tmp_path_factory.mktemp("served") / "runs"
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2)).astype(np.float32)
    y = np.array([HOSTILE, "</script><script>document.title='owned'</script>"], object)[(x[:, 0] > 0).astype(int)]
    data = pc.Dataset(x, y, feature_names=("<b>one</b>", "&amp;two"))
    hostile = untrained(RunDir(root / "9-<b>bold"), "mlp:4", data)
    texts = dict.fromkeys(("problem", "title", "summary", "why", "layer", "source"), HOSTILE)
    finding = {**texts, "severity": "warning", "step": 30, "remedies": [{"text": HOSTILE, "line": HOSTILE}]}
    hostile.recipe.write_text(f"[data]\nsource = {json.dumps(HOSTILE)}\n")
    record(hostile, [HOSTILE, "output"], 60)
    hostile.findings.write_text(json.dumps([finding]))
    scores = {"loss": 0.5, "accuracy": 0.75}
    result = {"metric": "accuracy", "best_epoch": 3, "test": scores, "validation": scores, "train": scores}
    hostile.result.write_text(json.dumps(result))
    for name, layers, steps in (
        ("1-deep", [f"hidden{n}" for n in range(30)], 200),
        ("2-plain", ["hidden1", "output"], 100),
    ):
        place = RunDir(root / name)
        place.path.mkdir()
        place.recipe.write_text("")
        record(place, layers, steps)
    process = started("watch", "runs", "--port", "0", "--no-browser", cwd=root.parent, stdout=subprocess.PIPE)
    try:
        yield process.stdout.readline().strip(), root
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) in (0, 130)
    finally:
        process.kill()
        process.communicate()


def test_hostile_names_are_shown_as_text(browser, served):
    opened = Opened(browser, served[0])
    page = opened.page
    until(page, "() => document.querySelector('.badge')?.textContent === 'finished'")  # the newest is shown first
    page.get_by_text("Look back in time").click()
    page.get_by_text("Ringed examples are on the wrong side").wait_for()
    page.get_by_text("on its way through the layers").wait_for()
    text = page.locator("body").inner_text()
    assert text.count(HOSTILE) >= 8 and "9-<b>bold" in text and "<b>one</b>" in text
    assert page.title() == "9-<b>bold: finished"
    assert page.locator("img[onerror], main script, nav b, main b:not(.layer b)").count() == 0
    opened.close()


def test_the_page_turns_to_a_run_that_begins_and_not_away_from_one_that_goes_on(browser, served):
    url, root = served
    opened = Opened(browser, url)
    page = opened.page
    state = "document.querySelector('.badge')?.textContent + ' ' + document.querySelector('main h1')?.textContent"
    until(page, f"() => {state} === 'finished 9-<b>bold'")
    has = "li.innerText.includes(name) && li.innerText.includes(state)"
    listed = f"([name, state]) => [...document.querySelectorAll('#runs li')].some((li) => {has})"
    with Lock(RunDir(root / "2-plain").lock):
        until(page, f"() => {state} === 'running 2-plain'")
        page.get_by_role("button", name="Stop…").click()
        with Lock(RunDir(root / "1-deep").lock):
            until(page, listed, "1-deep", "running")
            assert page.evaluate(state) == "running 2-plain", "Stop is still about the run that was looked at"
            command = page.get_by_role("dialog").locator("code").inner_text()
            assert command == f"pellucid train --resume {root / '2-plain'}"
            page.get_by_role("button", name="Let it go on").click()
    until(page, f"() => {state} === 'interrupted 2-plain'")
    page.get_by_text("It goes on from its last checkpoint").wait_for()
    opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_several_runs_side_by_side_and_no_fault_that_axe_finds(browser, served, scheme):
    opened = Opened(browser, served[0] + "#run=1-deep", color_scheme=scheme)
    page = opened.page
    until(page, "() => document.querySelector('.badge')?.textContent === 'interrupted'")
    assert page.get_by_role("button", name="Pause", exact=True).is_disabled()
    assert page.locator(".heat canvas").first.get_attribute("aria-label").startswith("Activations of 30 layers")
    page.locator(".heat canvas").first.press("ArrowDown")
    assert page.locator(".heat-said").first.inner_text().startswith("hidden1, update 199")
    page.get_by_label("compare 2-plain").check()
    until(page, "() => document.querySelector('[aria-label^=\"Loss, validation\"] .u-legend')")
    legend = page.locator("[aria-label^='Loss, validation'] .u-legend").inner_text()
    assert "1-deep" in legend and "2-plain" in legend
    chart = "document.querySelector('[aria-label^=\"Loss, validation\"] .chart').chart"
    looks = page.evaluate(f"{chart}.curves.map((c) => [c.colour, String(c.dash)])")
    assert len({colour for colour, _ in looks}) == len({dash for _, dash in looks}) == 2
    assert page.url.endswith("#run=1-deep&run=2-plain")
    assert axe(page) == []
    page.set_viewport_size({"width": 360, "height": 700})
    until(page, "() => document.documentElement.scrollWidth <= 360")  # curves are drawn anew
    assert axe(page) == []
    opened.close()
