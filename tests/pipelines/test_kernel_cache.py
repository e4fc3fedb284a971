"""Several processes can save machine code at once."""

import subprocess
import sys
from pathlib import Path

from pipelines.columnar.kernel_cache import KernelCacheFile

ROOT = Path(__file__).parents[2]
SAVING = """
import sys
from pipelines.columnar.kernel_cache import KernelCacheFile

file = KernelCacheFile(sys.argv[1], "kernel", "stamp")
for number in range(50):
    file.save((sys.argv[2], number), f"{sys.argv[2]} {number}")
"""


def test_no_entry_is_lost_or_mistaken_when_processes_save_at_once(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    saving = [
        subprocess.Popen([sys.executable, "-c", SAVING, str(tmp_path), name], cwd=ROOT)
        for name in names
    ]
    assert [process.wait() for process in saving] == [0, 0, 0]
    file = KernelCacheFile(str(tmp_path), "kernel", "stamp")
    for name in names:
        for number in range(50):
            assert file.load((name, number)) == f"{name} {number}"
