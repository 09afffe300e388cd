"""Token after token: which program comes next, what its inputs are, and what two parties make of it."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest
from decoder import MOST, PROMPT, PROMPTS
from sides import serving_here
from tiny import tiny_plan

import ppc
from ppc.runtime.base.errors import BadInput, NetworkFault
from ppc.runtime.party.role import CLIENT, SERVER
from ppc.runtime.plan.file import InputSpec
from ppc.runtime.service.decoding import Rows, decode, longest, programs
from ppc.runtime.service.sampling import Sampler
from ppc.runtime.service.session import Session
from ppc.runtime.session.connection import predict_all
from ppc.runtime.session.inputs import ClientInput

SPECS = [
    InputSpec("input_ids", (1, 3), "int"),
    InputSpec("attention_mask", (1, 8), "int"),
    InputSpec("position_ids", (1, 3), "int"),
]


def row(feeds, name):
    return feeds[name].ravel().tolist()


def test_padding_stands_in_front_of_a_prompt():
    feeds = Rows().feeds(SPECS, 5, 3, [7, 8])
    assert row(feeds, "input_ids") == [0, 7, 8]
    assert row(feeds, "attention_mask") == [0, 0, 0, 0, 0, 0, 1, 1]
    assert row(feeds, "position_ids") == [0, 0, 1]


def test_rows_of_padding_and_those_to_come_are_masked():
    rows = Rows()
    rows.add(3, 2)
    feeds = rows.feeds(SPECS, 5, 3, [9, 9, 9])
    assert row(feeds, "attention_mask") == [0, 1, 1, 0, 0, 1, 1, 1]
    assert row(feeds, "position_ids") == [2, 3, 4]


def test_places_may_count_rows():
    rows = Rows(counting="rows")
    assert row(rows.feeds(SPECS, 5, 3, [7, 8]), "position_ids") == [0, 1, 2]
    rows.add(3, 2)
    assert row(rows.feeds(SPECS, 5, 3, [9, 9, 9]), "position_ids") == [3, 4, 5]


def test_an_input_that_is_of_no_text_is_refused():
    for spec in (InputSpec("pixels", (1, 3), "float"), InputSpec("attention_mask", (8, 8), "int")):
        with pytest.raises(BadInput, match=f"{spec.name!r} of shape"):
            Rows().feeds([spec], 5, 3, [1])


def test_printing_what_is_known_of_rows_tells_no_token():
    assert repr(Rows([True, False])) == "Rows(2, <secret>)"


def test_a_plan_without_states_generates_nothing():
    with pytest.raises(BadInput, match="compile the model with --generate"):
        decode(tiny_plan(), [1], 1, lambda length, feeds: None, lambda outputs: 0)


long = pytest.mark.long


@long
def test_programs_are_the_smallest_that_hold_what_is_there(decoder):
    plan = decoder.compiled.plan
    told = [(each.states.held, each.states.added) for each in programs(plan, len(PROMPT), 4)]
    last = plan.states.held
    assert told == [(0, PROMPTS[1]), (last, 1), (last, 1), (last, 1)]
    assert next(programs(plan, 2, 1)).states.added == PROMPTS[0]


@long
def test_room_is_for_as_many_as_were_asked_for(decoder):
    plan = decoder.compiled.plan
    assert longest(plan, PROMPTS[1]) == MOST
    assert longest(plan, PROMPTS[0]) == MOST + PROMPTS[1] - PROMPTS[0]


@long
@pytest.mark.parametrize(
    ("ids", "most", "why"),
    [
        ([], 1, "no token"),
        ([1] * (PROMPTS[1] + 1), 1, "the plan holds 8; compile with a longer --prompt-len"),
        ([1] * PROMPTS[1], MOST + 1, "9 tokens after a prompt of 8 are more than the 8"),
    ],
)
def test_what_the_plan_has_no_room_for_is_refused_before_anything_is_computed(decoder, ids, most, why):
    with pytest.raises(BadInput, match=why):
        decode(decoder.compiled.plan, ids, most, lambda length, feeds: pytest.fail("ran"), Sampler())


@long
def test_such_a_plan_runs_by_generating_alone(decoder):
    with pytest.raises(BadInput, match="use `ppc generate`"):
        ppc.simulate(decoder.compiled.plan, decoder.compiled.weights, {"input_ids": np.zeros((1, 1), int)})


@long
def test_the_simulator_says_what_floats_say(decoder):
    said = list(PROMPT)
    for token, answer in ppc.simulate_generation(
        decoder.compiled.plan, decoder.compiled.weights, PROMPT, MOST
    ):
        wanted = decoder.logits(said)
        assert np.abs(answer.outputs["logits"].ravel() - wanted).max() < 0.05 * wanted.std()
        assert token == wanted.argmax()
        said.append(token)
    assert len(said) == len(PROMPT) + MOST


@long
def test_a_token_to_stop_at_is_the_last(decoder):
    said = decoder.greedy(PROMPT, MOST)
    got = [
        token
        for token, _ in ppc.simulate_generation(
            decoder.compiled.plan, decoder.compiled.weights, PROMPT, MOST, stop=[said[2]]
        )
    ]
    assert got == said[: said.index(said[2]) + 1]


def generated(decoder, most, prompts=(PROMPT,)):
    """What a client's session over a socket yields for one prompt after the other."""
    plan, weights = decoder.compiled.plan, decoder.compiled.weights
    ends = socket.socketpair()
    served: list[object] = []

    def serve():
        with Session(SERVER, ends[0], plan, weights=weights) as session:
            while (outcome := session.answer()) is not None:
                served.append(outcome)

    thread = threading.Thread(target=serve)
    thread.start()
    with Session(CLIENT, ends[1], plan) as session:

        def answer(length, feeds):
            return session.infer(ClientInput.at(length, feeds))

        found = [list(decode(plan, ids, most, answer, Sampler())) for ids in prompts]
    thread.join(timeout=30)
    assert not thread.is_alive()
    return found, served


