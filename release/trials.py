"""Trials of what a wheel installs: for each extra, commands that a user would type, run from an empty folder.

Nothing here is imported by the environments that are tried: they have the wheel, what it asks for, and no more.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEIJING = ROOT / "examples" / "beijing_pm25"
CMUDICT = ROOT / "examples" / "cmudict" / "repository"
RELEASE = BEIJING / "repository"
COMMAND_SECONDS = 600
START_SECONDS = 120

LISTENS = re.compile(r"Ostinato listens on (http://[\w.:]+)")

# A session's answers equal those of one run without a session, to the bit.
PROMISE = """
import sys
import numpy as np
from ostinato import Client
rows = [
    [63, -14, 5, 1019, 0, 1.79, 0, 0, 17], [79, -13, 2, 1020, 0, 3.58, 0, 0, 18], [26, -8, 6, 1021, 1, 5.81, 0, 0, 19]
]
with Client(sys.argv[1]) as client, client.session("beijing-seq2seq") as session:
    live = np.concatenate([session.step([row]) for row in rows])
    whole = client.predict("beijing-seq2seq", [rows])[0]
    assert np.array_equal(live, whole), (live, whole)
    assert len(session.forecast(4)) == 4
"""

PAGES = """
import sys
import httpx2
for path in ("/readyz", "/openapi.json", "/docs", "/console", "/metrics"):
    httpx2.get(sys.argv[1] + path, follow_redirects=True).raise_for_status()
