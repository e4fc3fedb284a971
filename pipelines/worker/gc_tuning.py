"""How often Python looks for cycles of garbage: seldom, and not among what is there for good.

A batch makes a hundred thousand objects, and lets go of them, without a cycle. As Python is set, it
would look through them a hundred times meanwhile, and through all modules now and then: half of the
time that reading takes.
"""

import gc
from typing import Final

_MADE_AND_KEPT: Final = 200_000  # more than a batch has at any moment


def settle() -> None:
    """Call it once all is loaded: what there is by then is never looked through again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MADE_AND_KEPT, 10, 10)
