"""A set of 64-bit hashes that takes 8 bytes a member: sorted, with what changed since beside it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_NOBODY: Final[Hashes] = np.empty(0, np.uint64)
# How many changes are kept beside the sorted hashes: at least this many, or an eighth of them.
_MIN_CHANGES: Final = 4_096
_CHANGES_PER_MEMBER: Final = 8


class MemberSet:
    """The hashes of a segment's members.

    One thread reads and applies changes; another may call `merged` between two changes.
    """

    __slots__ = ("_added", "_removed", "_sorted")

    def __init__(self) -> None:
        self._sorted = _NOBODY
        self._added: set[int] = set()
        self._removed: set[int] = set()

    def __contains__(self, hashed: int) -> bool:
        if hashed in self._added:
            return True
        return hashed not in self._removed and self._is_sorted_in(hashed)

    def __len__(self) -> int:
        return len(self._sorted) + len(self._added) - len(self._removed)

    def apply(self, changes: dict[int, bool]) -> None:
        """Add the hashes whose value is true, and remove the others."""
        for hashed, is_member in changes.items():
            was_sorted_in = self._is_sorted_in(hashed)
            if is_member:
                self._removed.discard(hashed)
                if not was_sorted_in:
                    self._added.add(hashed)
            else:
                self._added.discard(hashed)
                if was_sorted_in:
                    self._removed.add(hashed)

    def merged(self, changes: dict[int, bool]) -> Hashes | None:
        """Return all hashes after `changes`, sorted; None while there are few changes.

        Takes time linear in the members, and changes nothing: `replace` does.
        """
        pending = len(self._added) + len(self._removed) + len(changes)
        if pending < _MIN_CHANGES + len(self._sorted) // _CHANGES_PER_MEMBER:
            return None
        added = {hashed for hashed, is_member in changes.items() if is_member}
        removed = changes.keys() - added
        kept = self._sorted
        if gone := (self._removed | removed) - added:
            kept = np.setdiff1d(kept, _array(gone), assume_unique=True)
        return np.union1d(kept, _array((self._added - removed) | added))

    def replace(self, merged: Hashes) -> None:
        """Hold what `merged` has returned."""
        self._sorted, self._added, self._removed = merged, set(), set()

    def _is_sorted_in(self, hashed: int) -> bool:
        value = np.uint64(hashed)
        place = int(self._sorted.searchsorted(value))
        return place < len(self._sorted) and bool(self._sorted[place] == value)


def _array(hashes: set[int]) -> Hashes:
    return np.fromiter(hashes, np.uint64, len(hashes))
