"""Why a plan is as it is: what each product under HE and the OTs would cost if they were made otherwise.

Packings and parameters are chosen in `choose`, how correlated OTs are made in `runtime.ot.pool.schedule`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ppc.backend.choose import remade
from ppc.backend.document import OtChoice, ProductCost, Why
from ppc.runtime.cost.rates import he_seconds
from ppc.runtime.he.params import HeParams
from ppc.runtime.he.product import Product, answer_bytes, parameter_sets, upload_bytes
from ppc.runtime.ot.pool import IKNP, schedule, schedule_bytes
from ppc.runtime.party.role import Role
from ppc.runtime.plan.file import Plan
from ppc.runtime.session.facts import facts


def reasons(plan: Plan) -> Why:
    """Bytes and seconds of what was chosen, and of the alternatives, as a JSON document.

    The seconds are one core's work of both sides; ``total`` adds the bytes at the price they were chosen at.
    """
    price = plan.options.byte_price
    steps = defaultdict(list)
    for i, step in enumerate(plan.steps):
        for product in step.products():
            steps[product].append(plan.label(i))
    sets, cots = tuple(parameter_sets(plan.products)), facts(plan).cots
    return {
        "byte_price": price,
        "products": [
            {
                "steps": labels,
                "chosen": _cost(product, price),
                "instead": {
                    name: _cost(other, price)
                    for name, other in _alternatives(product, sets, price)
                    if other != product
                },
            }
            for product, labels in steps.items()
        ],
        "ots": [_ots(role, count) for role, count in cots.items() if count],
    }


def _alternatives(
    product: Product, sets: tuple[HeParams, ...], price: float
) -> Iterator[tuple[str, Product]]:
    """The best product without packed answers, the one of fewest bytes, and the one of least work."""
    plain = tuple({params.packing(0): None for params in sets})
    for name, some, weight in (
        ("unpacked", plain, price),
        ("fewest bytes", sets, 1.0),
        ("least work", sets, 0.0),
    ):
        try:
            yield name, remade(product, some, weight)
        except ValueError:  # no set of the plan carries it so
            continue


def _cost(product: Product, price: float) -> ProductCost:
    size, work = upload_bytes(product) + answer_bytes(product), he_seconds(product)
    return {
        "tile": str(product.tile),
        "packed": product.fill,
        "modulus": sum(product.params.data_bits),
        "bytes": size,
        "work": work,
        "total": work + size * price,
    }


def _ots(sender: Role, count: int) -> OtChoice:
    chosen = schedule(count)
    return {
        "sender": sender.value,
        "count": count,
        "schedule": list(chosen),
        "bytes": schedule_bytes(chosen),
        "instead": {"iknp alone": schedule_bytes(((IKNP, count),))},
    }


def text(why: Why) -> list[str]:
    """`reasons` for people, line by line."""
    price = why["byte_price"]
    lines = [f"why, at {1e6 * price:.3g} us a byte ({8e-6 / price:,.4g} Mbit/s) and the work of one core"]
    for row in why["products"]:
        more = f" and {len(row['steps']) - 1} alike" if len(row["steps"]) > 1 else ""
        lines.append(f"  {row['steps'][0]}{more}")
        for name, cost in {"chosen": row["chosen"], **row["instead"]}.items():
            packed = f"{cost['packed']} packed" if cost["packed"] > 1 else "unpacked"
            lines.append(
                f"    {name:<13}{cost['bytes'] / 1e6:8.2f} MB + {cost['work']:.3f} s = {cost['total']:.3f} s"
                f"  tile {cost['tile']}, {packed}, q of {cost['modulus']} bits"
            )
    for ots in why["ots"]:
        made = ", then ".join(
            f"{count:,} by IKNP" if kind == IKNP else f"{count} x {kind}" for kind, count in ots["schedule"]
        )
        alone = ots["instead"]["iknp alone"]
        lines.append(f"  {ots['count']:,} correlated OTs, the {ots['sender']} sending: {made}")
        lines.append(f"    chosen       {ots['bytes'] / 1e6:8.2f} MB; by IKNP alone {alone / 1e6:.2f} MB")
    return lines
