"""Pods acted out: what Kubernetes is told of a container, done with a process of this machine."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from tests.deploy.rendering import Document, Rendered
from tests.server import CHECKOUT, PLAIN, ServerProcess, free_port
from tests.tools import tool

ENTRY_POINT = str(Path(sys.executable).with_name("ostinato"))
"""What the image's entry point is there (deploy/Dockerfile)."""
POLL_SECONDS = 0.05


@functools.cache
def possible_user(program: str, user: int) -> int | None:
    """As whom this machine lets us run a program without rights: that user; root, where only he may look to where the
    program is; None = as nobody but who we are, since we are not root.
    """
    for each in (user, 0):
        # By way of `env`: what setpriv begins has root's rights to the place of a program, and its children have not.
        command = [*confined(Path("/proc"), each), "env", program, "--version"]
        try:
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return each
        except FileNotFoundError:
            break
    return None


def confined(writable: Path, user: int | None) -> list[str]:
    """The beginning of a command that runs the rest as a user without capabilities, with one folder to write to.

    All of these programs become the one behind them: its process is the one that is started.
    """
    if user is None:
        return []
    mounts = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'
    rights = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return [
        *("unshare", "--mount", "sh", "-c", mounts, str(writable)),
        *("setpriv", f"--reuid={user}", f"--regid={user}", *rights),
    ]


class Disk:
    """The places of a pod in a folder of this machine: what stands at a path there is below ``folder`` here."""

    def __init__(self, folder: Path, owner: int | None) -> None:
        self.folder, self.owner = folder, owner
        self._places: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: str, there: Path | None = None) -> Path:
        """Have a path of the pod stand for a folder; without one, for an empty one that the pod may write to."""
        if there is None:
            there = self.folder / path.strip("/")
            there.mkdir(parents=True, exist_ok=True)
            if self.owner is not None:
                os.chown(there, self.owner, self.owner)
        self._places[path] = str(there)
        return there

    def here(self, text: str) -> str:
        """A text with the paths of this machine in place of the pod's."""
        paths = "|".join(re.escape(path) for path in sorted(self._places, key=len, reverse=True))
        return re.sub(rf"(?<![\w.])({paths})(?![\w.-])", lambda found: self._places[found[1]], text)


class ActedPod(ServerProcess):
    """A pod of the service: its command, environment, user, disk, probes, and the time that it has to go.

    Args:
        rendered: whose pod it is.
        folder: where what it mounts is.
        places: paths of the pod that are already here, as ``{"/run/secrets/redis": folder}``.
        words: what else is another here, as the host and port of its Redis; pattern -> replacement.
    """

    def __init__(
        self,
        rendered: Rendered,
        folder: Path,
        repository: Path,
        *,
        places: Mapping[str, Path] | None = None,
        words: Mapping[str, str] | None = None,
    ) -> None:
        self._container, self._pod = rendered.container, rendered.pod
        user = possible_user(sys.executable, self._pod["securityContext"]["runAsUser"])
        self.disk = Disk(folder, user)
        for mount in self._container["volumeMounts"]:
            self.disk.add(mount["mountPath"], (places or {}).get(mount["mountPath"]))
        self.disk.add(rendered.variables["OSTINATO_REPOSITORY"], repository)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = folder.with_suffix(".log")
        variables = {name: self._here(value, words or {}) for name, value in rendered.variables.items()}
        self.environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            # What the image has: everything in it is compiled, and nobody may write there.
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self.disk.add("/tmp")),
            **{name: os.environ[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE") if name in os.environ},
            **variables,
            "OSTINATO_PORT": str(self.port),
            "OSTINATO_GRPC_PORT": str(free_port()),
            "OSTINATO_HOST": "127.0.0.1",
        }
        self._command = [*confined(folder, user), ENTRY_POINT, *self._container["args"]]
        self.start()

    def _here(self, value: str, words: Mapping[str, str]) -> str:
        value = self.disk.here(value)
        for pattern, replacement in words.items():
            value = re.sub(pattern, replacement, value)
        return value

    def wait_until_ready(self, status: int = 200) -> httpx2.Response:
        """Ask its probes, as often as they may fail; the answer of the last."""
        assert status == 200
        self._ask("startup")
        # Not ready is no reason to kill it; who waits for a store waits as long as for a start.
        return self._ask("readiness", attempts=self._container["startupProbe"]["failureThreshold"])

    def _ask(self, name: str, attempts: int | None = None) -> httpx2.Response:
        probe: Document = self._container[f"{name}Probe"]
        give_up_at = time.monotonic() + probe["periodSeconds"] * (attempts or probe["failureThreshold"])
        said: Any = "nothing"
        with httpx2.Client(timeout=probe["timeoutSeconds"], trust_env=False, **PLAIN) as client:
            while time.monotonic() < give_up_at:
                assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log()}"
                try:
                    said = client.get(self.url + probe["httpGet"]["path"])
                except httpx2.TransportError as error:
                    said = error
                else:
                    if 200 <= said.status_code < 400:
                        return said  # type: ignore[no-any-return]
                time.sleep(POLL_SECONDS)
        raise AssertionError(f"its {name} probe fails: {said}\n{self.log()}")

    def delete(self) -> int:
        """Have it go as a pod goes: ``preStop``, then SIGTERM, and its end; the exit status.

        Raises:
            AssertionError: it has not gone within its grace period, when Kubernetes kills it.
        """
        began_at = time.monotonic()
        subprocess.run(self._container["lifecycle"]["preStop"]["exec"]["command"], check=True)
        self.terminate()
        left = self._pod["terminationGracePeriodSeconds"] - (time.monotonic() - began_at)
        try:
            return self.process.wait(left)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it had not gone within its grace period:\n{self.log()}") from None


