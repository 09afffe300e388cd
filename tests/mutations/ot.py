"""Oblivious transfer: hashes, masks of choices, and that a correlation is used once."""

from mutation import Mutation

MUTATIONS = (
    Mutation(
        "ot-hash-untweaked",
        "keys of two OTs with equal blocks differ",
        "runtime/native/ot_hash.cpp",
        "_mm_set_epi64x(static_cast<long long>(j), index)",
        "_mm_set_epi64x(static_cast<long long>(j), index & 0)",
        ("tests/runtime/ot/test_ot_keys.py::test_the_index_enters_the_hash",),
    ),
    Mutation(
        "iknp-choices-bare",
        "IKNP's message hides the receiver's choices",
        "runtime/native/ot_iknp.cpp",
        "message[w] = _mm_xor_si128(_mm_xor_si128(t[w], other[w]), columns[w]);",
        "message[w] = columns[w];",
        ("tests/runtime/ot/test_ot_extension.py::test_the_message_hides_the_choices",),
    ),
    Mutation(
        "iknp-stream-twice",
        "every extension of IKNP takes a new part of its columns' streams",
        "runtime/ot/extension.py",
        "        self._counter += groups\n",
        "",
        ("tests/runtime/ot/test_ot_extension.py::test_no_column_stream_is_used_twice",),
    ),
    Mutation(
        "ot-index-twice",
        "every OT has an index of its own",
        "runtime/ot/pool.py",
        "        first = self._taken\n",
        "        first = 0\n",
        ("tests/security/test_single_use.py::test_every_ot_is_taken_once",),
    ),
    Mutation(
        "ot-blocks-twice",
        "a block is handed out once",
        "runtime/ot/pool.py",
        "out, self._ready = self._ready[:n], self._ready[n:]",
        "out = self._ready[:n]",
        ("tests/security/test_single_use.py::test_no_cot_block_is_handed_out_twice",),
    ),
    Mutation(
        "ot-reserve-twice",
        "what seeds the next silent extension is not handed out besides",
        "runtime/ot/pool.py",
        "            self._ready = made[spent:]\n",
        "            self._ready = made[:count - spent]\n",
        ("tests/runtime/ot/test_ot_pool.py::test_what_an_iteration_spends_is_never_handed_out",),
    ),
    Mutation(
        "base-point-unchecked",
        "base OTs take points of the prime-order group only",
        "runtime/ot/base.py",
        "        if not group.crypto_core_ed25519_is_valid_point(point):\n",
        "        if len(point) != POINT:\n",
        (
            "tests/runtime/ot/test_ot_base.py::test_a_receiver_refuses_an_invalid_base_point",
            "tests/runtime/ot/test_ot_base.py::test_a_sender_refuses_an_invalid_answer",
        ),
    ),
    Mutation(
        "base-tag-unbound",
        "base OTs' keys are bound to the whole transcript and its direction",
        "runtime/ot/base.py",
        "    return blake2b(direction + big_a + answer, ",
        "    return blake2b(big_a, ",
        ("tests/runtime/ot/test_ot_base.py::test_the_tag_binds_direction_and_every_byte_of_the_transcript",),
    ),
    Mutation(
        "lpn-parameters-weaker",
        "LPN parameters are the published ones",
        "runtime/ot/silent.py",
        'B11 = Lpn("b11", trees=1170,',
        'B11 = Lpn("b11", trees=1070,',
        ("tests/runtime/ot/test_ot_silent.py::test_the_parameters_are_the_published_ones",),
    ),
)
