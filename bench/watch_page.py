"""What the live page costs the training that it shows, and how long a page takes to draw.

    python bench/watch_page.py                     # 9 rounds: without a server, and with one and 20 open pages
    python bench/watch_page.py --draw              # milliseconds to draw a record of 10,000 steps, in Chromium

A round trains the same network twice, as processes of their own: alone, and with `--watch` while 20 listeners have the
page's stream of events open and fetch the run, as 20 browsers would (tabs of one browser share a stream). Examples a
second, from the run's own clock, without its first second; which of the two goes first alternates. The listeners live
in one process, and what they cost is in the figure.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LISTENERS = """
import http.client, json, sys, threading, time
from urllib.parse import urlsplit
url, count = urlsplit(sys.argv[1]), int(sys.argv[2])
def page():
    ask = http.client.HTTPConnection(url.netloc)
    name = None
    while name is None:
        ask.request("GET", url.path + "runs")
        runs = json.loads(ask.getresponse().read())["runs"]
        name = runs[0]["name"] if runs else time.sleep(0.2)
    ask.request("GET", url.path + "run/" + name)
    ask.getresponse().read()
    stream = http.client.HTTPConnection(url.netloc)
    stream.request("GET", url.path + "events?run=" + name)
    answer = stream.getresponse()
    while answer.readline():
        pass
for _ in range(count):
    threading.Thread(target=page, daemon=True).start()
print("listening", flush=True)
sys.stdin.read()
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PELLUCID_WATCH_LINGER": "1"}


SERVER_SHARES: list[tuple[float, float]] = []  # (CPU seconds of the server, seconds since 1970), as a run went on


def cpu_of_children(pid: int) -> tuple[float, float]:
    """CPU seconds spent by the processes that `pid` started (Linux; 0 elsewhere)."""
    spent = 0.0
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        pass
    return spent, time.time()


def train(folder: Path, source: Path, pages: int | None, epochs: int) -> float:
    """Examples a second of one training; pages None: without a server."""
    command = [sys.executable, "-m", "pellucid", "train", str(source), "--network", "mlp:128", "--batch-size", "64"]
    command += ["--epochs", str(epochs), "--patience", str(epochs), "--no-baselines", "--quiet", "--out", str(folder)]
    command += [] if pages is None else ["--watch"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment(), cwd=folder.parent
    )
    assert process.stderr is not None
    listeners = None
    if pages is not None:
        url = re.search(r"http\S+", process.stderr.readline())
        assert url is not None, "no page was served"
        listeners = subprocess.Popen([sys.executable, "-c", LISTENERS, url.group(), str(pages)], stdin=subprocess.PIPE)
    while process.poll() is None:
        time.sleep(0.2)
        if pages is not None:
            SERVER_SHARES.append(cpu_of_children(process.pid))
    process.communicate()
    if listeners is not None:
        listeners.kill()
        listeners.communicate()
    lines = [json.loads(line) for line in (folder / "clock.jsonl").read_text().splitlines()]
    chunks = [line for line in lines if line["kind"] in ("chunk", "epoch")]
    begun = next(i for i, line in enumerate(chunks) if line["time"] > chunks[0]["time"] + 1)
    return sum(line.get("steps", 0) for line in chunks[begun:]) * 64 / sum(line["seconds"] for line in chunks[begun:])


def cost(rounds: int, pages: int, epochs: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(20_000, 784)).astype(np.float32)
        np.savez(Path(scratch) / "set.npz", x=x, y=(x[:, :10].argmax(1)).astype(np.int64))
        ratios, shares = [], []
        for count in range(rounds + 1):
            order = (None, pages) if count % 2 else (pages, None)
            speed = {n: train(Path(scratch) / f"{count}-{n}", Path(scratch) / "set.npz", n, epochs) for n in order}
            share = server_share()
            if count:  # the first round fills the compile cache
                ratios.append(speed[pages] / speed[None])
                shares.append(share)
                told = f"{speed[None]:,.0f} alone, {speed[pages]:,.0f} with {pages} pages: {ratios[-1]:.3f}"
                print(f"  {told}; the server took {100 * share:.1f} % of a core", flush=True)
    spread = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios
    quartiles = f"quartiles {spread[0]:.3f}, {spread[-1]:.3f}"
    print(f"{pages} open pages: {statistics.median(ratios):.3f} of the speed alone ({quartiles})")
    print(f"the server took {100 * statistics.median(shares):.1f} % of a core")


def server_share() -> float:
    """Of a core, from three seconds after the server began until the run ended."""
    known = [(spent, at) for spent, at in SERVER_SHARES if spent > 0]
    SERVER_SHARES.clear()
    known = [one for one in known if one[1] > known[0][1] + 3] if known else []
    return (known[-1][0] - known[0][0]) / (known[-1][1] - known[0][1]) if len(known) > 1 else float("nan")


def draw(steps: int, layers: int) -> None:
    import shutil

    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(ROOT / "tests" / "web"))
    from made_runs import record

    from pellucid.rundir import RunDir

    with tempfile.TemporaryDirectory() as scratch:
        place = RunDir(Path(scratch) / "runs" / "long")
        place.path.mkdir(parents=True)
        place.recipe.write_text("")
        record(place, [f"hidden{n}" for n in range(layers)], steps, every=100)
        command = [sys.executable, "-m", "pellucid", "watch", str(place.path), "--port", "0", "--no-browser"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        began = time.perf_counter()
        body = urllib.request.urlopen(f"{url}run/long").read()
        fetched = time.perf_counter() - began
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            drawn = "document.querySelector('.heat canvas')?.width > 300 && performance.getEntriesByName('draw').length"
            first = []
            for _ in range(7):
                page.goto("about:blank")
                page.goto(url)
                page.wait_for_function(f"() => {drawn}")
                first.append(page.evaluate("performance.getEntriesByName('draw')[0].duration"))
            again = []
            for _ in range(9):
                page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
                page.wait_for_timeout(400)
                again.append(page.evaluate("performance.getEntriesByName('draw')[0].duration"))
            browser.close()
        server.terminate()
        server.communicate()
    print(
        f"{steps:,} steps x {layers} layers: read and thinned in {1000 * fetched:.0f} ms, {len(body) / 1e6:.2f} MB sent"
    )
    print(f"first drawing {statistics.median(first):.0f} ms (most {max(first):.0f})")
    print(f"later drawings {statistics.median(again):.0f} ms (most {max(again):.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=8)
    args = parser.parse_args()
    if args.draw:
        draw(args.steps, args.layers)
    else:
        cost(args.rounds, args.pages, args.epochs)


if __name__ == "__main__":
    main()
