"""`python -m pipelines`: compile the worker's kernels, which its first start would do otherwise."""

import sys

import pipelines.app  # noqa: F401 (imports all that a worker runs, and so registers its kernels)
from pipelines.worker.precompile import compile_for_another, precompile

if __name__ == "__main__":
    if sys.argv[1:]:
        compile_for_another(sys.argv[1:])
    else:
        precompile()
