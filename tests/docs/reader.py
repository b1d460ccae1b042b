"""A reader who types, in the order of a page, what it says, in a shell and a folder of their own.

The shell begins without this project: until the page activates its environment there is no ``ostinato``.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest

from tests.docs.markdown import ROOT, Block, Command, read_commands
from tests.docs.matching import matches
from tests.server import free_port

CHECKOUT = ("Makefile", "pyproject.toml", "requirements", "benchmarks", "deploy", "docs", "examples")
CHECKOUT_PACKAGES = ("export", "models", "ostinato", "service", "tests")
TOOLS = ("kubectl", "promtool")
"""What the checks install next to the interpreter where PATH lacks it; a reader has it on PATH."""
PAGE_PORT = 3000
TIMEOUT_SECONDS = 350.0
PROBLEM_STATUS = 22
"""Of curl for an answer that is a problem; a page that shows the problem means it."""
REFUSED = "error: "
"""What begins the sentence of a command that ends with status 1; a page that shows it means it, too."""

KEPT = ".environment"
"""Where a shell leaves its environment for the next one."""

_NAMED_PORT = re.compile(r"(\b(?:localhost|127\.0\.0\.1):|--(?:grpc-)?port )(\d+)\b")
_FILE_NAME = re.compile(r"# ([\w/]+\.\w+)\n")


class Ports:
    """Free ports of this machine in the place of those that pages name."""

    def __init__(self) -> None:
        self._free: dict[int, int] = {}

    def free(self, port: int) -> int:
        """The port in the place of a page's."""
        if port not in self._free:
            self._free[port] = free_port()
        return self._free[port]

    def into(self, text: str) -> str:
        """A page's command or code with free ports."""
        return _NAMED_PORT.sub(lambda found: found[1] + str(self.free(int(found[2]))), text)

    def out_of(self, text: str) -> str:
        """What was printed with the page's ports."""
        for port, free in self._free.items():
            text = re.sub(rf"\b{free}\b", str(port), text)
        return text


