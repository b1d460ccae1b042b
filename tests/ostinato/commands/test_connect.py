"""`ostinato connect` as a terminal starts it, without a service or a broker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_check_ends_where_no_service_answers(tmp_path: Path) -> None:
    # A connector that is to run waits for its service; who only asks whether a file is right does not.
    file = tmp_path / "connect.toml"
    file.write_text(
        '[service]\nmodel = "load"\nurl = "http://127.0.0.1:1"\n[source]\nkind = "stdin"\n[sink]\nkind = "stdout"\n'
        '[mapping]\nkey = "id"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "ostinato.cli", "connect", str(file), "--check"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "the service at http://127.0.0.1:1 does not answer" in done.stderr
