"""A browser for the pages, and a server in a thread; where no browser is there, the tests are skipped and say why."""

import os
import shutil
import threading
import time

import pytest


@pytest.fixture(scope="module")  # and no longer: while Playwright runs, no other test here can run an event loop
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        made = playwright.chromium.launch(executable_path=found, args=args)
        yield made
        made.close()


@pytest.fixture(scope="module")
def serving():
    """`serving(app)` -> the address of its page, guard included; all are stopped at the end."""
    from pellucid.web.serve import bind, run

    stops = []

    def serve(app):
        address, servers = bind(port=0), []
        thread = threading.Thread(target=run, args=(app, address), kwargs={"ready": servers.append}, daemon=True)
        thread.start()
        while not (servers and servers[0].started):
            time.sleep(0.02)
        stops.append((servers[0], thread))
        return address.url

    yield serve
    for server, thread in stops:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="session")
def until():
    """`until(page, expression)`: wait until it is true there. Playwright's own waiting evaluates text, which the page's
    policy forbids."""

    def wait(page, expression, seconds=60):
        end = time.monotonic() + seconds
        while not page.evaluate(expression):
            text = page.evaluate("document.body.innerText")[:2000] if time.monotonic() > end else ""
            assert time.monotonic() <= end, f"never true: {expression}; the page says: {text}"
            time.sleep(0.05)

    return wait
