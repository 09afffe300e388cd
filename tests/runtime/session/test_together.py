"""Material that is made for several tokens at once: each has its own part, and none outlives its text."""

from __future__ import annotations

import socket
import threading
from functools import partial

import msgspec
import numpy as np
import pytest
from decoder import PROMPT
from tiny import TOKENS, WIDTH, rows_product, tiny_feeds, tiny_plan, tiny_weights

from ppc.backend.cost import following
from ppc.backend.report import describe, summary
from ppc.runtime.base.errors import BadPlan
from ppc.runtime.party.ahead import Ahead
from ppc.runtime.party.party import Party
from ppc.runtime.party.role import CLIENT, SERVER, Role
from ppc.runtime.plan import steps
from ppc.runtime.plan.file import decode as decode_plan
from ppc.runtime.protocols.row_products import numbers_at_client, numbers_at_server, rows_at_both
from ppc.runtime.service.decoding import decode, programs
from ppc.runtime.service.sampling import Sampler
from ppc.runtime.service.session import Session
from ppc.runtime.service.shelf import open_store
from ppc.runtime.session.connection import FRESH, Connection, Program, predict_all, predict_cost
from ppc.runtime.session.engines import standard
from ppc.runtime.session.handshake import InferenceTerms, PreparationTerms
from ppc.runtime.session.inputs import ClientInput
from ppc.runtime.session.simulate import simulate

KEY = ("plan", 3)


def test_each_piece_is_taken_once_and_in_order():
    ahead = Ahead()
    ahead.put(KEY, ["a", "b"])
    assert ahead.left == {(KEY, 2)}
    assert [ahead.take(KEY), ahead.take(KEY)] == ["a", "b"]
    assert not ahead.has(KEY)
    with pytest.raises(KeyError):
        ahead.take(KEY)


def test_none_is_put_where_some_are_left():
    ahead = Ahead()
    ahead.put(KEY, ["a"])
    with pytest.raises(RuntimeError, match="step 3: some are left"):
        ahead.put(KEY, ["b"])


def test_printing_it_shows_no_material():
    ahead = Ahead()
    ahead.put(KEY, ["12345"])
    assert repr(ahead) == "Ahead(1 pieces, <secret>)"


long = pytest.mark.long


def rehearsed(decoder, *lengths: str) -> Connection:
    """A connection that has run a "prompt" or a "token" after the other, with nobody at home."""
    plan, connection = decoder.compiled.plan, Connection(Party(None, engines=standard))
    for each in lengths:
        connection.infer(plan if each == "token" else plan.shorter[-1], InferenceTerms())
    return connection


def left(connection: Connection) -> set[int]:
    return {count for _, count in connection.party.ahead.left}


@long
def test_what_is_left_is_for_the_tokens_that_follow(decoder):
    plan = decoder.compiled.plan
    connection = rehearsed(decoder, "prompt", "token", "token")
    assert left(connection) == {plan.options.together - 2}
    assert len(connection.party.ahead.left) == len(plan.together)


@long
def test_a_new_text_begins_with_nothing(decoder):
    assert left(rehearsed(decoder, "prompt", "token", "prompt")) == set()


@long
def test_nothing_is_left_where_the_channel_ends_or_something_is_prepared(decoder):
    connection = rehearsed(decoder, "prompt", "token")
    connection.prepare(decoder.compiled.plan, PreparationTerms(1, dry=True))
    assert left(connection) == set()
    connection = rehearsed(decoder, "prompt", "token")
    connection.rest()
    assert left(connection) == set()


@long
def test_the_mean_is_of_the_first_and_all_others(decoder):
    plan = decoder.compiled.plan
    count = plan.options.together
    whole = predict_all([plan] * count)
    priced = [predict_cost(plan, Program(further=True)), *[predict_cost(plan, following(plan))] * (count - 1)]
    for phase in ("offline", "online"):
        for foretold, one in list(zip(priced, whole, strict=True))[1:]:
            assert foretold.total(phase).bytes == one.total(phase).bytes
    first = predict_cost(plan, FRESH)
    sizes = [sum(each.total(phase).bytes for phase in ("offline", "online")) for each in (first, priced[1])]
    said = summary(plan)["together"]
    assert said["inferences"] == count
    assert said["bytes"] == pytest.approx((sizes[0] + (count - 1) * sizes[1]) / count, abs=1)
    assert f"of {count} in a row" in describe(plan)
    assert summary(plan.shorter[0])["together"] is None


