"""The list fits the sources, quickly; that each mutation is noticed, slowly (``-m slow``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from mutation import ROOT, Mutation, Stale
from rules import holds
from run import MUTATIONS, Workshop, tried, unmutated, workshop


def unfit(mutation: Mutation) -> Iterator[str]:
    try:
        mutation.applied()
    except Stale as stale:
        yield str(stale)
    for id in mutation.noticed_by:
        file, _, name = id.partition("::")
        name = name.partition("[")[0]
        if not (ROOT / file).is_file() or f"def {name}(" not in (ROOT / file).read_text():
            yield f"{mutation.name}: {id} is no test"


def test_every_mutation_finds_its_place_and_its_tests() -> None:
    holds(MUTATIONS, unfit)
    assert len({each.name for each in MUTATIONS}) == len(MUTATIONS)
    assert all(each.noticed_by for each in MUTATIONS)


def test_one_that_no_longer_fits_is_named() -> None:
    one = MUTATIONS[0]
    assert "stands 0 times" in next(unfit(replace(one, old="no such text")))
    assert "stands 2 times" in next(unfit(replace(one, file="tests/mutations/mutation.py", old="Stale(f")))
    assert "no longer there" in next(unfit(replace(one, file="runtime/nowhere.py")))
    assert "is no test" in next(unfit(replace(one, noticed_by=("tests/test_docs.py::test_nothing",))))


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        assert unmutated(made, MUTATIONS) is None
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.name)
def test_a_protection_that_is_taken_out_is_missed(shop: Workshop, mutation: Mutation) -> None:
    noticed, how = tried(shop, mutation)
    assert noticed, how


@pytest.mark.slow
def test_what_proves_nothing_is_not_counted(shop: Workshop) -> None:
    one = next(each for each in MUTATIONS if each.name == "plan-reveals-more")
    broken = replace(one, new="    if nobody_knows:\n")
    noticed, how = tried(shop, broken)
    assert not noticed
    assert how.startswith(
        "broken, test_plan::test_a_plan_may_reveal_only_the_outputs_it_names ends with NameError"
    )
    harmless = replace(one, new=one.old)
    assert tried(shop, harmless)[1].startswith("NOT NOTICED")
