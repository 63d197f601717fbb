"""Take the picture of docs/live.md: a network whose steps are too large, on the live page.

python docs/live_picture.py             # writes docs/images/live.png; needs Chromium and the `test` extra
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
TRAIN = (
    "train digits --network mlp:32,32 --optimizer sgd --learning-rate 3 --schedule constant --batch-size 32 "
    "--epochs 200 --patience 200 --no-baselines --quiet --out runs/too-large-a-step"
)


def main() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "pellucid"]
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as started:
        subprocess.run([*command, *TRAIN.split()], cwd=scratch, env=environment, check=True, stdout=subprocess.DEVNULL)
        serve = [*command, "watch", "runs/too-large-a-step", "--port", "0", "--no-browser"]
        server = subprocess.Popen(serve, cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1360, "height": 1500})
            page.goto(server.stdout.readline().strip())
            page.wait_for_function("() => document.querySelector('.heat canvas')?.width > 100")
            page.wait_for_timeout(500)
            page.screenshot(path=ROOT / "docs" / "images" / "live.png")
            browser.close()
        finally:
            server.terminate()
            server.communicate()


if __name__ == "__main__":
    main()
