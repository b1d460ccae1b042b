"""Addresses of Redis: a server, the Sentinels that know which one it is, or servers of a cluster; and how to get in."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

REDIS_PORT, SENTINEL_PORT = 6379, 26379
SCHEMES = tuple(f"{tls}{kind}" for tls in ("redis", "rediss") for kind in ("", "+sentinel", "+cluster"))
USAGE = (
    "it is redis://USER:PASSWORD@HOST:PORT/DB?timeout_seconds=2, redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or "
    "redis+cluster://HOST:PORT,HOST:PORT, with rediss for TLS, and / ? # @ % in a user or password are percent-encoded"
)

ServerAddress = tuple[str, int]
"""Host and port of a server."""

_HOST = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FILES = {"ca_file", "certificate_file", "key_file"}
_OPTIONS = {
    *("timeout_seconds", "prefix", "password_file", "server_name", *_FILES),
    *("sentinel_username", "sentinel_password", "sentinel_password_file"),
}


@contextmanager
def _naming(file: str | None) -> Iterator[None]:
    """Whatever is wrong with a file is said with its name, and without what is in it."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise OSError(0, "it is no UTF-8", file) from error
    except OSError as error:
        raise OSError(0, error.strerror or type(error).__name__, file) from error


@dataclass(frozen=True)
class Login:
    """Who asks; nobody in particular where there is no password.

    Attributes:
        username: None = the default one.
        password_file: holds the password, read each time that somebody logs in: one that was changed is used.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None

    def words(self) -> list[str]:
        """What ``AUTH`` is told; empty = nothing is to be said.

        Raises:
            OSError: the file cannot be read; it names it.
        """
        password = self.password
        if self.password_file is not None:
            with _naming(self.password_file):
                password = Path(self.password_file).read_text("utf-8").rstrip("\r\n")
        if password is None:
            return []
        return [password] if self.username is None else [self.username, password]


@dataclass(frozen=True)
class Tls:
    """How a connection is encrypted; files are read at each connection.

    Attributes:
        ca_file: certificates of who vouches for servers; None = those that this machine trusts.
        certificate_file, key_file: this client's own; the key may be in the same file.
        server_name: is in the servers' certificates; None = the host that was connected to.
    """

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None

    def context(self) -> ssl.SSLContext:
        """What a connection is made with.

        Raises:
            OSError: a file is not there, or is none of its kind; it names it.
        """
        with _naming(self.ca_file):
            context = ssl.create_default_context(cafile=self.ca_file)
        if self.certificate_file is not None:
            with _naming(
                self.certificate_file if self.key_file is None else f"{self.certificate_file}, {self.key_file}"
            ):
                # A key that is locked would be asked for at a terminal.
                context.load_cert_chain(self.certificate_file, self.key_file, password="")
        return context


@dataclass(frozen=True)
class RedisAddress:
    """Where a Redis is, and how to get in.

    Attributes:
        hosts: the server; or several of a cluster; or where ``service`` is given, Sentinels.
        service: what the Sentinels call the server; None = there are none.
        is_cluster: whether it has to be a cluster; one that is named by a single host is found out.
        database: 0 in a cluster.
        tls: None = nothing is encrypted.
        timeout_seconds: how long a connection, and each answer, may take.
        prefix: what the name of every key begins with, up to the first colon; installations with others share a Redis
            and see nothing of each other.
    """

    hosts: tuple[ServerAddress, ...]
    service: str | None = None
    is_cluster: bool = False
    database: int = 0
    login: Login = Login()
    sentinel_login: Login = Login()
    tls: Tls | None = None
    timeout_seconds: float = 2.0
    prefix: str = "ostinato"

    def __str__(self) -> str:
        """It without secrets."""
        kind = "+sentinel" if self.service is not None else "+cluster" if self.is_cluster else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"redis{'s' if self.tls else ''}{kind}://{hosts}{f'/{self.service}' if self.service else ''}"

    @property
    def session_key(self) -> bytes:
        """What the key of a session is, but for the session's id at its end."""
        return f"{self.prefix}:session:".encode()

    @property
    def versions_key(self) -> bytes:
        """The key of a set of ``model/version``: those that any session was opened with. It never expires."""
        return f"{self.prefix}:versions".encode()

    @property
    def document_key(self) -> bytes:
        """The key of what operators decided. It never expires."""
        return f"{self.prefix}:decisions".encode()

    def at(self, server: ServerAddress) -> RedisAddress:
        """The address of one server behind it."""
        return replace(self, hosts=(server,), service=None, is_cluster=False)