@pytest.fixture(scope="module")
def run(decoder):
    return generated(decoder, 4, (PROMPT, PROMPT[2:]))


@long
def test_two_parties_say_what_floats_say_and_a_second_prompt_begins_anew(decoder, run):
    first, second = run[0]
    assert [token for token, _ in first] == decoder.greedy(PROMPT, 4)
    assert [token for token, _ in second] == decoder.greedy(PROMPT[2:], 4)


@long
def test_a_whole_generation_costs_what_it_costs_with_nobody_at_home(decoder, run):
    found, served = run
    plan = decoder.compiled.plan
    plans = [each for ids in (PROMPT, PROMPT[2:]) for each in programs(plan, len(ids), 4)]
    outcomes = [outcome for tokens in found for _, outcome in tokens]
    for foretold, mine, theirs in zip(predict_all(plans), outcomes, served, strict=True):
        for ledger in (mine.done.ledger, theirs.done.ledger):
            costs = {place: (cost.server, cost.client, cost.flights) for place, cost in ledger.rows.items()}
            assert costs == {
                place: (cost.server, cost.client, cost.flights) for place, cost in foretold.rows.items()
            }


@long
def test_reports_foretell_it_too(run):
    for _, outcome in run[0][0]:
        for step in outcome.report["steps"]:
            seen, foretold = step, step["predicted"]
            assert (seen["sent"], seen["received"]) == (foretold["sent"], foretold["received"])


@long
def test_nothing_is_kept_when_a_session_ends(decoder):
    ends = socket.socketpair()
    session = Session(CLIENT, ends[1], decoder.compiled.plan)
    cache = session._connection._cache
    cache.rows = 3
    session.close()
    ends[0].close()
    assert cache.rows == 0


@long
def test_a_client_that_is_gone_ends_the_server_at_once(decoder):
    plan, weights = decoder.compiled.plan, decoder.compiled.weights
    ends = socket.socketpair()
    faults: list[Exception] = []

    def serve():
        with Session(SERVER, ends[0], plan, weights=weights) as session:
            try:
                session.answer()
            except Exception as fault:
                faults.append(fault)

    thread = threading.Thread(target=serve)
    thread.start()
    ends[1].close()
    thread.join(timeout=10)
    assert isinstance(faults[0], NetworkFault)


@long
def test_a_client_takes_tokens_as_they_come(decoder):
    server = ppc.Server(decoder.compiled.plan, decoder.compiled.weights)
    with serving_here(server) as (address, _):
        tokens = ppc.Client(decoder.compiled.plan).generate(PROMPT, 3, address=address)
        assert [token for token, _ in tokens] == decoder.greedy(PROMPT, 3)
