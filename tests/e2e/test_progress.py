"""How far a command is, with what is left; and the lines of two sides that talk."""

from __future__ import annotations

import io
import re
import threading
from contextlib import nullcontext

import numpy as np
from command import called, serving
from frames import tcp_pair
from rich.console import Console
from small import TOKENS
from tiny import tiny_plan, tiny_weights

import ppc as api
from models.tiny_bert import sample
from ppc import cli_results
from ppc.runtime.party.role import Role
from ppc.runtime.service.options import SessionOptions
from ppc.runtime.service.session import Session
from ppc.runtime.service.shelf import open_store


class Told:
    """What is called with (phase, done, total)."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, int]] = []

    def __call__(self, phase: str, done: int, total: int) -> None:
        self.rows.append((phase, done, total))

    def complete(self, phase: str) -> bool:
        """It went on, step by step, to the end."""
        assert {row[0] for row in self.rows} == {phase}
        counts = [done for _, done, _ in self.rows]
        return (
            counts == sorted(counts)
            and len({row[2] for row in self.rows}) == 1
            and counts[-1] == self.rows[0][2]
        )


def test_compiling_of_two_lengths_is_one_row(small):
    told = Told()
    api.compile(small.model, seq_len=[4, TOKENS], progress=told)
    assert told.complete("compiling")
    assert len({done for _, done, _ in told.rows}) > 30


def test_simulating_counts_samples(small):
    told = Told()
    samples = [sample(TOKENS, used=4, seed=seed) for seed in range(20)]
    api.Simulator(small.compiled.plan, small.compiled.weights).run(samples, progress=told)
    assert told.complete("simulated")
    assert told.rows == [("simulated", 16, 20), ("simulated", 20, 20)]


def test_preparing_several_is_one_row(tmp_path):
    """With the phases of all of them in it."""
    told, ends = {role: Told() for role in Role}, dict(zip(Role, tcp_pair(), strict=True))

    def side(role: Role) -> None:
        held = tiny_weights() if role is Role.SERVER else None
        options = SessionOptions(timeout=20, progress=lambda: nullcontext(told[role]))
        store = open_store(tmp_path / role.value, tiny_plan(), held)
        with Session(role, ends[role], tiny_plan(), weights=held, store=store, options=options) as session:
            session.prepare(2)

    threads = [threading.Thread(target=side, args=(role,)) for role in Role]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    steps = len(tiny_plan().steps)
    for role in Role:
        assert told[role].complete("offline")
        assert told[role].rows[-1] == ("offline", 2 * steps, 2 * steps)


def test_a_terminal_is_told_what_is_left(monkeypatch):
    seen = io.StringIO()
    monkeypatch.setattr(cli_results, "log", Console(file=seen, force_terminal=True, width=120))
    with cli_results.Bar() as bar:
        for done in range(1, 4):
            bar("compiling", done, 4)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.getvalue())
    assert re.search(r"compiling .* 75% \d:\d\d:\d\d left about \d:\d\d:\d\d", plain)


def test_a_log_is_told_a_line_a_minute(monkeypatch):
    """Of each phase how far it is, and what is left by the pace of that phase alone."""
    seen, now = io.StringIO(), 0.0
    monkeypatch.setattr(cli_results, "log", Console(file=seen, width=120))
    monkeypatch.setattr(cli_results, "monotonic", lambda: now)
    with cli_results.Bar() as bar:
        for phase, total in (("units", 5), ("tuning 1", 4000)):
            for done in range(1, 6):
                bar(phase, done, total)
                now += 25.0
    assert seen.getvalue().splitlines() == [
        "units: 4 of 5, left about 25 s",
        "tuning 1: 2 of 4,000, left about 1666 min",
        "tuning 1: 5 of 4,000, left about 1665 min",
    ]


def test_the_lines_of_two_sides_have_the_time_the_peer_and_the_plan(small, tmp_path):
    small.compiled.save(tmp_path / "plan.bin", tmp_path / "plan.weights")
    np.savez(tmp_path / "in.npz", **sample(TOKENS, used=6))
    when, plan = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ", small.compiled.plan.hash[:12]
    with serving(tmp_path / "plan.bin") as (server, address):
        server.said(f"{when}serving plan {plan} on {address}")
        words = ("run", tmp_path / "plan.bin", "--role", "client", "--connect", address)
        done = called(*words, "--input", tmp_path / "in.npz")
        assert done.status == 0, done.err
        assert re.search(f"{when}connected to {address}", done.err, re.MULTILINE)
        server.said(rf"{when}127\.0\.0\.1 connected, for plan {plan}")
