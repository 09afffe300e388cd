"""Connections: how long a peer can hold a side, and what ends with a fault."""

from mutation import Mutation

DEADLINE = "tests/runtime/net/test_deadline.py"
REFUSED = "tests/runtime/service/test_refused.py"

MUTATIONS = (
    Mutation(
        "deadline-by-the-piece",
        "a message that trickles is given up",
        "runtime/net/deadline.py",
        "min(self._last + self.timeout, self._start + self._allowed)",
        "self._last + self.timeout",
        (f"{DEADLINE}::test_a_message_that_trickles_is_given_up",),
    ),
    Mutation(
        "deadline-for-reading-alone",
        "a peer that does not read is given up",
        "runtime/net/tcp.py",
        "            due = Deadline(memoryview(data).nbytes, self._timeout, self._slowest)\n",
        "            due = Deadline(memoryview(data).nbytes, 20 * self._timeout)\n",
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
        "        opening = min(timeout, OPENING_SECONDS) if role is SERVER else None\n",
        "        opening = None\n",
        (f"{DEADLINE}::test_strangers_hold_a_server_no_longer_than_its_opening_takes[plain]",),
    ),
    Mutation(
        "opening-of-tls-as-long-as-all",
        "nor does one who trickles a handshake of TLS",
        "runtime/net/tls.py",
        "            self._shake(timeout, min(timeout, OPENING_SECONDS))\n",
        "            self._shake(timeout, timeout)\n",
        (f"{DEADLINE}::test_strangers_hold_a_server_no_longer_than_its_opening_takes[tls]",),
    ),
    Mutation(
        "inputs-encoded-late",
        "what does not fit is refused before the server is called",
        "runtime/service/client.py",
        "        given = self._given(feeds)\n"
        "        with self._session(address, self._shelf.there()) as session:\n"
        "            return session.infer(given)\n",
        "        with self._session(address, self._shelf.there()) as session:\n"
        "            return session.infer(self._given(feeds))\n",
        (f"{REFUSED}::test_a_bad_input_is_refused_before_anyone_is_called",),
    ),
    Mutation(
        "weights-checked-late",
        "weights beyond a bound of the plan are refused before a server listens",
        "runtime/service/server.py",
        "        check_promises(weights, plan)\n",
        "",
        (f"{REFUSED}::test_weights_beyond_a_promise_are_refused_before_listening",),
    ),
    Mutation(
        "fault-goes-on",
        "a connection on which something failed is of no further use",
        "runtime/service/session.py",
        "        except BaseException:\n            self.close()\n            raise\n",
        "        except BaseException:\n            raise\n",
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
        "tls-of-any-version",
        "a server speaks TLS 1.3 alone",
        "runtime/net/tls.py",
        "        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        "        context.minimum_version = ssl.TLSVersion.TLSv1_3\n",
        "        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n",
        ("tests/runtime/net/test_tls.py::test_only_tls_13_is_spoken",),
    ),
)
