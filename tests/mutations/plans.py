"""Plans: that both sides hold the same, and what one from a stranger can do."""

from mutation import Mutation

CONNECTION = "tests/runtime/session/test_connection.py"
PLAN = "tests/runtime/plan/test_plan.py"

MUTATIONS = (
    Mutation(
        "other-version",
        "two versions of the protocol do not talk",
        "runtime/session/handshake.py",
        "    if version != VERSION:\n",
        "    if False:\n",
        (f"{CONNECTION}::test_another_version_is_named",),
    ),
    Mutation(
        "other-plan",
        "two plans do not talk",
        "runtime/session/handshake.py",
        "    if hash != mine[2] and isinstance(hash, bytes):\n",
        "    if False and isinstance(hash, bytes):\n",
        (f"{CONNECTION}::test_another_plan_is_named_on_both_sides",),
    ),
    Mutation(
        "other-parameters",
        "two sides that derive other parameters from a plan do not talk",
        "runtime/session/handshake.py",
        "    if parameters == mine[3]:\n",
        "    if True:\n",
        (f"{CONNECTION}::test_other_parameters_are_named",),
    ),
    Mutation(
        "plan-of-another-version",
        "a plan of another version is not read",
        "runtime/plan/file.py",
        "        if version != VERSION:\n",
        "        if False:\n",
        (f"{PLAN}::test_a_plan_of_another_version_is_named_whatever_else_it_holds",),
    ),
    Mutation(
        "plan-damaged",
        "a plan that was changed on its way is refused",
        "runtime/plan/file.py",
        "    if hashlib.blake2b(body, digest_size=DIGEST).digest() != digest:\n",
        "    if len(digest) != DIGEST:\n",
        (f"{PLAN}::test_a_flipped_byte_is_refused",),
    ),
    Mutation(
        "weights-damaged",
        "weights that changed on the disk are not served",
        "runtime/plan/file.py",
        "    if content != weights_digest(plan, weights).hex():\n",
        "    if not content:\n",
        (f"{PLAN}::test_weights_that_changed_on_the_disk_are_refused",),
    ),
    Mutation(
        "plan-reveals-more",
        "a plan reveals nothing but the outputs that it names",
        "runtime/plan/file.py",
        "    if sorted([*guards, *(o.value for o in plan.outputs)]) != revealed:\n",
        "    if not {o.value for o in plan.outputs} <= set(revealed):\n",
        (f"{PLAN}::test_a_plan_may_reveal_only_the_outputs_it_names",),
    ),
    Mutation(
        "onnx-node-of-any-domain",
        "a node that a plan has ONNX Runtime compute is one of ONNX's or ONNX Runtime's own",
        "runtime/base/onnx_node.py",
        '    if domain not in ("", RUNTIMES):\n',
        "    if False:\n",
        ("tests/runtime/base/test_onnx_node.py::test_a_bad_one_is_one_line",),
    ),
    Mutation(
        "plan-of-any-size",
        "every size that a plan asks for is bounded",
        "runtime/plan/step.py",
        "    return len(shape) <= MAX_RANK and all(d >= 1 for d in shape) and prod(shape) <= MAX_ELEMENTS\n",
        "    return True\n",
        (f"{PLAN}::test_what_no_plan_says_is_named", f"{PLAN}::test_an_ill_formed_step_is_named"),
    ),
    Mutation(
        "biases-public",
        "every tensor of the model is the server's, small ones too",
        "frontend/read/known.py",
        '    return Kept.NUMBER if value.size == 1 and value.dtype.kind == "f" else Kept.SECRET\n',
        "    return Kept.SECRET if value.ndim > 1 else Kept.PUBLIC\n",
        (
            "tests/security/test_plan_public.py::test_other_weights_of_the_same_ranges_give_the_same_plan",
            "tests/frontend/read/test_load.py::test_all_is_secret_but_what_belongs_to_a_formula",
        ),
    ),
    Mutation(
        "chat-template-at-large",
        "a chat template runs in a sandbox",
        "runtime/service/chat.py",
        "    made = ImmutableSandboxedEnvironment(\n",
        "    from jinja2 import Environment\n\n    made = Environment(\n",
        ("tests/runtime/service/test_chat.py::test_a_template_gets_at_nothing_and_changes_nothing",),
    ),
)
