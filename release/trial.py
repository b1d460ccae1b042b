"""A trial of the wheel in ``dist/``: each extra is installed alone, in an empty environment, and its commands are run.

``python -m release.trial dist`` tries all of them; names after it try these alone. Everything comes from the index that
pip knows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path

from release import trials
from release.trials import TrialFailed, Tried

SERVING = "serve,grpc,traces,cloud,redis"
"""What the image has."""

ALONE: dict[str, Callable[[Tried], None]] = {
    "client": trials.try_client,
    "serve": trials.try_serve,
    SERVING: trials.try_served_by_all,
    "export": trials.try_export,
    "arrow": trials.try_arrow,
    "serve,evaluate": trials.try_evaluate,
}
"""Extras -> what is tried where they are; ``client`` has none."""

ASKING: dict[str, Callable[[Tried, str], None]] = {
    "asking": trials.try_asking,
    "plot": trials.try_plot,
    "connect": trials.try_connect,
}
"""Extras -> what is tried with the address of a server, which has the extra ``serve``; ``asking`` has none."""


def install(python: str, wheel: Path, extras: str, folder: Path) -> Tried:
    """Make an environment that has the wheel with some extras and what they ask for.

    Raises:
        TrialFailed: pip cannot.
    """
    if python == sys.executable:
        venv.create(folder / "environment", symlinks=True)
    else:
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder / "environment")], check=True)
    asked = f"{wheel}[{extras}]" if extras else str(wheel)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "environment" / "bin" / "python"), "--quiet"]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", "install", "--only-binary", ":all:", asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise TrialFailed(f"pip install {asked}:\n{done.stdout}")
    return Tried(folder / "environment" / "bin", folder / "work")


def try_all(python: str, wheel: Path, names: list[str]) -> list[str]:
    """Try extras, one after another; the failures."""
    failures = []
    with tempfile.TemporaryDirectory(prefix="ostinato-trial-") as scratch:
        server = None
        for name in names:
            began = time.monotonic()
            sys.stdout.write(f"{name}: ")
            sys.stdout.flush()
            try:
                tried = install(python, wheel, "" if name in ("client", "asking") else name, Path(scratch, name))
                if name in ALONE:
                    ALONE[name](tried)
                else:
                    server = server or install(python, wheel, "serve", Path(scratch, "server"))
                    with server.served(trials.CMUDICT if name == "plot" else trials.RELEASE) as (url, _):
                        ASKING[name](tried, url)
                said = "works"
            except (TrialFailed, subprocess.SubprocessError) as error:
                failures.append(f"{name}: {error}")
                said = "FAILS"
            sys.stdout.write(f"{said} ({time.monotonic() - began:.0f} s)\n")
            sys.stdout.flush()
    return failures


def main() -> None:
    """Try what the arguments name: the folder of the wheel, then extras, none = all; ``--python`` names another."""
    arguments = sys.argv[1:]
    python = sys.executable
    if "--python" in arguments:
        place = arguments.index("--python")
        python = arguments[place + 1]
        del arguments[place : place + 2]
    (wheel,) = Path(arguments[0]).glob("ostinato-*-py3-none-any.whl")
    names = arguments[1:] or [*ALONE, *ASKING]
    if unknown := [name for name in names if name not in ALONE | ASKING]:
        raise SystemExit(f"error: nothing is tried as {', '.join(unknown)}; there are {', '.join(ALONE | ASKING)}")
    failures = try_all(python, wheel.resolve(), names)
    if failures:
        raise SystemExit("\n\n".join(failures))


if __name__ == "__main__":
    main()