def redis_address(state: str) -> RedisAddress:
    """Where a Redis is, by its URL.

    Raises:
        ValueError: it is not one; what is wrong is said without the address, which may hold a password.
    """
    try:
        return _read(state)
    except ValueError as error:
        scheme = state.partition(":")[0]
        raise ValueError(f"--state {scheme if scheme in SCHEMES else 'redis'}://...: {error}; {USAGE}") from None


def _read(state: str) -> RedisAddress:
    scheme, _, rest = state.partition("://")
    tls, _, kind = scheme.partition("+")
    if "#" in rest:
        raise ValueError("there is a # in it")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    user, at, hosts = authority.rpartition("@")
    servers = tuple(_server(host, SENTINEL_PORT if kind == "sentinel" else REDIS_PORT) for host in hosts.split(","))
    options = _options(query)
    service, database = _path(path, has_service=kind == "sentinel")
    is_cluster = kind == "cluster" or (kind == "" and len(servers) > 1)
    if is_cluster and database:
        raise ValueError("a cluster has no database but 0")
    if kind != "sentinel" and any(name.startswith("sentinel_") for name in options):
        raise ValueError("it has options for Sentinels, and names none")
    return RedisAddress(
        hosts=servers,
        service=service,
        is_cluster=is_cluster,
        database=database,
        login=_login(user if at else None, options.get("password_file")),
        sentinel_login=_checked(
            Login(*(options.get(f"sentinel_{name}") for name in ("username", "password", "password_file"))),
            "for the Sentinels",
        ),
        tls=_tls(options, is_on=tls == "rediss"),
        timeout_seconds=_seconds(options.get("timeout_seconds")),
        prefix=_prefix(options.get("prefix")),
    )


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if name not in _OPTIONS:
            # What is no name may be the rest of a password that has a ? in it.
            shown = f" {name}" if re.fullmatch("[a-z_]{1,30}", name) else ""
            raise ValueError(f"there is no option{shown}; there is {', '.join(sorted(_OPTIONS))}")
        if not value or name in options:
            raise ValueError(f"{name} is to be given once, and not empty")
        options[name] = unquote(value)
    return options


def _path(path: str, *, has_service: bool) -> tuple[str | None, int]:
    service = None
    if has_service:
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("it names no service, which is what the Sentinels call the server")
        service = unquote(service)
    database = path.strip("/")
    if not re.fullmatch("[0-9]{0,6}", database):
        raise ValueError("the database is a number")
    return service, int(database or 0)


def _server(written: str, default_port: int) -> ServerAddress:
    if not written or written.startswith(":"):
        raise ValueError("it names no host")
    found = _HOST.fullmatch(written)
    port = int(found[3] or default_port) if found else 0
    if not found or not 0 < port < 65_536:
        raise ValueError("its port is no number from 1 to 65535")
    return unquote(found[1] or found[2]), port


def _login(user: str | None, password_file: str | None) -> Login:
    username, colon, password = (user or "").partition(":")
    return _checked(
        Login(unquote(username) or None, unquote(password) if colon else None, password_file), "before the host"
    )


def _checked(login: Login, where: str) -> Login:
    if login.username is not None and login.password is None and login.password_file is None:
        raise ValueError(f"there is a user and no password {where}")
    if login.password is not None and login.password_file is not None:
        raise ValueError(f"there is a password {where} and another in a file")
    return login


def _tls(options: dict[str, str], *, is_on: bool) -> Tls | None:
    given = {name: options[name] for name in (*sorted(_FILES), "server_name") if name in options}
    if not is_on:
        if given:
            raise ValueError(f"{', '.join(given)} is for rediss, which is TLS")
        return None
    if "key_file" in given and "certificate_file" not in given:
        raise ValueError("there is a key_file and no certificate_file")
    return Tls(**given)


def _prefix(written: str | None) -> str:
    if written is None:
        return RedisAddress.prefix
    if not _PREFIX.fullmatch(written):
        raise ValueError("its prefix is 1 to 64 of the letters a to z and A to Z, digits, _, . and -")
    return written


def _seconds(written: str | None) -> float:
    if written is None:
        return RedisAddress.timeout_seconds
    try:
        seconds = float(written)
    except ValueError:
        raise ValueError("its timeout_seconds is no number") from None
    if not 0 < seconds < math.inf:
        raise ValueError("timeout_seconds is above 0")
    return seconds
