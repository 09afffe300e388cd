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
    Mutation(
        "masks-outlive-their-text",
        "masks of rows are others for each text",
        "runtime/session/connection.py",
        "        if plan.states.added and not plan.states.held:  # masks of rows go with them\n",
        "        if False:\n",
        (
            "tests/runtime/session/test_together.py::test_masks_of_rows_are_others_for_each_text",
            "tests/runtime/session/test_together.py::test_a_new_text_begins_with_nothing",
        ),
    ),
    Mutation(
        "masks-outlive-their-channel",
        "nothing that was made for a text is left when its channel ends",
        "runtime/session/connection.py",
        "        self._forget()\n        for source in",
        "        for source in",
        (
            "tests/runtime/session/test_together.py"
            "::test_nothing_is_left_where_the_channel_ends_or_something_is_prepared",
        ),
    ),
    Mutation(
        "piece-taken-twice",
        "what is made together is taken once",
        "runtime/party/ahead.py",
        "        piece = pieces.popleft()\n",
        "        piece = pieces[0]\n",
        ("tests/runtime/session/test_together.py::test_each_piece_is_taken_once_and_in_order",),
    ),
    Mutation(
        "row-opened-before-it-is-written",
        "of rows to come 0 is sent, and not their mask",
        "runtime/protocols/cached.py",
        "        x[:, written:] = by_rows(known(known(made).b))[:, written:]\n",
        "        pass\n",
        ("tests/runtime/protocols/test_cached.py::test_a_row_is_opened_once_and_none_before_it_is_written",),
    ),
    Mutation(
        "mask-of-what-changes",
        "a plan cannot have rows masked once that are not what is kept",
        "runtime/plan/file.py",
        "            if rows_axis(plan.steps, forms, step.b) != axis:\n",
        "            if False:\n",
        ("tests/runtime/plan/test_kept.py::test_a_plan_that_would_mask_once_what_changes_is_refused",),
    ),
)
