"""Split a JSON array or object into its items, even if some of them are not valid JSON."""

from typing import Final

import numpy as np

from pipelines.columnar.jit import Bytes, Int, Int64s, kernel
from pipelines.columnar.json_scan import byte_at, skip_space, skip_string

MALFORMED: Final = -1


@kernel
def split(data: Bytes, begins: Int64s, ends: Int64s) -> Int:
    """Find the items of the array or object `data`; return how many, `MALFORMED` if it is neither.

    An item is what commas separate, outside of texts and of inner arrays and objects. Stops when
    `begins` is full.
    """
    end = len(data)
    p = skip_space(data, np.int64(0), end)
    opening = byte_at(data, p, end)
    if opening != ord("[") and opening != ord("{"):
        return MALFORMED
    closing = ord("]") if opening == ord("[") else ord("}")
    count = np.int64(0)
    while count < len(begins):
        p = skip_space(data, p + 1, end)
        begin = p
        depth = np.int64(0)
        while p < end:
            byte = data[p]
            if byte == ord('"'):
                p = skip_string(data, p, end)
            elif byte == ord("[") or byte == ord("{"):
                depth += 1
            elif byte == ord("]") or byte == ord("}"):
                if depth == 0:
                    break
                depth -= 1
            elif byte == ord(",") and depth == 0:
                break
            p += 1
        byte = byte_at(data, p, end)
        if byte != ord(",") and byte != closing:
            return MALFORMED
        last = p
        while last > begin and (
            data[last - 1] == 32
            or data[last - 1] == 10
            or data[last - 1] == 13
            or data[last - 1] == 9
        ):
            last -= 1
        if last == begin:
            # Nothing between two commas, or `[]`.
            is_empty = byte == closing and count == 0
            return 0 if is_empty and skip_space(data, p + 1, end) == end else MALFORMED
        begins[count] = begin
        ends[count] = last
        count += 1
        if byte == closing:
            return count if skip_space(data, p + 1, end) == end else MALFORMED
    return count
