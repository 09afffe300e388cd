"""Protocols: what is opened is masked, by a mask that is random."""

from mutation import Mutation

UNIFORM = "tests/runtime/protocols/test_shares_uniform.py"
MASKED = "tests/security/test_messages_masked.py"

MUTATIONS = (
    Mutation(
        "linear-input-bare",
        "what a linear layer opens is masked",
        "runtime/protocols/matmul.py",
        "lambda: num.wrap(x.ring - known(made.r)))\n    mine",
        "lambda: num.wrap(x.ring))\n    mine",
        (f"{UNIFORM}::test_shares_and_messages_of_a_linear_layer_are_uniform",),
    ),
    Mutation(
        "product-mask-zero",
        "what a product of shares opens is masked; with a mask of zeros its result is right all the same",
        "runtime/protocols/multiply.py",
        "    u = p.random(bits, (g, n))\n",
        "    u = p.both(lambda: np.zeros((g, n), np.uint64))\n",
        (f"{UNIFORM}::test_shares_and_messages_are_uniform", f"{MASKED}::test_messages_hide_fixed_shares"),
    ),
    Mutation(
        "matmul-mask-zero",
        "the server's masks of a product of shared matrices are random; with zeros the result is right",
        "runtime/protocols/matmul.py",
        "    a = p.each(server=lambda: p.prg.later(left.ell, (batch, m, k)))\n",
        "    a = p.each(server=lambda: p.prg.later(0, (batch, m, k)))\n",
        (f"{UNIFORM}::test_shares_and_messages_of_a_product_of_shares_are_uniform",),
    ),
    Mutation(
        "truncation-sign-bare",
        "a truncation tells no bit of its operand",
        "runtime/protocols/truncate.py",
        "return self._msb() ^ known(self._made.r)",
        "return self._msb()",
        (
            f"{UNIFORM}::test_messages_of_a_truncation_are_uniform",
            f"{MASKED}::test_messages_hide_fixed_shares",
        ),
    ),
    Mutation(
        "truncation-bit-zero",
        "what a truncation opens is masked by the sender of its OT too; with zeros the result is right",
        "runtime/protocols/truncate.py",
        "self.r = p.random(1, (half.count,)) if self._sends else",
        "self.r = np.zeros(half.count, np.uint64) if self._sends else",
        (
            f"{UNIFORM}::test_messages_of_a_truncation_are_uniform",
            f"{MASKED}::test_messages_hide_fixed_shares",
        ),
    ),
    Mutation(
        "scaled-mask-zero",
        "what a product with the server's factors opens is masked",
        "runtime/protocols/multiply.py",
        "    r = p.each(client=lambda: p.prg.ring(num.bits, (rows.groups, rows.length)))\n",
        "    r = p.each(client=lambda: np.zeros((rows.groups, rows.length), np.uint64))\n",
        (f"{UNIFORM}::test_shares_and_messages_are_uniform", f"{MASKED}::test_messages_hide_fixed_shares"),
    ),
    Mutation(
        "row-product-mask-zero",
        "the server's rows of a product under HE are masked by random ones; with zeros the result is right",
        "runtime/protocols/multiply.py",
        "    u = p.each(server=lambda: p.prg.later(left.ell, (rows.groups, rows.length)))\n",
        "    u = p.each(server=lambda: p.prg.later(0, (rows.groups, rows.length)))\n",
        (f"{MASKED}::test_messages_hide_fixed_shares",),
    ),
    Mutation(
        "square-sum-mask-zero",
        "and so are those of which squares are summed",
        "runtime/protocols/multiply.py",
        "    r = p.each(server=lambda: p.prg.later(product.ell, (rows, product.k)))\n",
        "    r = p.each(server=lambda: p.prg.later(0, (rows, product.k)))\n",
        (f"{MASKED}::test_messages_hide_fixed_shares",),
    ),
    Mutation(
        "and-opening-bare",
        "what an AND of shared bits opens is masked",
        "runtime/protocols/booleans.py",
        "_ring.and_open(known(x), known(y), *masks(), widths)",
        "_ring.and_open(known(x), known(y), [0 * each for each in masks()[0]], masks()[1], widths)",
        (f"{UNIFORM}::test_shares_and_messages_are_uniform", f"{MASKED}::test_messages_hide_fixed_shares"),
    ),
    Mutation(
        "selection-bit-bare",
        "a selection tells neither its bit",
        "runtime/protocols/booleans.py",
        "_flat(made.sent.t1), _flat(made.got.choice)\n",
        "_flat(made.sent.t1), 0 * _flat(made.got.choice)\n",
        (f"{UNIFORM}::test_shares_and_messages_are_uniform", f"{MASKED}::test_messages_hide_fixed_shares"),
    ),
    Mutation(
        "selection-value-bare",
        "nor its value",
        "runtime/protocols/booleans.py",
        "            t0, t1, choice = _flat(made.sent.t0), _flat(made.sent.t1), _flat(made.got.choice)\n",
        "            t0, t1, choice = _flat(made.sent.t0), _flat(made.sent.t0), _flat(made.got.choice)\n",
        (f"{UNIFORM}::test_shares_and_messages_are_uniform", f"{MASKED}::test_messages_hide_fixed_shares"),
    ),
    Mutation(
        "comparison-masks-zero",
        "the entries of a comparison's tables are shares; with zeros the result is right, and the chooser's",
        "runtime/protocols/compare.py",
        "            masks = self._p.random(leaf.width, (self._n,)) if self._sends else None\n",
        "            masks = np.zeros(self._n, np.uint64) if self._sends else None\n",
        (f"{UNIFORM}::test_shares_and_messages_are_uniform",),
    ),
    Mutation(
        "look-up-index-bare",
        "a look-up in the peer's table hides the place",
        "runtime/protocols/one_of_n.py",
        "lambda: (index() ^ known(made.r)).astype(np.uint64)",
        "lambda: index().astype(np.uint64)",
        (f"{MASKED}::test_messages_hide_fixed_shares[look-up]",),
    ),
    Mutation(
        "crossing-choice-bare",
        "the bits that choose in a product by OTs are masked",
        "runtime/protocols/gilboa.py",
        "            out |= (bit ^ known(ot.choice)) << np.uint64(i)\n",
        "            out |= bit << np.uint64(i)\n",
        (f"{MASKED}::test_messages_hide_fixed_shares[cross]",),
    ),
    Mutation(
        "square-mask-zero",
        "the sender's mask of a square is random; with zeros the result is right",
        "runtime/protocols/multiply.py",
        "    r = p.random(num.bits, (n,))\n",
        "    r = p.both(lambda: np.zeros(n, np.uint64))\n",
        (f"{UNIFORM}::test_shares_and_messages_are_uniform", f"{MASKED}::test_messages_hide_fixed_shares"),
    ),
    Mutation(
        "label-with-its-numbers",
        "where a label is all that is told, its numbers are not",
        "backend/lower.py",
        "            value, shape = state.put(best), shape[:-1]\n",
        "            told = state.put(steps.Output(name=name, x=value))\n"
        "            outputs.append(OutputSpec(name=f'{name} in full', value=told, shape=shape))\n"
        "            value, shape = state.put(best), shape[:-1]\n",
        ("tests/backend/test_lower.py::test_of_a_label_its_place_is_all_that_is_revealed",),
    ),
)
