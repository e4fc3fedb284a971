"""No process of ours imports pandas unless it needs pandas itself."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_CONVERTING = """
import sys
import numpy as np
import schemas.avro.codec
import pyarrow as pa

for values in (np.arange(3), [1, None], ["a"], np.array(["a", None], dtype=object)):
    pa.array(values)
table = pa.table({"a": [1, 2]})
assert table.to_pylist() == [{"a": 1}, {"a": 2}]
assert "pandas" not in sys.modules, "pyarrow has imported pandas"

import pandas

assert table.to_pandas()["a"].tolist() == [1, 2]
"""


def test_arrow_converts_without_pandas_which_can_still_be_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _CONVERTING],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