"""

CONNECT = """
[service]
model = "beijing-seq2seq"
url = "{url}"
[source]
kind = "file"
path = "readings.jsonl"
[sink]
kind = "file"
path = "answers.jsonl"
[mapping]
format = "json"
key = "key"
"""

READING = (
    '{{"key": "{key}", "pm2.5": 63, "DEWP": -14, "TEMP": 5, "PRES": 1019, "cbwd": "NE", "Iws": 1.79, "Is": 0, '
    '"Ir": 0, "hour": "{hour}"}}\n'
)

GRPC = """
import sys
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)
assert answer.status == health_pb2.HealthCheckResponse.SERVING, answer
"""


class TrialFailed(Exception):
    """What was tried and did not do what it should, with what it printed."""


class Tried:
    """An environment in which programs are run, in a folder that is otherwise empty.

    Args:
        programs: the environment's ``bin``.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OSTINATO_", "PYTHON"))}
        self._variables = own | {
            "BENTOML_DO_NOT_TRACK": "true",
            "HOME": str(folder),
            "NO_COLOR": "1",
            "PATH": f"{programs}:{os.environ['PATH']}",
            "TERM": "dumb",
        }

    def run(self, program: str, *arguments: object, status: int = 0) -> str:
        """What a program printed.

        Raises:
            TrialFailed: it ended with another status.
        """
        done = subprocess.run(
            [str(self._programs / program), *map(str, arguments)],
            cwd=self.folder,
            env=self._variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode != status:
            words = " ".join([program, *map(str, arguments)])
            raise TrialFailed(f"{words}\nended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    @contextmanager
    def served(self, repository: Path, *options: object) -> Iterator[tuple[str, str]]:
        """A server of this environment: its address, and all that it printed at its start."""
        log = self.folder / "server.log"
        command = [str(self._programs / "ostinato"), "serve", "--repository", str(repository), "--port", "0"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--state", "memory://", *map(str, options)],
                cwd=self.folder,
                env=self._variables,
                stdout=output,
                stderr=output,
            )
        try:
            give_up_at = time.monotonic() + START_SECONDS
            while (found := LISTENS.search(log.read_text())) is None:
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise TrialFailed(f"the server does not listen:\n{log.read_text()}")
                time.sleep(0.2)
            yield found[1], log.read_text()
        finally:
            process.terminate()
            process.wait(60)


def try_client(tried: Tried) -> None:
    """``pip install ostinato``: the command line and the client's classes, and sentences for what is missing."""
    code = "from importlib.metadata import version; print(version('ostinato'))"
    version = f"ostinato {tried.run('python', '-c', code)}"
    assert_printed(tried.run("ostinato", "--version"), version)
    assert_printed(tried.run("python", "-m", "ostinato", "--version"), version)
    tried.run("ostinato", "--help")
    tried.run("python", "-c", "from ostinato import AsyncClient, Client")
    assert_printed(tried.run("ostinato", "serve", status=1), "pip install 'ostinato[serve]'")


def try_serve(tried: Tried) -> None:
    """``ostinato[serve]``: the release of Beijing is verified, served and answers, and what a browser asks is there."""
    tried.run("ostinato", "verify", RELEASE)
    with tried.served(RELEASE) as (url, _):
        tried.run("python", "-c", PROMISE, url)
        tried.run("python", "-c", PAGES, url)
    tried.run("ostinato", "evaluate", RELEASE / "beijing-seq2seq", table(), "--origins", 2, "--horizon", 4, "--no-ets")


def try_served_by_all(tried: Tried) -> None:
    """``ostinato[serve,grpc,traces,cloud,redis]``, as the image has it: over gRPC, too, and each store's library."""
    with tried.served(RELEASE, "--grpc-port", 0) as (url, log):
        tried.run("python", "-c", PROMISE, url)
        found = re.search(r"for gRPC on ([\w.:]+)", log)
        if found is None:
            raise TrialFailed(f"no address of gRPC is told:\n{log}")
        tried.run("python", "-c", GRPC, found[1])
    tried.run("python", "-c", "import ostinato.service.state.redis, ostinato.service.tracing")
    tried.run("python", "-c", "import ostinato.service.fetching.remote, obstore")


def try_export(tried: Tried) -> None:
    """``ostinato[export]``: a recipe for a table, a tiny training, its export with its proof."""
    recipe = tried.folder / "hours.toml"
    tried.run("ostinato", "train", "--init", "forecaster", table(), "--output", recipe)
    text = re.sub(r"(?m)^(# ?)?max_epochs = .*$", "max_epochs = 1", recipe.read_text())
    recipe.write_text(re.sub(r"(?m)^(# ?)?hidden_size = .*$", "hidden_size = 4", text))
    tried.run("ostinato", "train", recipe, "--output", "runs/hours")
    tried.run("ostinato", "export", "runs/hours", "--repository", "repository")
    if not list(tried.folder.glob("repository/*/1/model.json")):
        raise TrialFailed("the export wrote no manifest")


def try_connect(tried: Tried, url: str) -> None:
    """``ostinato[connect]``: readings from a file through sessions of a server into a file."""
    lines = [READING.format(key=f"pump {key}", hour=hour) for hour in range(3) for key in range(2)]
    (tried.folder / "readings.jsonl").write_text("".join(lines))
    (tried.folder / "connect.toml").write_text(CONNECT.format(url=url))
    tried.run("ostinato", "connect", "connect.toml")
    answers = (tried.folder / "answers.jsonl").read_text().splitlines()
    if len(answers) != len(lines):
        raise TrialFailed(f"of {len(lines)} readings {len(answers)} are answered")


def try_plot(tried: Tried, url: str) -> None:
    """``ostinato[plot]``: a word's sounds, and a picture of what each looked at."""
    tried.run("ostinato", "generate", "g2p", "word", "--url", url, "--plot", "attention.png")
    if not (tried.folder / "attention.png").read_bytes().startswith(b"\x89PNG"):
        raise TrialFailed("no picture is drawn")


def try_asking(tried: Tried, url: str) -> None:
    """A client without extras asks a server: a session's answers, and its commands."""
    tried.run("python", "-c", PROMISE, url)
    tried.run("ostinato", "sessions", "list", "--url", url)


def try_arrow(tried: Tried) -> None:
    """``ostinato[arrow]``: columns of numbers in the client."""
    tried.run("python", "-c", "import pyarrow, ostinato; ostinato.Client")


def try_evaluate(tried: Tried) -> None:
    """``ostinato[serve,evaluate]``: ETS next to the model."""
    printed = tried.run(
        *("ostinato", "evaluate", RELEASE / "beijing-seq2seq", table(), "--origins", 2, "--horizon", 4, "--ets")
    )
    assert_printed(printed, "ETS")


def table() -> Path:
    """The table that the examples learn from."""
    return BEIJING / "beijing_pm25_hourly.csv.xz"


def assert_printed(printed: str, wanted: str) -> None:
    """Raises:
    TrialFailed: it is not in what was printed.
    """
    if wanted not in printed:
        raise TrialFailed(f"{wanted!r} is not in what was printed:\n{printed}")
