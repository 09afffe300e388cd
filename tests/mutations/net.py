"""Connections: how long a peer can hold a side, and what ends with a fault."""

from mutation import Mutation

DEADLINE = "tests/runtime/net/test_deadline.py"
STRANGERS = "test_strangers_cost_a_client_nothing_and_are_gone_when_their_opening_is_over"
SERVING = "tests/runtime/service/test_serving.py"
GOING_ON = "tests/runtime/service/test_going_on.py"
PARKING = "tests/runtime/service/test_parking.py"
FRONT = "tests/runtime/service/test_front.py"
GATE = "tests/runtime/service/test_gate.py"
BEATS = "tests/runtime/net/test_beats.py"
REFUSED = "tests/runtime/service/test_refused.py"

MUTATIONS = (
    Mutation(
        "deadline-by-the-piece",
        "a message that trickles is given up",
        "runtime/net/deadline.py",
        "min(self._last + self.timeout, self._start + self._allowed, self._until)",
        "self._last + self.timeout",
        (f"{DEADLINE}::test_a_message_that_trickles_is_given_up",),
    ),
    Mutation(
        "deadline-for-reading-alone",
        "a peer that does not read is given up",
        "runtime/net/tcp.py",
        "due = Deadline(size, self._timeout, self._slowest, excused=self._busy_peer(size))",
        "due = Deadline(size, 20 * self._timeout)",
        (f"{DEADLINE}::test_a_peer_that_does_not_read_holds_nobody",),
    ),
    Mutation(
        "deadline-too-short",
        "an honest peer behind a slow link is not cut off",
        "runtime/net/deadline.py",
        "        self._allowed = timeout + size / slowest\n",
        "        self._allowed = timeout\n",
        (
            f"{DEADLINE}::test_a_link_of_the_slowest_rate_carries_any_message",
            f"{DEADLINE}::test_a_large_message_on_a_slow_link_is_waited_for",
        ),
    ),
    Mutation(
        "opening-as-long-as-all",
        "a stranger who says nothing holds a server for seconds",
        "runtime/service/session.py",
        "self._channel.within(options.idle if heard else min(options.timeout, OPENING_SECONDS))",
        "self._channel.within(options.idle)",
        (f"{DEADLINE}::{STRANGERS}[plain]", f"{SERVING}::test_strangers_cost_the_others_nothing[trickling]"),
    ),
    Mutation(
        "opening-of-tls-as-long-as-all",
        "nor does one who trickles a handshake of TLS",
        "runtime/net/tls.py",
        "            self._shake(timeout, min(timeout, OPENING_SECONDS))\n",
        "            self._shake(timeout, timeout)\n",
        (f"{DEADLINE}::{STRANGERS}[tls]",),
    ),
    Mutation(
        "busy-for-ever",
        "a peer that only says that it is alive is given up",
        "runtime/net/channel.py",
        "if time.monotonic() - begun < BUSY_SECONDS:",
        "if time.monotonic() - begun < 20 * BUSY_SECONDS:",
        (f"{BEATS}::test_a_peer_that_only_says_that_it_is_alive_is_given_up",),
    ),
    Mutation(
        "one-client-takes-all",
        "one client has no more than its share of the connections",
        "runtime/service/host.py",
        "            if own >= self._limits.share:\n",
        "            if False:\n",
        (f"{SERVING}::test_one_client_does_not_take_all_connections",),
    ),
    Mutation(
        "idle-time-for-all",
        "what is prepared ahead keeps no inference waiting",
        "runtime/service/gate.py",
        "        if not idle:\n",
        "        if True:\n",
        (f"{GATE}::test_who_comes_for_idle_time_alone_leaves_a_place_and_never_waits",),
    ),
    Mutation(
        "turns-as-they-come",
        "a client that asks much does not keep another waiting",
        "runtime/service/gate.py",
        "key=lambda each: busy[each.client]",
        "key=lambda each: 0",
        (f"{GATE}::test_one_who_asks_much_does_not_keep_another_waiting",),
    ),
    Mutation(
        "memory-without-bound",
        "what runs at once is predicted to fit into memory",
        "runtime/service/gate.py",
        " and held + ticket.memory <= self._limits.memory",
        "",
        (f"{GATE}::test_memory_counts_and_the_first_is_not_overtaken_for_ever",),
    ),
    Mutation(
        "goes-on-out-of-step",
        "a connection goes on over another channel only where both sides have ended the same programs",
        "runtime/service/parking.py",
        "found.kept.ticket == ticket",
        "found.kept.ticket.id == ticket.id",
        (f"{GOING_ON}::test_one_side_that_has_ended_more_does_not_go_on",),
    ),
    Mutation(
        "goes-on-as-another",
        "a connection goes on with the client that it was with",
        "runtime/service/parking.py",
        "found.name == name and ",
        "",
        (f"{PARKING}::test_a_ticket_is_good_once_and_for_its_client_alone",),
    ),
    Mutation(
        "goes-on-twice",
        "a kept connection is given out once",
        "runtime/service/parking.py",
        "self._places.pop(ticket.id, None)",
        "self._places.get(ticket.id)",
        (
            f"{PARKING}::test_a_ticket_is_good_once_and_for_its_client_alone[in memory]",
            f"{GOING_ON}::test_nobody_goes_on_twice_from_where_a_connection_stood[False]",
        ),
    ),
    Mutation(
        "goes-on-twice-from-a-file",
        "nor is its file, whoever dies when",
        "runtime/session/once.py",
        "                os.rename(ready, claimed)\n",
        "                os.link(ready, claimed)\n",
        (
            f"{PARKING}::test_who_dies_while_it_takes_one_leaves_nothing_to_be_taken_again",
            f"{GOING_ON}::test_nobody_goes_on_twice_from_where_a_connection_stood[True]",
        ),
    ),
    Mutation(
        "goes-on-with-old-masks",
        "who goes on makes other OTs than were made",
        "runtime/ot/extension.py",
        "        self._counter = state.counter\n",
        "        self._counter = 0\n",
        (f"{GOING_ON}::test_no_ot_is_extended_or_taken_twice_over_many_servers",),
    ),
    Mutation(
        "sent-on-to-anyone",
        "a server to which a client is sent on is called by the name of who sent it",
        "runtime/service/lines.py",
        "return self._stream(front[0], sock)",
        "return self._stream(where[0], sock)",
        (f"{FRONT}::test_the_server_needs_a_certificate_for_the_name_of_the_front[False]",),
    ),
    Mutation(
        "sent-on-in-the-middle",
        "a server that has said anything else sends nobody on",
        "runtime/service/session.py",
        "if self._reach is None or self.heard:",
        "if self._reach is None:",
        (f"{FRONT}::test_who_has_said_anything_else_sends_nobody_on",),
    ),
    Mutation(
        "sent-on-unknown",
        "who is on no list is told no address",
        "runtime/service/serving.py",
        "        if self._register is not None:\n            self._register.known(guest.name)\n        where",
        "        where",
        (f"{FRONT}::test_who_is_not_on_the_list_is_told_no_address",),
    ),
    Mutation(
        "inputs-encoded-late",
        "what does not fit is refused before the server is called",
        "runtime/service/client.py",
        "        given = self._given(feeds)\n"
        "        with self._line(address) as line:\n"
        "            return line.ask(partial(Session.infer, given=given))\n",
        "        with self._line(address) as line:\n"
        "            return line.ask(lambda session: session.infer(self._given(feeds)))\n",
        (f"{REFUSED}::test_a_bad_input_is_refused_before_anyone_is_called",),
    ),
    Mutation(
        "weights-checked-late",
        "weights beyond a bound of the plan are refused before a server listens",
        "runtime/service/offer.py",
        "        check_promises(weights, plan)\n",
        "",
        (f"{REFUSED}::test_weights_beyond_a_promise_are_refused_before_listening",),
    ),
    Mutation(
        "refused-in-the-middle-goes-on",
        "what a server refuses when it has begun ends the connection",
        "runtime/service/session.py",
        " or self._channel.received > heard:\n",
        ":\n",
        ("tests/runtime/service/test_filling.py::test_a_refusal_is_no_fault_unless_the_server_has_begun",),
    ),
    Mutation(
        "fault-goes-on",
        "a connection on which something failed is of no further use",
        "runtime/service/session.py",
        "                self._faulty = True\n                self.close()\n",
        "                pass\n",
        ("tests/runtime/service/test_session.py::test_a_fault_ends_the_connection_for_good",),
    ),
    Mutation(
        "certificate-unchecked",
        "a client talks to a server that its authority vouches for, and to no other",
        "runtime/net/tls.py",
        "        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname\n",
        "        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
        "        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n",
        (
            "tests/runtime/net/test_tls.py::test_an_untrusted_server_is_refused_by_both",
            "tests/runtime/net/test_tls.py::test_the_name_of_the_server_is_checked",
        ),
    ),
    Mutation(
        "clients-unasked",
        "a server with an authority for clients talks to those alone that it vouches for",
        "runtime/net/tls.py",
        "            context.verify_mode = ssl.CERT_REQUIRED\n",
        "",
        ("tests/runtime/net/test_tls.py::test_a_client_that_nobody_vouches_for_is_told_why",),
    ),
    Mutation(
        "quota-by-the-process",
        "a client has no more inferences a day by asking at the same time",
        "runtime/service/register.py",
        "if per_day is not None and done > per_day:",
        "if per_day is not None and done > 2 * per_day:",
        (
            "tests/runtime/service/test_register.py::test_a_client_has_so_many_a_day",
            "tests/runtime/service/test_register.py::test_nobody_gets_more_by_asking_at_the_same_time",
        ),
    ),
    Mutation(
        "material-for-anyone",
        "what was prepared with one client is used with no other",
        "runtime/service/host.py",
        "        shelf = offer.shelf_of(guest.name)\n",
        "        shelf = offer.shelf_of(None)\n",
        ("tests/e2e/test_serve_cli.py::test_nobody_gets_what_another_client_prepared",),
    ),
    Mutation(
        "tls-of-any-version",
        "a server speaks TLS 1.3 alone",
        "runtime/net/tls.py",
        "        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "        context.minimum_version = ssl.TLSVersion.TLSv1_3\n",
        "        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n",
        ("tests/runtime/net/test_tls.py::test_only_tls_13_is_spoken",),
    ),
)
