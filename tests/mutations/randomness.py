"""Where secret randomness comes from."""

from mutation import Mutation

MUTATIONS = (
    Mutation(
        "prg-seed-constant",
        "secrets come from the operating system's generator",
        "runtime/base/prg.py",
        "        key = os.urandom(SEED_BYTES) if seed is None else seed\n",
        "        key = bytes(SEED_BYTES) if seed is None else seed\n",
        (
            "tests/security/test_single_use.py::test_two_generators_say_different_things",
            "tests/security/test_single_use.py::test_he_keys_are_new_in_every_run",
        ),
    ),
    Mutation(
        "mask-from-numpy",
        "no mask comes from a generator that can be guessed",
        "runtime/protocols/multiply.py",
        "    r = p.random(num.bits, (n,))\n",
        "    r = p.both(lambda: np.random.randint(0, 1 << num.bits, (n,), np.uint64))\n",
        ("tests/security/test_source_rules.py::test_the_runtime_draws_from_no_weak_generator",),
    ),
    Mutation(
        "prg-short-words",
        "every bit of a mask is random",
        "runtime/base/prg.py",
        "width = 1 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8",
        "width = 1 if bits <= 9 else 2 if bits <= 17 else 4 if bits <= 33 else 8",
        ("tests/runtime/base/test_prg.py::test_every_bit_of_every_width_is_random",),
    ),
)
