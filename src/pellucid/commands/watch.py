"""`pellucid watch`, and the server beside `pellucid train --watch`."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from pellucid.commands import options
from pellucid.errors import RunError, nearest
from pellucid.rundir import RunDir, find_runs

WAIT = 10.0  # seconds for the server to say where it is
_beside: list[subprocess.Popen[Any]] = []  # kept, for the pipe must stay open as long as this process lives
NOTE = "it ends some minutes after the run if nobody looks; pellucid watch opens it again"


def watch(run: Path | None, *, port: int | None, host: str, browser: bool) -> None:
    """Serve the page until Ctrl-C."""
    root, chosen = folder_of(run)
    from pellucid.web.serve import bind
    from pellucid.web.watch import run as serve

    address = bind(host, port)
    print(address.url, flush=True)
    if browser and has_display():
        threading.Thread(target=open_browser, args=(address.url,), daemon=True).start()
    serve(root, address, chosen)


def folder_of(run: Path | None) -> tuple[Path, str | None]:
    """(the folder of runs, the name of the one to show). A folder that is no run is taken to hold runs."""
    if run is None:
        return options.home().resolve(), None
    path = run.expanduser()
    named = RunDir(options.home() / path)
    if not path.exists() and named.exists:
        path = named.path
    path = path.resolve()
    if RunDir(path).exists:
        return path.parent, path.name
    if path.is_dir():
        return path, None
    near = [found.path.name for found in find_runs(path.parent)]
    fix = nearest(path.name, near) if near else "list the runs with: pellucid runs"
    raise RunError("there is no run here", where=run, expected="a run, or a folder of runs", fix=fix)


def has_display() -> bool:
    """Whether a browser that is opened here would be seen."""
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_browser(url: str) -> None:
    import webbrowser

    webbrowser.open(url)


# -- beside a training ----------------------------------------------------------------------------------------------


def beside(root: Path, chosen: str | None) -> subprocess.Popen[Any] | None:
    """Start the server as a process of its own, and say on stderr where it is. Whatever goes wrong with it is a note,
    and never the training's end. It sees by the pipe to its standard input when this process is gone."""
    from pellucid.views.console import note

    command = [sys.executable, "-m", "pellucid.commands.watch", str(root), chosen or ""]
    apart: dict[str, Any] = (
        {"creationflags": 0x00004000 | 0x00000200} if os.name == "nt" else {"start_new_session": True}
    )
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **apart
        )
    except OSError as error:
        note(f"the page could not be served: {error}")
        return None
    _beside.append(process)
    said: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda out=process.stdout: said.append(out.readline()), daemon=True)
    reader.start()
    reader.join(WAIT)
    url = said[0].decode().strip() if said else ""
    if url.startswith("http"):
        print(f"watch: {url}  ({NOTE})", file=sys.stderr, flush=True)
    else:
        note(f"the page could not be served{': ' + url if url else ''}; the training goes on without it")
    return process


def main() -> None:
    """The server's own process: `python -m pellucid.commands.watch FOLDER [RUN]`; writes its address, then serves."""
    from pellucid.errors import PellucidError
    from pellucid.web.serve import bind
    from pellucid.web.watch import run as serve

    if hasattr(os, "nice"):
        os.nice(10)  # the training comes first
    root, chosen = Path(sys.argv[1]), sys.argv[2] or None
    try:
        address = bind()
    except PellucidError as error:
        print(str(error).splitlines()[0], flush=True)
        return
    print(address.url, flush=True)
    serve(root, address, chosen, companion=True)


if __name__ == "__main__":
    main()
