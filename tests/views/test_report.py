"""report.html: self-contained, escaped, well-formed, and made from the run's folder alone."""

import itertools
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from pellucid.errors import RunError
from pellucid.fit import fit
from pellucid.views import svg
from pellucid.views.report import write_report
from pellucid.views.svg_flags import FLAG, flag_places
from pellucid.views.svg_heat import BROKEN

VOID = {"meta", "br", "hr", "img", "link", "input"}
EVIL = '<script>alert("x")</script>'


class Strict(HTMLParser):
    """Every tag is closed in its order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html):
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser.tags


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run whose labels and name a page must not trust."""
    g = np.random.default_rng(0)
    x = g.normal(size=(90, 3))
    y = np.where(x[:, 0] > 0, EVIL, "b&b").astype(object)
    out = tmp_path_factory.mktemp("runs")
    return fit("mlp:4", (x, y), epochs=6, out=out, name=f"a {EVIL} run", learning_rate=0.05, batch_size=8)


def test_the_page_is_whole_and_needs_nothing_else(run):
    page = write_report(run.path)
    html = page.read_text(encoding="utf-8")
    assert page.name == "report.html" and len(html.encode()) < 1_000_000
    tags = parsed(html)
    assert "script" not in tags and "link" not in tags and "img" not in tags and "iframe" not in tags
    assert not re.search(r"https?://|@import|url\(", html)
    assert tags.count("svg") >= 5 and html.count("aria-label=") == tags.count("svg")


def test_what_comes_from_data_is_escaped(run):
    html = write_report(run.path).read_text(encoding="utf-8")
    assert EVIL not in html and "<b&b" not in html
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;" in html and "b&amp;b" in html


def test_the_page_tells_what_the_result_says(run):
    html = write_report(run.path).read_text(encoding="utf-8")
    test = run.result["test"]["accuracy"]
    assert f"<b>{test:.4f}</b>" in html
    assert f"best epoch {run.result['best_epoch']}" in html
    for said in ("hidden1", "he_normal", "majority", "linear", "recipe.toml", "prefers-color-scheme:dark"):
        assert said in html
    confusion = sum(sum(row) for row in run.result["details"]["confusion"])
    assert confusion == run.result["rows"]["test"]


