"""The file of keys: a line for each, ``NAME TENANT sha256:DIGEST RIGHTS [rate=STEPS/s] [sessions=NUMBER]``.

A tenant of ``-`` is the default one. Empty lines, and those that begin with ``#``, are for people, and stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ostinato.service.access.key import NAME, Key, Right
from ostinato.service.errors import KeysUnreadable

DEFAULT_TENANT = "-"
MAX_BYTES = 64 * 1024 * 1024
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
_LIMITS = ("rate", "sessions")
_HEADER = "# Keys of Ostinato: NAME TENANT DIGEST RIGHTS [rate=STEPS/s] [sessions=NUMBER]; see docs/keys.md\n"


def read_keys(path: Path) -> list[Key]:
    """The keys of a file, in its order.

    Raises:
        KeysUnreadable: it cannot be read, or a line is none; names the line, and nothing of what is in it.
    """
    return keys_in(read_text(path), path)


def read_text(path: Path) -> str:
    """What is in a file; raises KeysUnreadable. What is no file, as a pipe, which nobody may ever write to, is not
    waited for.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, encoding="utf-8-sig") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise KeysUnreadable(f"{path}: it is no file")
            if found.st_size > MAX_BYTES:
                raise KeysUnreadable(f"{path}: it has more than {MAX_BYTES} bytes")
            return file.read()
    except OSError as error:
        raise KeysUnreadable(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise KeysUnreadable(f"{path}: it is no text in UTF-8") from None


def keys_in(text: str, path: Path) -> list[Key]:
    """The keys of a text that stands in a file; raises as ``read_keys``."""
    return [key for key in map(_key_of, _lines(text, path)) if key is not None]


def add_key(path: Path, key: Key) -> None:
    """Put a key behind the others; makes the file, readable by its owner alone, where there is none.

    Raises:
        KeysUnreadable: the file cannot be read or written, or has a key of that name.
    """
    with _changing(path) as lines:
        if any(line[0] == key.name for line in map(str.split, lines) if line):
            raise KeysUnreadable(f"{path} has a key called {key.name!r}; revoke it first, or take another name")
        lines += [] if lines else [_HEADER]
        lines.append(_line_of(key))


def remove_key(path: Path, name: str) -> None:
    """Take a key out of a file.

    Raises:
        KeysUnreadable: the file cannot be read or written, or has no such key.
    """
    with _changing(path) as lines:
        left = [line for line in lines if line.split()[:1] != [name] or line.startswith("#")]
        if len(left) == len(lines):
            there = ", ".join(line.split()[0] for line in lines if line.strip() and not line.startswith("#")) or "none"
            raise KeysUnreadable(f"{path} has no key called {name!r}; there are: {there}")
        lines[:] = left


def _key_of(placed: tuple[str, str]) -> Key | None:
    place, line = placed
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    if len(words) < 4:
        raise KeysUnreadable(f"{place}: a line has NAME TENANT sha256:DIGEST RIGHTS, and perhaps limits")
    name, tenant, digest, rights, *limits = words
    for what, word in (("name", name), ("tenant", tenant)):
        if not NAME.fullmatch(word) and not (what == "tenant" and word == DEFAULT_TENANT):
            raise KeysUnreadable(
                f"{place}: a {what} is 1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit"
            )
    if not (found := _DIGEST.fullmatch(digest)):
        raise KeysUnreadable(f"{place}: the third word is sha256: and 64 hexadecimal digits")
    given = _limits_of(place, limits)
    return Key(
        name=name,
        tenant="" if tenant == DEFAULT_TENANT else tenant,
        rights=rights_of(rights, place),
        digest=bytes.fromhex(found[1]),
        rate=None if "rate" not in given else _rate_of(place, given["rate"]),
        sessions=None if "sessions" not in given else _number_of(place, given["sessions"]),
    )


def rights_of(words: str, place: str = "--rights") -> frozenset[Right]:
    """Rights, written with commas between them.

    Raises:
        KeysUnreadable: one is none.
    """
    known = {right.value: right for right in Right}
    asked = [word.strip() for word in words.split(",")]
    for word in asked:
        if word not in known:
            raise KeysUnreadable(f"{place}: {word[:32]!r} is no right; there are: {', '.join(known)}")
    return frozenset(known[word] for word in asked)


def _limits_of(place: str, words: list[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in _LIMITS or name in given:
            raise KeysUnreadable(f"{place}: a limit is rate=STEPS/s or sessions=NUMBER, each once")
        given[name] = value
    return given


def _rate_of(place: str, word: str) -> float:
    with contextlib.suppress(ValueError):
        rate = float(word.removesuffix("/s"))
        if 0 < rate < math.inf:
            return rate
    raise KeysUnreadable(f"{place}: a rate is steps a second, as 500/s, more than 0")


def _number_of(place: str, word: str) -> int:
    if not (word.isascii() and word.isdigit()) or int(word) < 1:
        raise KeysUnreadable(f"{place}: sessions is a number of at least 1")
    return int(word)


def _line_of(key: Key) -> str:
    words = [key.name, key.tenant or DEFAULT_TENANT, f"sha256:{key.digest.hex()}", key.shown_rights]
    words += [] if key.rate is None else [f"rate={key.rate:g}/s"]
    words += [] if key.sessions is None else [f"sessions={key.sessions}"]
    return " ".join(words) + "\n"


def _lines(text: str, path: Path) -> Iterator[tuple[str, str]]:
    """Each line with its place, of a file whose names and digests are all different."""
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        place = f"{path}:{number}"
        words = line.split()
        if words and not words[0].startswith("#"):
            for word in (words[0], words[2].lower() if len(words) > 2 else words[0] + " "):
                if word in seen:
                    raise KeysUnreadable(f"{place}: a line before has the same {'key' if ':' in word else 'name'}")
                seen.add(word)
        yield place, line


@contextlib.contextmanager
def _changing(path: Path) -> Iterator[list[str]]:
    """The lines of a file, which are put into its place as they are left: all at once, one change after the other."""
    path = path.resolve()  # a link stays one
    try:
        # The folder is what is locked: the file is another one after each change.
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KeysUnreadable(f"{path}: {(error.strerror or str(error)).lower()}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        lines = [line + "\n" for line in read_text(path).splitlines()] if path.exists() else []
        yield lines
        for number, line in enumerate(lines, 1):
            _key_of((f"{path}:{number}", line))
        _replace(path, "".join(lines))
    except OSError as error:
        raise KeysUnreadable(f"{path}: {(error.strerror or str(error)).lower()}") from None
    finally:
        os.close(folder)


def _replace(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
