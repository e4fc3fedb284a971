"""The arrays that models are made of."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.columnar.jit import Int64s

# A float inside a kernel. `Any`, because type checkers reject sound arithmetic on NumPy scalars.
Float: TypeAlias = Any
Float64s: TypeAlias = NDArray[np.float64]
# Feature rows, of shape (rows, features). Production has float32; float64 is learned as it is.
Rows: TypeAlias = NDArray[np.float32 | np.float64]
# The state of a model or of its quality, by name.
Arrays: TypeAlias = Mapping[str, Float64s | Int64s]