def copied(run, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(run.path, place)
    return place


def test_a_run_that_diverged_has_a_page(run, tmp_path):
    place = copied(run, tmp_path)
    result = json.loads((place / "result.json").read_text())
    result |= {"stopped": "diverged", "test": {"loss": "nan", "accuracy": 0.5}, "best_epoch": 0, "train": None}
    (place / "result.json").write_text(json.dumps(result))
    lines = (place / "record.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    last["validation"]["loss"], last["train"]["loss"] = "nan", "inf"
    (place / "record.jsonl").write_text("\n".join([*lines[:-1], json.dumps(last)]) + "\n")
    html = write_report(place).read_text(encoding="utf-8")
    parsed(html)
    assert "Training diverged" in html and "No epoch of 6 had a finite score; it diverged." in html


def test_an_unfinished_run_has_a_page(run, tmp_path):
    place = copied(run, tmp_path)
    (place / "result.json").unlink()
    html = write_report(place).read_text(encoding="utf-8")
    parsed(html)
    assert "The run is not finished: 6 epochs so far." in html


def test_a_network_of_unknown_layers_has_a_page(run, tmp_path):
    """As with layers of a user's own Python file: the weights' shapes stand in for the layer table."""
    place = copied(run, tmp_path)
    text = (place / "network.json").read_text()
    (place / "network.json").write_text(text.replace('"relu"', '"no_such_layer"'))
    html = write_report(place).read_text(encoding="utf-8")
    parsed(html)
    assert "hidden1/w" in html and "3 × 4" in html


def test_no_run_no_page(tmp_path):
    with pytest.raises(RunError, match="there is no run here"):
        write_report(tmp_path / "nothing")


# -- charts -------------------------------------------------------------------------------------------------------


def test_a_line_has_gaps_where_values_are_not_finite():
    line = svg.Line("loss", [1, 2, 3, 4, 5], [1.0, 2.0, float("nan"), 3.0, 2.0])
    html = svg.line_chart([line], title="t", x_label="epoch", y_label="")
    d = re.search(r'class="line"[^>]* d="([^"]*)"', html)
    assert d is not None and d.group(1).count("M") == 2
    parsed(html)


def test_values_sit_where_the_axis_says():
    line = svg.Line("a", [0.0, 10.0], [0.0, 1.0])
    html = svg.line_chart([line], title="t", x_label="x", y_label="y")
    points = [float(v) for v in re.search(r' d="M([\d. L]+)"', html).group(1).replace("L", " ").split()]
    assert points[0] == svg.LEFT and points[2] == svg.WIDTH - svg.RIGHT
    labels = dict(re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)</text>', html))
    zero = next(float(at) for at, said in labels.items() if said == "0")
    assert points[1] == pytest.approx(zero - 4, abs=0.11)  # the label's baseline lies 4 below its line


@pytest.mark.parametrize("log", [False, True])
def test_charts_survive_any_values(log):
    for values in ([], [5.0], [0.0, 0.0], [float("nan")] * 2, [-1.0, 1e300], [1e-30, 1e30]):
        line = svg.Line("a<b", list(range(1, len(values) + 1)), values)
        html = svg.line_chart([line], title="t", x_label="x", y_label="y", log_y=log, log_x=log)
        parsed(html)
        assert "a<b" not in html and "nan" not in html.lower() and "inf" not in html.lower()
        flag = svg.Flag(1.0, "1", "a<b")
        band = svg.Band(line.x, values, values)
        levels = [svg.Level(0.5, "a<b")]
        more = svg.line_chart(
            [line], title="t", x_label="x", y_label="", log_y=log, flags=[flag], band=band, levels=levels
        )
        parsed(more)
        assert "a<b" not in more and "nan" not in more.lower()


def test_long_curves_are_thinned_and_keep_their_end_and_every_spike():
    values = [0.5] * 10_000
    values[7123], values[2001] = 9.0, -3.0
    line = svg.Line("a", list(range(10_000)), values)
    html = svg.line_chart([line], title="t", x_label="x", y_label="y")
    assert len(html) < 60_000 and f"L{svg.WIDTH - svg.RIGHT:.1f}" in html
    points = re.search(r'class="line"[^>]* d="M([^"]*)"', html).group(1).replace("L", "").split()
    heights = [float(v) for v in points[1::2]]
    assert min(heights) < svg.TOP + 20 and max(heights) > svg.HEIGHT - svg.BOTTOM - 20


def test_flags_stand_apart_inside_the_chart_and_point_to_their_places():
    for places in ([60.0] * 5, [510.0, 505.0, 300.0], [float(v) for v in range(60, 500, 5)], []):
        stand = flag_places(places)
        for row in {row for _, row in stand}:
            xs = sorted(x for x, r in stand if r == row)
            assert all(b - a >= FLAG - 1e-6 for a, b in itertools.pairwise(xs))
            assert xs[0] >= svg.LEFT and xs[-1] <= svg.WIDTH - svg.RIGHT
    assert flag_places([60.0, 200.0])[1] == (200.0, 0)
    line = svg.Line("a", [0.0, 10.0], [0.0, 1.0])
    html = svg.line_chart([line], title="t", x_label="x", y_label="", flags=[svg.Flag(5.0, "7", "swings", "error")])
    dot = re.search(r'class="dot" cx="([\d.]+)"', html)
    assert float(dot.group(1)) == pytest.approx((svg.LEFT + svg.WIDTH - svg.RIGHT) / 2, abs=0.06)
    assert "<title>7: swings</title>" in html and "7: swings" in html.split("aria-label=")[1].split('"')[1]


def test_a_level_is_drawn_only_where_it_lies_in_range():
    line = svg.Line("a", [0.0, 1.0], [1.0, 2.0])
    drawn = [
        svg.line_chart([line], title="t", x_label="x", y_label="", levels=[svg.Level(v, "here")]) for v in (1.5, 9)
    ]
    assert ["here" in html for html in drawn] == [True, False]


# -- findings on the curves ---------------------------------------------------------------------------------------


def test_each_finding_has_a_number_and_a_flag_at_its_step(run, tmp_path):
    place = copied(run, tmp_path)
    steps = [json.loads(line) for line in (place / "record.jsonl").read_text().splitlines()]
    epochs = [line for line in steps if line["kind"] == "epoch"]
    half = (epochs[2]["step"] + epochs[3]["step"]) // 2
    found = [
        {"problem": "p", "title": "a note", "severity": "note", "step": epochs[0]["step"], "summary": EVIL},
        {"problem": "p", "title": "an alarm", "severity": "error", "step": half, "summary": "s", "remedies": []},
        {"problem": "p", "title": "of the whole", "severity": "warning", "step": None, "summary": "s"},
    ]
    (place / "findings.json").write_text(json.dumps(found))
    html = write_report(place).read_text(encoding="utf-8")
    parsed(html)
    badges = re.findall(r'<i class="badge (\w+)" title="[^"]*">(\d)</i> ([\w ]+)', html)
    assert badges == [("error", "1", "an alarm"), ("warning", "2", "of the whole"), ("note", "3", "a note")]
    loss = html[html.index("<figcaption>Loss</figcaption>") : html.index("<figcaption>Accuracy</figcaption>")]
    flags = dict(re.findall(r'class="flag \w+"><title>(\d): [^<]*</title>.*?class="dot" cx="([\d.]+)"', loss))
    share = (3 + (half - epochs[2]["step"]) / (epochs[3]["step"] - epochs[2]["step"]) - 1) / 5
    assert set(flags) == {"1", "3"}
    assert float(flags["1"]) == pytest.approx(svg.LEFT + share * (svg.WIDTH - svg.RIGHT - svg.LEFT), abs=0.06)


def test_the_contents_lead_to_every_section(run):
    html = write_report(run.path).read_text(encoding="utf-8")
    links = re.findall(r'<a href="#([\w-]+)">', html)
    assert links == re.findall(r'<h2 id="([\w-]+)">', html) and len(links) >= 6


def test_a_record_of_ten_thousand_steps_makes_a_small_page_that_shows_its_spike(run, tmp_path):
    place = copied(run, tmp_path)
    lines = [json.loads(line) for line in (place / "record.jsonl").read_text().splitlines()]
    head, step = lines[0], next(line for line in lines if line["kind"] == "step")
    with open(place / "record.jsonl", "w") as file:
        file.write(json.dumps(head) + "\n")
        for i in range(10_000):
            one = json.loads(json.dumps(step)) | {"step": i}
            if i == 6_543:
                one["activation"]["rms"][-1] = "inf"
            file.write(json.dumps(one) + "\n")
    html = write_report(place).read_text(encoding="utf-8")
    parsed(html)
    assert len(html) < 400_000 and BROKEN in html and "and not finite" in html
