"""What is carried from program to program: for one connection, within the rows that both sides count."""

from mutation import Mutation

MUTATIONS = (
    Mutation(
        "state-left-behind",
        "what was kept is gone with its connection",
        "runtime/session/connection.py",
        "        self._cache.clear()\n",
        "        pass\n",
        ("tests/runtime/service/test_decoding.py::test_nothing_is_kept_when_a_session_ends",),
    ),
    Mutation(
        "state-of-an-earlier-prompt",
        "a prompt begins anew",
        "runtime/session/cache.py",
        "            self.clear()\n        elif",
        "            pass\n        elif",
        ("tests/runtime/session/test_cache.py::test_a_prompt_begins_anew_and_a_step_needs_room",),
    ),
    Mutation(
        "state-beyond-its-rows",
        "a step that does not read all rows is refused",
        "runtime/session/cache.py",
        "        elif self.rows > plan.states.held:\n",
        "        elif False:\n",
        ("tests/runtime/session/test_cache.py::test_a_prompt_begins_anew_and_a_step_needs_room",),
    ),
    Mutation(
        "state-printed",
        "printing a cache shows no row",
        "runtime/session/cache.py",
        '        return f"Cache({self.rows} rows, <secret>)"\n',
        '        return f"Cache({self._states})"\n',
        ("tests/runtime/session/test_cache.py::test_printing_it_shows_no_row",),
    ),
)
