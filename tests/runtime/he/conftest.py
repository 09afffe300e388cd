"""What tests of products under HE share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ppc.runtime.he.bfv import HeClient, HeServer
from ppc.runtime.he.params import HeParams


@pytest.fixture(scope="module")
def ends() -> Callable[[HeParams], tuple[HeClient, HeServer]]:
    """A client and a server by parameter set: keys take long to make."""
    made: dict[HeParams, tuple[HeClient, HeServer]] = {}

    def session(params: HeParams) -> tuple[HeClient, HeServer]:
        if params not in made:
            client = HeClient([params])
            made[params] = client, HeServer([params], client.public_keys())
        return made[params]

    return session