class Talk:
    """Two sessions over one socket, and what each makes of rows that are kept."""

    def __init__(self, decoder, monkeypatch, stores=None) -> None:
        self.made: dict[Role, list] = {role: [] for role in Role}
        self.used: dict[Role, list] = {role: [] for role in Role}
        self._decoder, self._stores = decoder, stores or dict.fromkeys(Role)
        self._role = threading.local()
        for name, kept in (("cached_apart", self.made), ("cached", self.used)):
            real = getattr(steps, name)
            monkeypatch.setattr(
                steps, name, partial(self._seen, real, kept, 0 if name == "cached_apart" else 3)
            )

    def _seen(self, real, kept, at, *args):
        if (role := getattr(self._role, "is_", None)) is not None and getattr(
            args[at], "b", None
        ) is not None:
            kept[role].append(args[at])
        return real(*args)

    def _session(self, role, end):
        self._role.is_ = role
        compiled = self._decoder.compiled
        weights = compiled.weights if role is SERVER else None
        return Session(role, end, compiled.plan, weights=weights, store=self._stores[role])

    def texts(self, *prompts, most=3, after=lambda outcome: None):
        """Tokens, and outcomes at the client, of each prompt; ``after`` is called with each of these."""
        ends, plan = socket.socketpair(), self._decoder.compiled.plan

        def serve():
            with self._session(SERVER, ends[0]) as session:
                while session.answer() is not None:
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        with self._session(CLIENT, ends[1]) as session:

            def answer(length, feeds):
                outcome = session.infer(ClientInput.at(length, feeds))
                after(outcome)
                return outcome

            found = [list(decode(plan, ids, most, answer, Sampler())) for ids in prompts]
        thread.join(timeout=30)
        assert not thread.is_alive()
        return found

    def prepare(self, count):
        ends = socket.socketpair()

        def run(role, end):
            with self._session(role, end) as session:
                session.prepare(count, None if role is SERVER else self._decoder.compiled.plan)

        thread = threading.Thread(target=run, args=(SERVER, ends[0]))
        thread.start()
        run(CLIENT, ends[1])
        thread.join(timeout=30)
        assert not thread.is_alive()


def tiny_together(count):
    """`tiny_plan`, whose sums of squares and products of rows are made for several inferences at once."""
    plan = tiny_plan()
    program = list(plan.steps)
    names = [step.name for step in program]
    squares, products = names.index("/norm/squares"), names.index("/norm/mul")
    rows = rows_product(rows_at_both(count * TOKENS, WIDTH, 4))
    left = rows_product(numbers_at_server(count * TOKENS, WIDTH, 4))
    right = rows_product(numbers_at_client(count * TOKENS, WIDTH, 8))
    replace = msgspec.structs.replace
    program[squares] = replace(program[squares], product=rows, together=count)
    program[products] = replace(program[products], left=left, right=right, together=count)
    return replace(plan, steps=tuple(program), options=replace(plan.options, together=count))


def test_each_inference_has_its_part_of_what_the_first_has_made():
    plan, ends = decode_plan(tiny_together(3).body), socket.socketpair()
    wanted = simulate(plan, tiny_weights(), tiny_feeds())

    def serve():
        with Session(SERVER, ends[0], plan, weights=tiny_weights()) as session:
            while session.answer() is not None:
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    with Session(CLIENT, ends[1], plan) as session:
        found = [session.infer(ClientInput.at(plan, tiny_feeds())) for _ in range(4)]
    thread.join(timeout=30)
    assert not thread.is_alive()
    sent = [each.report["offline"]["sent"] for each in found]
    for each, foretold in zip(found, predict_all([plan] * 4), strict=True):
        assert each.report["offline"]["sent"] == foretold.total("offline").client
        assert np.abs(each.outputs["z"] - wanted[35].reshape(each.outputs["z"].shape)).max() < 0.2
    assert sent[1] == sent[2] < min(sent[0], sent[3])


