"""Work, messages and waiting, against times that one can say by hand."""

from __future__ import annotations

import pytest

from ppc.runtime.cost.events import Await, Mark, Send, Work, run_events
from ppc.runtime.net.network import Network

FAR = Network("far", bandwidth=100.0, rtt=2.0)
APART = {"a": "one", "b": "two", "w": "one"}
TOGETHER = dict.fromkeys("abw", "one")


def ends(actors, hosts=APART, cores=4.0, network=FAR):
    marked = {name: [*events, Mark("end")] for name, events in actors.items()}
    return {name: time for (name, _), time in run_events(marked, hosts, cores, network).items()}


def test_work_takes_its_time():
    assert ends({"a": [Work(3.0), Work(0.5)], "b": []}) == {"a": 3.5, "b": 0.0}


def test_a_message_takes_its_bytes_and_half_a_round_trip_and_its_speaker_goes_on():
    got = ends({"a": [Work(1.0), Send("m", 50)], "b": [Await("m"), Work(4.0)]})
    assert got == pytest.approx({"a": 1.0, "b": 1.0 + 0.5 + 1.0 + 4.0})


def test_a_message_that_is_there_already_is_not_waited_for():
    assert ends({"a": [Send("m", 50)], "b": [Work(9.0), Await("m")]})["b"] == pytest.approx(9.0)


def test_messages_of_one_direction_queue_for_the_link():
    got = ends({"a": [Send("m", 100), Send("n", 100)], "b": [Await("n")]})
    assert got["b"] == pytest.approx(1.0 + 1.0 + 1.0)


def test_directions_do_not_share_the_link():
    got = ends({"a": [Send("m", 100), Await("n")], "b": [Send("n", 100), Await("m")]})
    assert got == pytest.approx({"a": 2.0, "b": 2.0})


def test_threads_of_one_party_talk_for_nothing():
    assert ends({"a": [Send("m"), Await("n")], "b": [], "w": [Await("m"), Work(2.0), Send("n")]})["a"] == 2.0


@pytest.mark.parametrize(("cores", "expected"), [(1.0, 6.0), (2.0, 3.0), (3.0, 2.0), (8.0, 2.0)])
def test_actors_of_one_host_share_its_cores(cores, expected):
    got = ends({name: [Work(2.0)] for name in "abw"}, TOGETHER, cores)
    assert got == pytest.approx(dict.fromkeys("abw", expected))


def test_a_core_is_shared_only_while_two_want_it():
    got = ends({"a": [Work(1.0)], "b": [Work(3.0)]}, TOGETHER, 1.0)
    assert got == pytest.approx({"a": 2.0, "b": 4.0})


def test_hosts_do_not_share():
    assert ends({"a": [Work(2.0)], "b": [Work(2.0)]}, APART, 1.0) == {"a": 2.0, "b": 2.0}


def test_waiting_for_what_nobody_says_is_a_fault():
    with pytest.raises(RuntimeError, match="b wait for what nobody sends"):
        ends({"a": [Work(1.0)], "b": [Await("m")]})


def test_times_that_cannot_be_added_exactly_come_to_an_end():
    a = [event for i in range(300) for event in (Work(0.1 / 3), Send(("a", i), 7), Await(("b", i)))]
    b = [event for i in range(300) for event in (Await(("a", i)), Work(1e-9), Send(("b", i), 1))]
    got = ends({"a": a, "b": b})
    assert got["a"] == pytest.approx(300 * (0.1 / 3 + 0.07 + 1.0 + 1e-9 + 0.01 + 1.0))
