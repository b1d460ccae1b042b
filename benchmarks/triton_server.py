"""Triton's server, which lies in the wheel of nvidia-pytriton, started without that package."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.errors import SubjectFailed

# What the interpreter of a virtual environment says of itself: its version, its packages, its shared library.
_ASK = (
    "import sys, sysconfig; print('%d.%d' % sys.version_info[:2]); print(sysconfig.get_path('purelib')); "
    "print(sysconfig.get_config_var('LIBDIR'))"
)


def triton_command(python: Path, models: Path, scratch: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """The server's command and environment.

    The Python backend wants the stub of the interpreter's version in its own folder, so a copy is made. The stub takes
    its packages from the virtual environment whose `bin` is first on PATH, and reads no PYTHONPATH.

    Raises:
        SubjectFailed: the wheel has no stub for this version of Python.
    """
    version, packages, libraries = subprocess.run(
        [str(python), "-c", _ASK], capture_output=True, text=True, check=True
    ).stdout.split()
    wheel = Path(packages) / "pytriton" / "tritonserver"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise SubjectFailed(f"the wheel of nvidia-pytriton has no backend for Python {version}")
    backend = scratch / "backends" / "python"
    if not backend.is_dir():
        shutil.copytree(wheel / "backends" / "python", backend)
        shutil.copy(stub, backend)
    command = [
        *(str(wheel / "bin" / "tritonserver"), f"--model-repository={models}"),
        *(f"--backend-directory={backend.parent}", "--http-address=127.0.0.1", f"--http-port={port}"),
        *("--allow-grpc=false", "--allow-metrics=false", "--exit-timeout-secs=5", "--log-info=false"),
    ]
    environment = {
        "LD_LIBRARY_PATH": os.pathsep.join([libraries, str(Path(packages) / "nvidia_pytriton.libs")]),
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
    }
    return command, environment