class ActedRedis:
    """The pod of the overlay's own Redis, without its exporter: command, configuration, secrets, TLS, probe.

    A context manager.

    Args:
        folder: its volume; what was told it stays there.

    Attributes:
        secrets: the folder with what the Secrets hold; ``places``: where a pod finds them.
    """

    def __init__(self, rendered: Rendered, folder: Path) -> None:
        pod = rendered.documents["StatefulSet/ostinato-redis"]["spec"]["template"]["spec"]
        self._container: Document = pod["containers"][0]
        self.port, self._port_there = free_port(), str(self._container["ports"][0]["containerPort"])
        self.secrets = folder / "secrets"
        folder.mkdir()
        maker = CHECKOUT / "deploy" / "kubernetes" / "components" / "redis" / "make-secrets"
        subprocess.run([str(maker), str(self.secrets)], check=True)
        self.secrets.chmod(0o755)
        for file in self.secrets.iterdir():
            file.chmod(0o644)
        user = possible_user(tool("redis-server"), pod["securityContext"]["runAsUser"])
        self.disk = Disk(folder / "disk", user)
        self.places = dict.fromkeys(("/run/secrets/redis", "/run/secrets/redis-tls"), self.secrets)
        for mount in self._container["volumeMounts"]:
            self.disk.add(mount["mountPath"], self.places.get(mount["mountPath"]))
        configuration = rendered.documents["ConfigMap/ostinato-redis"]["data"]["redis.conf"]
        file = Path(self.disk.here("/etc/redis")) / "redis.conf"
        file.write_text(f"bind 127.0.0.1\n{self._here(configuration)}")
        programs = folder / "programs"
        programs.mkdir()
        for name in ("redis-server", "redis-cli"):
            (programs / name).symlink_to(Path(tool(name)).absolute())
        self._environment = {"PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(self.disk.add("/tmp"))}
        self._confined = confined(self.disk.folder, user)
        self._log_path = folder / "redis.log"
        self.words = {r"//ostinato-redis:\d+": f"//127.0.0.1:{self.port}", "^ostinato-redis$": "127.0.0.1"}

    def _here(self, text: str) -> str:
        return self.disk.here(text).replace(self._port_there, str(self.port))

    def __enter__(self) -> ActedRedis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def run(self) -> subprocess.Popen[bytes]:
        """Its process, just started."""
        command = [self._here(word) for word in self._container["command"]]
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                [*self._confined, *command], env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def start(self) -> None:
        """Start it, and ask its probe until it says yes."""
        self._process = self.run()
        probe = self._container["startupProbe"]
        give_up_at = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"]
        # The name in the certificate is asked for by that name; the port is another here.
        ask = [
            self._here(word).replace("redis-cli", f"redis-cli -h 127.0.0.1 -p {self.port}")
            for word in probe["exec"]["command"]
        ]
        while subprocess.run(ask, env=self._environment, capture_output=True, check=False).returncode != 0:
            assert self._process.poll() is None, self._log_path.read_text()
            assert time.monotonic() < give_up_at, self._log_path.read_text()
            time.sleep(POLL_SECONDS)

    def command_line(self) -> str:
        """What a list of processes shows of it."""
        return Path(f"/proc/{self._process.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()

    def kill(self) -> None:
        """Kill -9."""
        self._process.kill()
        self._process.wait()