def test_products_for_others_than_the_plan_says_are_refused():
    plan = tiny_together(3)
    options = msgspec.structs.replace(plan.options, together=2)
    with pytest.raises(BadPlan, match="not made for 2 inferences together"):
        decode_plan(msgspec.structs.replace(plan, options=options).body)


@long
def test_masks_of_rows_are_others_for_each_text(decoder, monkeypatch):
    talk = Talk(decoder, monkeypatch)
    talk.texts(PROMPT, PROMPT[2:])
    kept = sum(isinstance(each, steps.MatMul) for each in decoder.compiled.plan.steps)
    for role, made in talk.made.items():
        assert len(made) == 2 * kept
        assert len({each.b.tobytes() for each in made}) == 2 * kept
        assert len({each.a.tobytes() for each in talk.used[role]}) == len(talk.used[role]) == 2 * 2 * kept


@long
def test_a_file_of_material_is_for_the_tokens_of_one_text(decoder, monkeypatch, tmp_path):
    plan, weights = decoder.compiled.plan, decoder.compiled.weights
    stores = {
        role: open_store(tmp_path / role.value, plan, weights if role is SERVER else None) for role in Role
    }
    talk = Talk(decoder, monkeypatch, stores)
    talk.prepare(2)
    assert [len(store.ids(9)) for store in stores.values()] == [2, 2]
    found = talk.texts(PROMPT, PROMPT[2:], PROMPT[1:])
    for ids, text in zip((PROMPT, PROMPT[2:], PROMPT[1:]), found, strict=True):
        assert [token for token, _ in text] == decoder.greedy(ids, 3)
    assert [len(store.ids(9)) for store in stores.values()] == [0, 0]
    programs_run = [[outcome.done.program for _, outcome in text] for text in found]
    assert [[(each.prepared, each.at) for each in text] for text in programs_run] == [
        [(False, 0), (True, 0), (True, 1)],
        [(False, 0), (True, 0), (True, 1)],
        [(False, 0), (False, 0), (False, 0)],
    ]
    for text in found:
        for _, outcome in text:
            for step in outcome.report["steps"]:
                assert (step["sent"], step["received"]) == (
                    step["predicted"]["sent"],
                    step["predicted"]["received"],
                )
    spans = {each.b.tobytes() for each in talk.used[CLIENT]}
    kept = sum(isinstance(each, steps.MatMul) for each in plan.steps)
    assert len(spans) == 3 * kept, "no mask serves two texts"


@long
def test_material_that_turns_up_within_a_text_takes_the_place_of_what_was_left(
    decoder, monkeypatch, tmp_path
):
    """Masks of rows go with what is open under them."""
    plan, weights = decoder.compiled.plan, decoder.compiled.weights
    stores = {
        role: open_store(tmp_path / role.value, plan, weights if role is SERVER else None) for role in Role
    }
    talk, ran = Talk(decoder, monkeypatch, stores), list[Program]()

    def after(outcome):
        ran.append(outcome.done.program)
        if len(ran) == 2:
            talk.prepare(1)

    (found,) = talk.texts(PROMPT[:4], most=12, after=after)
    assert [token for token, _ in found] == decoder.greedy(PROMPT[:4], 12)
    assert [each.prepared for each in ran] == [False] * 2 + [True] * 8 + [False] * 2


@long
def test_prepared_tokens_are_counted_in_files(decoder):
    plan = decoder.compiled.plan
    assert [plan.files(count) for count in (1, 8, 9)] == [1, 1, 2]
    assert plan.shorter[0].files(3) == 3
    assert [each.options.together for each in programs(plan, len(PROMPT), 3)] == [1, 8, 8]
