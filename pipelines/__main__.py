"""`python -m pipelines`: compile the worker's kernels, which its first start would do otherwise."""

import pipelines.app  # noqa: F401 (imports all that a worker runs, and so registers its kernels)
from pipelines.worker.precompile import precompile

if __name__ == "__main__":
    precompile()
