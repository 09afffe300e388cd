"""The commands of identity: keygen, and clients."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppc.cli_options import Json
from ppc.cli_results import print_json
from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.authority import Authority, Issued
from ppc.runtime.service.register import Register


def keygen(
    folder: Annotated[
        Path, typer.Argument(help="Of the authority; made where there is none. Keep its ca.key to yourself.")
    ],
    server: Annotated[
        list[str] | None,
        typer.Option(
            help="Issue server.pem for a server called so, a host name or address; may be repeated."
        ),
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option(help="Issue NAME.pem for a client known as NAME; may be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long what is issued lasts.")] = 365,
    authority_days: Annotated[int, typer.Option(min=1, help="How long a new authority lasts.")] = 3650,
    renew: Annotated[bool, typer.Option("--renew", help="Replace what was issued before.")] = False,
    as_json: Json = False,
) -> None:
    """Be a small certificate authority: keys and certificates for a server and its clients.

    Without --server and --client: what was issued, and how long it lasts.
    """
    authority = Authority(folder, days=authority_days)
    issued = [authority.server(server, days=days, renew=renew)] if server else []
    issued += [authority.client(name, days=days, renew=renew) for name in client or []]
    shown = issued or authority.issued()
    if as_json:
        print_json(
            {"authority": str(authority.certificate_file), "issued": [_document(each) for each in shown]}
        )
    else:
        for each in shown:
            print(each)


def _document(issued: Issued) -> dict[str, object]:
    return {
        "certificate": str(issued.path),
        "name": issued.name,
        "until": f"{issued.until:%Y-%m-%dT%H:%M:%SZ}",
        "days": issued.days,
    }


def clients(
    register: Annotated[Path, typer.Argument(help="The allow list, an SQLite file; made with --allow.")],
    allow: Annotated[list[str] | None, typer.Option(help="A client's name; may be repeated.")] = None,
    per_day: Annotated[
        int | None, typer.Option(min=0, help="Inferences a day of those allowed here; default: any number.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Allow this client no longer.")] = None,
    as_json: Json = False,
) -> None:
    """Say which clients `ppc serve --clients` answers, and how often a day; show them and today's use."""
    if per_day is not None and not allow:
        raise BadInput("--per-day says how often those of --allow may ask; give --allow NAME")
    with Register(register, create=bool(allow)) as held:
        for name in allow or []:
            held.allow(name, per_day)
        for name in remove or []:
            held.remove(name)
        every = held.clients()
    if as_json:
        print_json({"clients": [each._asdict() for each in every]})
        return
    for each in every:
        print(f"{each.name}: {each.today} today of {'any number' if each.per_day is None else each.per_day}")
