"""A hundred clients for minutes: every answer right, and the service no larger at the end than early on."""

from __future__ import annotations

import sys

import pytest
from small import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from serving import soak, tiny_files, tiny_samples


@pytest.mark.slow
def test_a_hundred_clients_leave_a_service_as_it_was(tmp_path):
    found = soak(tiny_files(tmp_path), tiny_samples(), clients=100, inferences=1000, at_once=4)
    assert (found.wrong, found.faults) == (0, [])
    early, late = found.marks[1].server, found.marks[-2].server
    assert late.memory < 1.1 * early.memory
    assert late.descriptors < early.descriptors + 10
    assert found.after.descriptors < 12
    assert found.after.threads < 4
    assert found.grown < found.predicted
