"""Products under HE as tasks of Ray: what comes of them, and where they are computed."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pytest

from ppc.runtime.base.errors import RangeFault
from ppc.runtime.base.ring import Fixed, Ring
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.bfv import HeServer
from ppc.runtime.he.tiling import plan_product
from ppc.runtime.party.ledger import Ledger
from ppc.runtime.party.party import Party, together
from ppc.runtime.session.engines import NOTHING, resumed

ray = pytest.importorskip("ray", reason="Ray is an extra")
pytestmark = pytest.mark.slow

from ray.cluster_utils import Cluster  # noqa: E402
from ray.exceptions import RayError  # noqa: E402

from ppc.runtime.service import workshop as module  # noqa: E402
from ppc.runtime.service.workshop import OverRay  # noqa: E402

COUNT = 5
PRODUCT = plan_product(1, 4, 8, 4, 20, he_seconds, norm_bits=8)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two machines, as far as Ray knows."""
    node = {"num_cpus": 1, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.add_node(**node)
    ray.init(made.address, log_to_driver=False, configure_logging=False)
    yield made
    ray.shutdown()
    made.shutdown()


def products(p: Party, weight: int = 3) -> list[tuple[Ring | None, Ring | None]]:
    p.linear.plan([PRODUCT])
    begun = [p.linear.begin(PRODUCT, lambda: np.full((1, 8, 4), weight)) for _ in range(COUNT)]
    return [(each.mask, each.finish()) for each in begun]


def right(weight: int = 3) -> tuple[bool, Ledger]:
    """Whether the shares of all products add up, and what was said."""
    server, client, ledger = together(lambda p: products(p, weight), resumed(NOTHING, workshop=OverRay()))
    num, good = Fixed(PRODUCT.ell), []
    for (_, theirs), (mask, ours) in zip(server, client, strict=True):
        assert mask is not None
        assert ours is not None
        assert theirs is not None
        want = np.repeat(np.uint64(weight) * mask.sum(axis=2, keepdims=True), 4, axis=2)
        good.append(np.abs(num.signed(num.wrap(ours + theirs - want))).max() <= 2**PRODUCT.spare)
    return all(good), ledger


def test_answers_come_from_elsewhere(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many bytes, and with the same faults."""
    own = together(products, resumed(NOTHING))[2]
    monkeypatch.setattr(HeServer, "answer", None)  # in this process
    good, ledger = right()
    assert good
    assert {k: c.bytes for k, c in ledger.rows.items()} == {k: c.bytes for k, c in own.rows.items()}
    with pytest.raises(RangeFault, match="norm above"):
        right(2000)


def test_where_ray_computes_nothing_the_server_does(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(ref: object) -> None:
        raise RayError("gone")

    monkeypatch.setattr(module.ray, "get", gone)
    assert right()[0]
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [
        "a product is computed here, since Ray does not: gone"
    ] * COUNT


def test_keys_go_there_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    put, seen = ray.put, []
    monkeypatch.setattr(module.ray, "put", lambda x: (seen.append(x), put(x))[1])
    assert right()[0]
    assert len(seen) < COUNT


def test_it_is_made_anew_where_it_is_sent(cluster: Cluster) -> None:
    there = pickle.loads(pickle.dumps(OverRay()))
    assert isinstance(there, OverRay)
    assert there.at_once == 2
