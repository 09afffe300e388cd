"""The guard: that it tells one bit, that it tells it, and that rings have room for it."""

from mutation import Mutation

WITHIN = "tests/runtime/protocols/test_within.py"
E2E = "tests/e2e/test_guard.py"

MUTATIONS = (
    Mutation(
        "guard-tells-which-bits",
        "what the client sees of bits that are not all 0 is uniform",
        "runtime/protocols/all_zero.py",
        "    r = p.each(server=lambda: p.prg.ring(BITS, (groups,)))\n",
        "    r = p.each(server=lambda: np.ones(groups, np.uint64))\n",
        (f"{WITHIN}::test_what_the_client_sees_of_another_sum_is_uniform",),
    ),
    Mutation(
        "guard-one-factor-for-all",
        "every group of bits has a factor of its own",
        "runtime/protocols/all_zero.py",
        "    r = p.each(server=lambda: p.prg.ring(BITS, (groups,)))\n",
        "    r = p.each(server=lambda: p.prg.ring(BITS, (1,)).repeat(groups))\n",
        (f"{WITHIN}::test_what_the_client_sees_of_another_sum_is_uniform",),
    ),
    Mutation(
        "guard-bits-in-the-open",
        "what the client says of its bits is masked",
        "runtime/protocols/all_zero.py",
        "lambda: known(h) ^ known(made.x))",
        "lambda: known(h) ^ (known(made.x) >> np.uint64(63)))",
        (f"{WITHIN}::test_what_the_server_hears_of_the_clients_sum_is_masked",),
    ),
    Mutation(
        "guard-answer-given-out",
        "an answer that is not to be trusted is not given out",
        "runtime/service/report.py",
        "        if self.left:\n",
        "        if False:\n",
        (f"{E2E}::test_two_parties_hear_what_the_simulator_says",),
    ),
    Mutation(
        "guard-watches-nothing",
        "what is under a root is watched",
        "passes/watched.py",
        "            return is_octave(op)\n",
        "            return False\n",
        (f"{E2E}::test_all_that_leaves_its_limits_is_noticed_and_nothing_else[norm over octaves]",),
    ),
    Mutation(
        "guard-without-room",
        "scores have room up to twice their limit",
        "passes/watched.py",
        "ROOM = 2.0\n",
        "ROOM = 1.0\n",
        (f"{E2E}::test_scores_however_far_apart_are_noticed",),
    ),
    Mutation(
        "guard-looks-up-alone",
        "a value below its limit is noticed too",
        "runtime/protocols/within.py",
        "        if limits.low is not None and p.role is SERVER:\n",
        "        if limits.low is not None:\n",
        (f"{WITHIN}::test_values_within_limits",),
    ),
)