class Reader:
    """See the module. Servers that the page starts run until another takes their port, or the page ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "checkout"
        self._ports = Ports()
        self._servers: dict[int, subprocess.Popen[bytes]] = {}
        self._saved: set[str] = set()
        home = folder / "home"
        self._lay_out(home)
        programs = Path(sys.executable).parent
        places = [place for place in os.environ["PATH"].split(os.pathsep) if not (Path(place) / "ostinato").exists()]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")},
            "PATH": os.pathsep.join([str(_linked_tools(home, programs)), *places]),
            "HOME": str(home),
            "NO_PROXY": "localhost,127.0.0.1",
            "COLUMNS": "120",
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "OSTINATO_PORT": str(self._ports.free(PAGE_PORT)),
            "OSTINATO_URL": f"http://127.0.0.1:{self._ports.free(PAGE_PORT)}",
        }

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for port in list(self._servers):
            self._stop(port)

    def follow(self, blocks: list[Block]) -> None:
        """Do what each block says; the test fails at the first that does not do it."""
        for index, block in enumerate(blocks):
            after = blocks[index + 1] if index + 1 < len(blocks) else None
            if not block.is_run:
                continue
            if named := _FILE_NAME.match(block.text):
                (self._folder / named[1]).write_text(self._ports.into(block.text), encoding="utf-8")
                self._saved.add(named[1])
                continue
            is_output = after is not None and after.language == "text" and after.follows_directly
            printed = after.text if after is not None and is_output else ""
            if block.language == "console":
                self._type(block, printed)
            elif block.language == "python":
                self._run_python(block, printed)

    def left_behind(self) -> list[str]:
        """What lies in the checkout that was not there, apart from what the page said to save."""
        laid_out = {".venv", *CHECKOUT, *CHECKOUT_PACKAGES}
        paths = (path for entry in self._folder.iterdir() if entry.name not in laid_out for path in _files_in(entry))
        return sorted({str(path.relative_to(self._folder)) for path in paths} - self._saved)

    def _lay_out(self, home: Path) -> None:
        """A checkout that `make setup` finds ready, with this interpreter's programs as its environment."""
        home.mkdir()
        # As in a terminal: no meter; and a refusal is an error.
        (home / ".curlrc").write_text("silent\nfail-with-body\n")
        environment = self._folder / ".venv"
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "activate").write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')
        (environment / ".ready").touch()
        for name in (*CHECKOUT, *CHECKOUT_PACKAGES):
            (self._folder / name).symlink_to(ROOT / name)

    def _type(self, block: Block, printed_below: str) -> None:
        """Type the commands of a block; what the ``text`` block below it shows is printed by the last of them."""
        commands = read_commands(block)
        if printed_below:
            assert not commands[-1].printed, f"{block.page}:{block.line}: what is printed stands in two blocks"
            commands[-1] = replace(commands[-1], printed=printed_below)
        if any(command.serves for command in commands):
            assert len(commands) == 1, f"{block.page}:{block.line}: a server and what asks it share a block"
            self._serve(block.page, commands[0])
            return
        for command in commands:
            place = f"{block.page}:{command.line}: {command.text}"
            status, printed = self._run(["bash", "-c", _remembering(self._ports.into(command.text))])
            if command.printed and not matches(command.printed, printed):
                _fail(place, command.printed, printed)
            meant = PROBLEM_STATUS if not command.printed.startswith(REFUSED) else 1
            if status != 0 and not (command.printed and status == meant):
                _fail(f"{place}\nexited with {status}", command.printed, printed)

    def _run_python(self, block: Block, expected: str) -> None:
        status, printed = self._run(["python", "-"], typed=self._ports.into(block.text))
        place = f"{block.page}:{block.line}: python"
        if status != 0:
            _fail(f"{place} exited with {status}", expected, printed)
        if not matches(expected, printed):
            _fail(place, expected, printed)

    def _run(self, arguments: list[str], typed: str = "") -> tuple[int, str]:
        program = shutil.which(arguments[0], path=self._environment["PATH"])
        assert program is not None, f"{arguments[0]} is not on PATH: has the page activated the environment?"
        done = subprocess.run(
            [program, *arguments[1:]],
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._folder,
            env=self._environment,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        kept = self._folder / KEPT
        if kept.exists():
            self._environment = dict(pair.split("=", 1) for pair in kept.read_text().split("\0")[:-1])
            kept.unlink()
        return done.returncode, self._ports.out_of(done.stdout)

    def _serve(self, page: str, command: Command) -> None:
        named = re.search(r"--port (\d+)", command.text)
        port = int(named[1]) if named else PAGE_PORT
        self._stop(port)
        log = self._folder / f"server-{page.replace('/', '-')}-{command.line}.log"
        with log.open("wb") as output:
            server = self._servers[port] = subprocess.Popen(
                ["bash", "-c", f"exec {self._ports.into(command.text)}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        place = f"{page}:{command.line}: {command.text}"
        scheme = "https" if "--certificate " in command.text else "http"
        ready = f"{scheme}://127.0.0.1:{self._ports.free(port)}/readyz"
        give_up_at = time.monotonic() + TIMEOUT_SECONDS
        while not _is_ready(ready):
            if server.poll() is not None or time.monotonic() > give_up_at:
                _fail(f"{place}\nis not ready", command.printed, log.read_text(errors="replace"))
            time.sleep(0.1)
        if command.printed and not matches(command.printed + "...", self._ports.out_of(log.read_text())):
            _fail(place, command.printed, log.read_text())

    def _stop(self, port: int) -> None:
        server = self._servers.pop(port, None)
        if server is not None and server.poll() is None:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def _files_in(entry: Path) -> list[Path]:
    return [path for path in entry.rglob("*") if path.is_file()] if entry.is_dir() else [entry]


def _remembering(command: str) -> str:
    return f"{command}\nstatus=$?\nenv -0 > {KEPT}\nexit $status"


def _linked_tools(home: Path, programs: Path) -> Path:
    tools = home / "bin"
    tools.mkdir()
    for name in TOOLS:
        if (programs / name).exists():
            (tools / name).symlink_to(programs / name)
    return tools


def _is_ready(url: str) -> bool:
    # A certificate that a page makes is known to nobody.
    context = ssl._create_unverified_context() if url.startswith("https") else None
    try:
        with urllib.request.urlopen(url, timeout=5, context=context):
            return True
    except OSError:  # nobody listens yet, or it says that it is starting
        return False


def _fail(place: str, expected: str, printed: str) -> None:
    pytest.fail(f"{place}\nthe page shows:\n{expected}\nit printed:\n{printed}", pytrace=False)
