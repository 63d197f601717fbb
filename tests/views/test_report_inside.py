"""The report's sections that show what a network has learned: for each kind of run whole, escaped and small."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

import pellucid as pc
from pellucid.data import Dataset
from pellucid.views import report_texts, svg_more
from pellucid.views.report import write_report

EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Every tag is closed in its order; what pictures there are, and what they say."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.sources, self.alts = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        if tag == "img":
            self.alts.append(found.get("alt"))
        self.sources += [found[name] for name in ("src", "href", "srcset", "data", "action") if name in found]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "br", "img"):
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page_of(run):
    html = write_report(run.path).read_text(encoding="utf-8")
    page = Page(html)
    assert len(html.encode()) < 1_000_000
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)  # a place of the page itself
    assert not re.search(r"https?://|@import|url\(", html)
    assert all(page.alts) and html.count("aria-label=") == page.tags.count("svg")
    return html, page


def fitted(network, data, out, **settings):
    return pc.fit(network, data, out=out, **{"baselines": False, "doctor": "off", "epochs": 2, **settings})


def test_a_table_with_hostile_names_is_shown_as_text(tmp_path):
    g = np.random.default_rng(0)
    colour = g.choice([EVIL, "b&b"], 90)
    table = pl.DataFrame({EVIL: g.normal(size=90), "size": g.normal(size=90), 'a"b': colour})
    labels = np.where(g.random(90) < 0.5, f"{EVIL}yes", "no").astype(object)
    html, _ = page_of(fitted("mlp:4", Dataset(table, labels, name="made"), tmp_path))
    assert EVIL not in html and "<b&b" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;yes" in html and "a&quot;b" in html
    for title in ("Mistakes", "Class by class", "Calibration", "What the columns are worth", "Layer by layer"):
        assert f">{title}</h2>" in html


def test_a_regression_shows_its_residuals(tmp_path):
    html, _ = page_of(fitted("mlp:4", "diabetes", tmp_path))
    assert ">Predicted and true</h2>" in html and "Expected calibration error" not in html
    section = html.split(">Predicted and true</h2>")[1].split("<h2")[0]
    assert section.count("<circle") == 2 * 66  # predicted over true, and errors over predicted
    assert "misses by most" in html and ">bmi</text>" in html


def test_images_show_filters_and_saliency(tmp_path):
    g = np.random.default_rng(0)
    x = g.integers(0, 255, (80, 12, 12, 3)).astype(np.uint8)
    html, page = page_of(fitted("cnn:4,dense=8", Dataset(x, g.integers(0, 2, 80)), tmp_path))
    assert "What excites the units" in html and "What a decision hangs on" in html
    assert {"weights of unit 1", "what excites unit 1 of relu1"} <= set(page.alts) or page.tags.count("img") > 10


def test_texts_show_attention_and_their_words(tmp_path):
    g = np.random.default_rng(0)
    texts = [" ".join(g.choice(["so", "good", "bad", EVIL], 5)) for _ in range(60)]
    data = Dataset(texts, np.where([t.count("good") > 1 for t in texts], "up", "down").astype(object))
    html, page = page_of(fitted("transformer:layers=1,heads=2,width=8", data, tmp_path))
    assert EVIL not in html and ">Where it looks</h2>" in html and page.tags.count("image") == 2


def test_a_language_model_shows_what_it_writes_and_what_surprises_it(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("the <b>cat</b> sat on the mat & so on.\n" * 60)
    run = fitted("gru:8", path, tmp_path, context=16)
    html, _ = page_of(run)
    assert "<h3>A sample</h3>" in html and "<b>cat" not in html and "bits; expected:" in html
    found = json.loads((run.path / "inspection.json").read_text())
    marks = re.findall(r'<span class="s(\d)" title', html)
    assert len(marks) == len(found["surprise"]["tokens"]) - 1
    assert [int(m) for m in marks] == [report_texts.level(bits) for _, bits, _ in found["surprise"]["tokens"][1:]]


def test_pairs_show_what_was_written(tmp_path):
    g = np.random.default_rng(0)
    words = ["".join(g.choice(list("ab<"), n)) for n in g.integers(2, 5, 60)]
    run = fitted("seq2seq:8", Dataset(words, [w[::-1] for w in words], task="pairs"), tmp_path)
    html, page = page_of(run)
    assert ">What it writes</h2>" in html and "<th class=text>wanted</th>" in html and page.tags.count("image") >= 1


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    return fitted("mlp:4", "iris", tmp_path_factory.mktemp("runs"))


def test_an_inspection_that_cannot_be_read_leaves_its_section_out(iris, tmp_path):
    place = tmp_path / "run"
    shutil.copytree(iris.path, place)
    file = place / "inspection.json"
    found = json.loads(file.read_text())
    found["calibration"] = {"bins": "none"}
    found["mistakes"]["confident"] = [
        {"kind": "image", "picture": "https://example.org/x.png", "row": 1, "true": "a", "predicted": "b"}
    ]
    file.write_text(json.dumps(found))
    html = write_report(place).read_text(encoding="utf-8")
    assert ">Calibration</h2>" not in html and ">Class by class</h2>" in html and "example.org" not in html
    file.write_text('{"classes": ')  # cut off
    assert ">Class by class</h2>" not in write_report(place).read_text(encoding="utf-8")
    file.unlink()
    assert ">Class by class</h2>" not in write_report(place).read_text(encoding="utf-8")


# -- charts --------------------------------------------------------------------------------------------------------


def test_bars_are_as_long_as_their_values():
    bars = [svg_more.Bar("a<b", 2.0, 0.5), svg_more.Bar("c", -1.0), svg_more.Bar("gone", float("nan"))]
    html = svg_more.bar_chart(bars, title="t", x_label="x", mark=(1.0, "half"))
    Page(html)
    widths = [float(w) for w in re.findall(r'class="bar" x="[\d.]+" y="[\d.]+" width="([\d.]+)"', html)]
    assert len(widths) == 2 and widths[0] / widths[1] == pytest.approx(2, rel=0.01)
    spread = re.search(r'class="spread" x1="([\d.]+)" x2="([\d.]+)"', html)
    assert (float(spread[2]) - float(spread[1])) / widths[1] == pytest.approx(1.0, rel=0.01)
    assert "a<b" not in html and "nan" not in html


def test_a_bin_that_is_too_sure_has_its_gap_above_the_bar():
    bins = [{"low": 0.5, "high": 1.0, "count": 4, "confidence": 0.9, "accuracy": 0.5}]
    html = svg_more.reliability(bins, title="t")
    bar, gap = (re.search(rf'class="{name}".*? y="([\d.]+)" height="([\d.]+)"', html) for name in ("bar", "gap"))
    assert float(gap[1]) + float(gap[2]) == pytest.approx(float(bar[1]), abs=0.11)
    assert float(gap[2]) / float(bar[2]) == pytest.approx(0.4 / 0.5, rel=0.02)


def test_charts_survive_any_values():
    for values in ([], [0.0], [float("nan")], [1e300, -1e300], [5.0, 5.0]):
        Page(svg_more.scatter(values, values, title="t", x_label="x", y_label="y", line="equal"))
        Page(svg_more.bar_chart([svg_more.Bar("a", v) for v in values], title="t", x_label="x"))
        Page(svg_more.sparkline([values], "a<b"))
    Page(svg_more.histogram([0.0, 1.0], [0], title="t", x_label="x"))
    Page(svg_more.attention_map(["<a>", "b"], ["c"], "data:image/png;base64,", title="t"))
