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

BELOW_NORMAL = 0x00004000 | 0x00000200  # priority, and a group of its own that Ctrl-C here does not reach (Windows)
WAIT = 10.0  # seconds for the server to say where it is
_beside: list[subprocess.Popen[Any]] = []  # kept, for the pipe must stay open as long as this process lives
NOTE = "it ends some minutes after the run if nobody looks; pellucid watch opens it again"


def watch(run: Path | None, *, port: int | None, host: str, browser: bool) -> None:
    """Serve the page until Ctrl-C."""
    root, chosen = folder_of(run)
    from pellucid.web.serve import bind, tell
    from pellucid.web.watch import run as serve

    address = bind(host, port)
    tell(address, browser)
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
    parent = options.home() if run.parent == Path(".") else path.parent
    near = [found.path.name for found in find_runs(parent)]
    fix = nearest(path.name, near) if near else "list the runs with: pellucid runs"
    raise RunError("there is no run here", where=run, expected="a run, or a folder of runs", fix=fix)


# -- beside a training ----------------------------------------------------------------------------------------------


class Beside:
    """The server, as a process of its own beside this one. Started early, for it takes a second to begin; `tell` says
    where it is. Whatever goes wrong with it is a note, and never the training's end. It sees by the pipe to its
    standard input when this process is gone."""

    def __init__(self, root: Path, chosen: str | None):
        self.said: list[bytes] = []
        self.problem = ""
        command = [sys.executable, "-m", "pellucid.commands.watch", str(root), chosen or ""]
        apart: dict[str, Any] = {"creationflags": BELOW_NORMAL} if os.name == "nt" else {"start_new_session": True}
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **apart
            )
        except OSError as error:
            self.problem = str(error)
            return
        _beside.append(self.process)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.append(self.process.stdout.readline())

    def tell(self) -> None:
        """One line on stderr: the address, or why there is none."""
        if not self.problem:
            self._reader.join(WAIT)
        url = self.said[0].decode().strip() if self.said else self.problem
        if url.startswith("http"):
            print(f"watch: {url}  ({NOTE})", file=sys.stderr, flush=True)
        else:
            from pellucid.views.console import note

            note(f"the page could not be served{': ' + url if url else ''}; the training goes on without it")


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
