"""The ids of `pipelines.tracker.dedup` in columns, and the kernels that work on them.

An id has a slot. The slots of a project form a queue, the oldest first: an id is forgotten when it
is too old, or when there is no room and its project has more ids than any other. A hash table maps
an id to its slot; its key is secret, so that nobody can craft ids that collide.
"""

from typing import Final, NamedTuple

import numpy as np

from pipelines.columnar.jit import Bools, Int, Int32s, Int64s, UInt64s, kernel
from pipelines.columnar.prefetch import FAR, NEAR, prefetch
from pipelines.columnar.siphash import HashKey, siphash

NEVER: Final = -(2**62)
HI, LO, TIME, LINK = range(4)  # of a slot; the link is its project and the next slot of the queue
FIRST, LAST, COUNT, EVICTED, PLACE = range(5)  # of a project; PLACE is its place in the heap
FREE, USED, NEWEST, SIZE, PROJECTS, SWEPT = range(6)  # of all
IDS_PER_PROJECT: Final = 4  # the memory that a project takes, in that of ids
SWEEP: Final = 1_024  # projects that one call looks through for ids that are too old

_IS_FREE: Final = 1 << 63
_NEXT: Final = 0xFFFF_FFFF


class IdTable(NamedTuple):
    """The ids of one partition. Slots are numbered from 1 on; slot 0 stands for none.

    `heap` has the projects in the order of a heap, the one with the most ids at its top.
    """

    key: HashKey
    slots: UInt64s  # shape (n, 4)
    cells: Int32s
    projects: Int64s  # shape (n, 5)
    heap: Int32s
    heads: Int64s


@kernel
def admit(
    table: IdTable,
    window: Int,
    capacity: Int,
    ids: UInt64s,
    projects: Int32s,
    times: Int64s,
    hashes: UInt64s,
    new: Bools,
    begin: Int,
) -> Int:
    """Remember ids from row `begin` on; return the row that needs more slots, or the end."""
    heads = table.heads
    _sweep(table, window)
    for i in range(begin, len(ids)):
        _prefetch(table, hashes, i)
        heads[NEWEST] = max(heads[NEWEST], times[i])
        project = np.int64(projects[i])
        _forget_old(table, window, project)
        new[i] = not _contains(table, hashes[i], ids[i, 0], ids[i, 1], project)
        if not new[i]:
            continue
        while heads[SIZE] > 0 and heads[SIZE] + IDS_PER_PROJECT * heads[PROJECTS] >= capacity:
            _evict(table)
        if heads[FREE] == 0 and heads[USED] == len(table.slots):
            return i
        _append(table, hashes[i], ids[i, 0], ids[i, 1], project, times[i])
    return len(ids)


@kernel
def hash_ids(key: HashKey, ids: UInt64s, projects: Int32s, hashes: UInt64s) -> None:
    """Compute the hashes of ids."""
    for i in range(len(ids)):
        hashes[i] = siphash(key, ids[i, 0], ids[i, 1], np.uint64(projects[i]))


@kernel
def add_projects(table: IdTable, count: Int) -> None:
    """Add projects without ids, so that there are `count`; there must be room."""
    for number in range(table.heads[PROJECTS], count):
        table.projects[number, FIRST] = table.projects[number, LAST] = 0
        table.projects[number, COUNT] = 0
        table.projects[number, EVICTED] = NEVER
        table.projects[number, PLACE] = number
        table.heap[number] = number
    table.heads[PROJECTS] = max(table.heads[PROJECTS], count)


@kernel
def index_all(table: IdTable) -> None:
    """Fill the empty cells of the hash table."""
    for slot in range(1, table.heads[USED] + 1):
        row = table.slots[slot - 1]
        if row[LINK] & np.uint64(_IS_FREE) == 0:
            cell = _home_of(table, slot)
            while table.cells[cell] != 0:
                cell = (cell + 1) & (len(table.cells) - 1)
            table.cells[cell] = slot


@kernel
def copy_all(table: IdTable, out: UInt64s) -> None:
    """Copy all ids to `out`, by project and the oldest first: halves, project's number and time."""
    n = 0
    for project in range(table.heads[PROJECTS]):
        slot = table.projects[project, FIRST]
        while slot != 0:
            row = table.slots[slot - 1]
            out[n, 0], out[n, 1] = row[HI], row[LO]
            out[n, 2], out[n, 3] = project, row[TIME]
            slot = np.int64(row[LINK] & np.uint64(_NEXT))
            n += 1


@kernel
def _prefetch(table: IdTable, hashes: UInt64s, i: Int) -> None:
    mask = len(table.cells) - 1
    if i + FAR < len(hashes):
        prefetch(table.cells, np.int64(hashes[i + FAR]) & mask)
    if i + NEAR < len(hashes):
        prefetch(table.slots, np.int64(table.cells[np.int64(hashes[i + NEAR]) & mask]) - 1)


@kernel
def _home_of(table: IdTable, slot: Int) -> Int:
    """Return the cell at which the search for a slot's id begins."""
    row = table.slots[slot - 1]
    hashed = siphash(table.key, row[HI], row[LO], row[LINK] >> np.uint64(32))
    return np.int64(hashed) & (len(table.cells) - 1)


