"""What tests of products under HE share."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
from he_ends import Ends, ends_of

from ppc.runtime.he.params import HeParams


@pytest.fixture(scope="module")
def ends() -> Callable[[HeParams], Ends]:
    """A client and a server by parameter set: keys take long to make."""
    return lru_cache(ends_of)
