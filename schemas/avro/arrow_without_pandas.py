"""Keeps pyarrow from importing pandas, which takes a second of CPU time and 46 MB a process.

pyarrow looks for pandas once when it first converts an array of NumPy, and once when it first
converts Python objects, in case they are a Series or NaT. We pass it neither. Pandas is in most
environments all the same, because River requires it.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pyarrow as pa


def let_arrow_find_no_pandas() -> None:
    """Make pyarrow look for pandas now, and find none; does nothing where pandas is imported.

    Others can import pandas afterwards. pyarrow itself imports it only to convert to pandas.
    """
    if "pandas" in sys.modules:
        return
    hiding = _HidingPandas()
    sys.meta_path.insert(0, hiding)
    try:
        pa.array(np.empty(0))
        pa.array([0])
    finally:
        sys.meta_path.remove(hiding)


class _HidingPandas:
    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse to find pandas; leave any other module to the next finder."""
        if fullname == "pandas":
            raise ModuleNotFoundError(f"{fullname} is hidden from pyarrow", name=fullname)
        return None