@kernel
def _contains(table: IdTable, hashed: Int, hi: Int, lo: Int, project: Int) -> bool:
    cell = np.int64(hashed) & (len(table.cells) - 1)
    while table.cells[cell] != 0:
        row = table.slots[table.cells[cell] - 1]
        if row[HI] == hi and row[LO] == lo and np.int64(row[LINK] >> np.uint64(32)) == project:
            return True
        cell = (cell + 1) & (len(table.cells) - 1)
    return False


@kernel
def _append(table: IdTable, hashed: Int, hi: Int, lo: Int, project: Int, time: Int) -> None:
    """Add an id that is not there to the end of its project's queue; there must be a slot."""
    heads, slots, projects = table.heads, table.slots, table.projects
    slot = heads[FREE]
    if slot != 0:
        heads[FREE] = np.int64(slots[slot - 1, LINK] & np.uint64(_NEXT))
    else:
        heads[USED] += 1
        slot = heads[USED]
    slots[slot - 1, HI], slots[slot - 1, LO] = hi, lo
    slots[slot - 1, TIME] = np.uint64(time)
    slots[slot - 1, LINK] = np.uint64(project) << np.uint64(32)
    if projects[project, FIRST] == 0:
        projects[project, FIRST] = slot
    else:
        slots[projects[project, LAST] - 1, LINK] |= np.uint64(slot)
    projects[project, LAST] = slot
    cell = np.int64(hashed) & (len(table.cells) - 1)
    while table.cells[cell] != 0:
        cell = (cell + 1) & (len(table.cells) - 1)
    table.cells[cell] = slot
    heads[SIZE] += 1
    projects[project, COUNT] += 1
    _rise(table, project)


@kernel
def _evict(table: IdTable) -> None:
    """Forget the oldest id of the project with the most ids."""
    project = np.int64(table.heap[0])
    time = np.int64(table.slots[table.projects[project, FIRST] - 1, TIME])
    table.projects[project, EVICTED] = max(table.projects[project, EVICTED], time)
    _forget_first(table, project)


@kernel
def _forget_first(table: IdTable, project: Int) -> None:
    """Forget the oldest id of a project that has one."""
    heads, slots, projects = table.heads, table.slots, table.projects
    slot = projects[project, FIRST]
    _remove_from_index(table, slot)
    projects[project, FIRST] = np.int64(slots[slot - 1, LINK] & np.uint64(_NEXT))
    slots[slot - 1, LINK] = np.uint64(_IS_FREE) | np.uint64(heads[FREE])
    heads[FREE] = slot
    heads[SIZE] -= 1
    projects[project, COUNT] -= 1
    _sink(table, project)


@kernel
def _forget_old(table: IdTable, window: Int, project: Int) -> None:
    """Forget the ids of a project that are older than the window."""
    oldest = table.heads[NEWEST] - window
    while table.projects[project, COUNT] > 0:
        slot = table.projects[project, FIRST]
        if np.int64(table.slots[slot - 1, TIME]) >= oldest:
            break
        _forget_first(table, project)


@kernel
def _sweep(table: IdTable, window: Int) -> None:
    """Forget what is too old in some projects, in turn: those that are idle do not ask for it."""
    heads = table.heads
    for _ in range(min(SWEEP, heads[PROJECTS])):
        if heads[SWEPT] >= heads[PROJECTS]:
            heads[SWEPT] = 0
        _forget_old(table, window, heads[SWEPT])
        heads[SWEPT] += 1


@kernel
def _remove_from_index(table: IdTable, slot: Int) -> None:
    """Remove a slot from the hash table, and close the gap that it leaves."""
    cells, mask = table.cells, len(table.cells) - 1
    gap = _home_of(table, slot)
    while cells[gap] != slot:
        gap = (gap + 1) & mask
    cell = (gap + 1) & mask
    while cells[cell] != 0:
        home = _home_of(table, np.int64(cells[cell]))
        # It may move into the gap unless its home lies between the gap and itself.
        if (cell - home) & mask >= (cell - gap) & mask:
            cells[gap] = cells[cell]
            gap = cell
        cell = (cell + 1) & mask
    cells[gap] = 0


@kernel
def _rise(table: IdTable, project: Int) -> None:
    """Restore the heap after a project has gained ids."""
    place = table.projects[project, PLACE]
    while place > 0:
        parent = (place - 1) // 2
        above = np.int64(table.heap[parent])
        if table.projects[above, COUNT] >= table.projects[project, COUNT]:
            break
        table.heap[place] = above
        table.projects[above, PLACE] = place
        place = parent
    table.heap[place] = project
    table.projects[project, PLACE] = place


@kernel
def _sink(table: IdTable, project: Int) -> None:
    """Restore the heap after a project has lost ids."""
    place, count = table.projects[project, PLACE], table.heads[PROJECTS]
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        below = np.int64(table.heap[child])
        if child + 1 < count:
            other = np.int64(table.heap[child + 1])
            if table.projects[other, COUNT] > table.projects[below, COUNT]:
                child, below = child + 1, other
        if table.projects[below, COUNT] <= table.projects[project, COUNT]:
            break
        table.heap[place] = below
        table.projects[below, PLACE] = place
        place = child
    table.heap[place] = project
    table.projects[project, PLACE] = place
