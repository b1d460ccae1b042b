"""Hashes of the wheels that the image is made of: what an index sends is what was resolved, or is not installed.

A lock in ``requirements/`` has versions alone, which any system can read; ``NAME.hashes`` next to it has the SHA-256 of
each wheel for the image's Python on Linux, both x86_64 and arm64.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("serving", "image")
PYTHON = "3.11"
ARCHITECTURES = ("x86_64", "aarch64")
GLIBC = range(17, 37)
"""Minor versions of glibc 2 whose wheels run on the image's Debian."""

_PIN = re.compile(r"^([a-z0-9._-]+)==(\S+)(?: \\\n    --hash=sha256:[0-9a-f]{64})+$", re.MULTILINE)


def hashes_of(lock: Path, architecture: str) -> dict[str, str]:
    """``name==version`` of each line of a lock -> the SHA-256 of the wheel that pip takes on such a machine.

    Raises:
        subprocess.CalledProcessError: pip finds no wheel of one of them.
    """
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in GLIBC]
    platforms += [f"manylinux2014_{architecture}", f"linux_{architecture}"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--dry-run"),
            *("--ignore-installed", "--no-deps", "--only-binary", ":all:", "--target", "unused", "--report", "-"),
            *("--implementation", "cp", "--python-version", PYTHON, "--requirement", str(lock)),
            *(word for platform in platforms for word in ("--platform", platform)),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return dict(_hashes_in(report))


def _hashes_in(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for each in report["install"]:
        name = re.sub(r"[-_.]+", "-", each["metadata"]["name"]).lower()
        yield f"{name}=={each['metadata']['version']}", each["download_info"]["archive_info"]["hashes"]["sha256"]


def text_of(name: str, found: list[dict[str, str]]) -> str:
    """The file that pip reads; ``found`` has the hashes of each architecture."""
    lines = [f"# Wheels of {name}.lock for the image, Python {PYTHON} on Linux; written by `make lock`."]
    for pin in sorted(found[0]):
        hashes = sorted({of[pin] for of in found})
        lines += [
            f"{pin} \\",
            *(f"    --hash=sha256:{each} \\" for each in hashes[:-1]),
            f"    --hash=sha256:{hashes[-1]}",
        ]
    return "\n".join(lines) + "\n"


def pins_of(text: str) -> dict[str, str]:
    """Name -> version of such a file."""
    return dict(_PIN.findall(text))


def main() -> None:
    """Write them for each lock of the image."""
    for name in LOCKS:
        lock = ROOT / "requirements" / f"{name}.lock"
        found = [hashes_of(lock, architecture) for architecture in ARCHITECTURES]
        lock.with_suffix(".hashes").write_text(text_of(name, found), "utf-8")


if __name__ == "__main__":
    main()
