"""Take the pictures of the README and the docs: the report, the live page, the playground.

python docs/pictures.py                 # writes docs/images/report.png, live.png, playground.png
python docs/pictures.py live            # one of them; needs Chromium and the `test` extra
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PELLUCID = [sys.executable, "-m", "pellucid"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"}
TOO_LARGE = (
    "train digits --network mlp:32,32 --optimizer sgd --learning-rate 3 --schedule constant --batch-size 32 "
    "--epochs 200 --patience 200 --no-baselines --quiet --out runs/too-large-a-step"
)


def train(words: str, folder: Path) -> None:
    subprocess.run([*PELLUCID, *words.split()], cwd=folder, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def served(words: str, folder: Path) -> Iterator[str]:
    """The address of a page that this verb serves."""
    command = [*PELLUCID, *words.split(), "--port", "0", "--no-browser"]
    server = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.communicate()


def report(browser: Browser, folder: Path) -> None:
    """The beginning of a report."""
    train("train digits --quiet --out runs/digits", folder)
    page = browser.new_page(viewport={"width": 1180, "height": 1480})
    page.goto((folder / "runs" / "digits" / "report.html").as_uri())
    page.screenshot(path=IMAGES / "report.png")


def live(browser: Browser, folder: Path) -> None:
    """A network whose steps are too large."""
    train(TOO_LARGE, folder)
    with served("watch runs/too-large-a-step", folder) as url:
        page = browser.new_page(viewport={"width": 1360, "height": 1500})
        page.goto(url)
        page.wait_for_function("() => document.querySelector('.heat canvas')?.width > 100")
        page.wait_for_timeout(500)
        page.screenshot(path=IMAGES / "live.png")


def playground(browser: Browser, folder: Path) -> None:
    """A spiral, half learned."""
    choices = "data=spiral&noise=0.05&widths=8.8&activations=relu&optimizer=adam&learning_rate=0.01&seed=1"
    with served("play", folder) as url:
        page = browser.new_page(viewport={"width": 1360, "height": 1420})
        page.goto(f"{url}#{choices}")
        page.wait_for_timeout(5000)
        page.select_option("#pace", "20")
        page.click("#play")
        page.wait_for_function("() => playground.frame?.scores?.train?.metric > 0.95", timeout=180_000)
        page.click("#play")
        page.wait_for_function("() => document.querySelectorAll('#doctor li, #doctor p').length > 0", timeout=60_000)
        page.wait_for_timeout(4000)
        page.screenshot(path=IMAGES / "playground.png")


PICTURES = {"report": report, "live": live, "playground": playground}


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name in sys.argv[1:] or PICTURES:
            with tempfile.TemporaryDirectory() as scratch:
                PICTURES[name](browser, Path(scratch))
        browser.close()


if __name__ == "__main__":
    main()
