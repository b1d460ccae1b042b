from __future__ import annotations

import subprocess
import sys

IN_A_PROCESS_OF_ITS_OWN = """
import sys
from ostinato.service.edge.arrow import without_pandas

without_pandas.settle()
import numpy as np
import pyarrow as pa
import ostinato.service.edge.arrow.answers

assert pa.array(np.arange(3)).to_numpy().tolist() == [0, 1, 2]
assert pa.table({"a": [1]}).to_pydict() == {"a": [1]}
assert "pandas" not in sys.modules
import pandas
"""


def test_a_worker_imports_no_pandas_and_others_may() -> None:
    done = subprocess.run([sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
