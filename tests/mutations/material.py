"""Prepared material: claimed once, before a byte is read, and for its owner's eyes alone."""

from mutation import Mutation

FILE = "runtime/session/material.py"
ONCE = "runtime/session/once.py"
TESTS = "tests/runtime/session/test_material.py"
HELD = "runtime/session/held.py"
HELD_TESTS = "tests/runtime/session/test_held.py"

MUTATIONS = (
    Mutation(
        "material-claimed-twice",
        "what is claimed is gone",
        ONCE,
        "                os.rename(ready, claimed)\n",
        "                os.link(ready, claimed)\n",
        (f"{TESTS}::test_what_is_put_is_claimed_once",),
    ),
    Mutation(
        "material-read-before-claim",
        "the name is gone for good before a byte is read",
        ONCE,
        "                    self.sync()\n                    return _whole(file, load)\n",
        "                    made = _whole(file, load)\n                    self.sync()\n"
        "                    return made\n",
        (f"{TESTS}::test_a_claim_lasts_before_a_byte_is_read",),
    ),
    Mutation(
        "material-for-all-eyes",
        "only the owner can read material",
        ONCE,
        "os.O_EXCL | os.O_CLOEXEC, 0o600)",
        "os.O_EXCL | os.O_CLOEXEC, 0o644)",
        (f"{TESTS}::test_only_the_owner_can_read",),
    ),
    Mutation(
        "material-damaged",
        "material that was changed on disk is not used",
        ONCE,
        "    if file.read(DIGEST) != state.digest():\n",
        "    if len(file.read(DIGEST)) != DIGEST:\n",
        (f"{TESTS}::test_a_flipped_bit_is_found",),
    ),
    Mutation(
        "material-of-other-weights",
        "material that was made with other weights is not used",
        FILE,
        '            (head.weights, here.weights, "of other weights"),\n',
        "",
        (f"{TESTS}::test_material_of_another_is_passed_over_and_left",),
    ),
    Mutation(
        "material-not-offered",
        "a server picks none but the material that it was offered",
        "runtime/session/handshake.py",
        "        if body not in self._offered:\n",
        "        if not body:\n",
        ("tests/runtime/session/test_prepare.py::test_a_server_cannot_pick_what_was_not_offered",),
    ),
    Mutation(
        "held-read-twice",
        "material that was held is taken once",
        HELD,
        "made, self._steps[index] = self._steps[index], None",
        "made = self._steps[index]",
        (f"{HELD_TESTS}::test_all_comes_back_once",),
    ),
    Mutation(
        "held-in-the-clear",
        "what waits on disk says nothing",
        HELD,
        "self._file.write(cipher.update(piece))",
        "self._file.write(piece)",
        (f"{HELD_TESTS}::test_the_file_says_nothing",),
    ),
    Mutation(
        "held-under-one-counter",
        "two steps are encrypted by different parts of the key's stream",
        HELD,
        'spilled.counter.to_bytes(8, "big") + bytes(8)',
        "bytes(16)",
        (f"{HELD_TESTS}::test_the_file_says_nothing",),
    ),
)
