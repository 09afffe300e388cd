"""In a process of its own, since a heap is the whole process's."""

import platform
import subprocess
import sys

import pytest

HELD = """
import numpy as np
from ppc.runtime.base import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

if {asked}:
    heap.give_back_always()
del (large := [np.ones(2_000_000)])[0]  # of whose freeing glibc learns
before = resident()
kept, freed = [], []
for _ in range(200):
    freed.append(np.ones(100_000))
    kept.append(np.ones(5_000))  # lies behind it, as what is still needed does
freed.clear()
print(resident() - before)
"""


def left(asked: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", HELD.format(asked=asked)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others let go by themselves")
def test_what_is_free_goes_back():
    assert left(asked=False) > 100e6, "this C library needs no asking"
    assert left(asked=True) < 50e6
