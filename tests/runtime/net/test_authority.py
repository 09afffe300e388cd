"""A small authority: what it issues, to whom, for how long, and that it is told in plain words."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta, timezone

import pytest
from command import called
from cryptography import x509

from ppc.runtime.base.errors import BadInput
from ppc.runtime.net.authority import RENEW_DAYS, Authority, Issued


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "keys")


def test_keys_are_for_their_owner_s_eyes(authority, tmp_path):
    authority.client("alice", days=10)
    for path in (tmp_path / "keys").glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert "PRIVATE" not in (tmp_path / "keys" / "alice.pem").read_text()


def test_what_is_issued_says_who_and_for_what(authority, tmp_path):
    authority.server(["example.org", "10.0.0.7", "::1"], days=10)
    authority.client("alice", days=10)
    shown = {
        name: x509.load_pem_x509_certificate((tmp_path / "keys" / f"{name}.pem").read_bytes())
        for name in ("server", "alice")
    }
    names = shown["server"].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each.value) for each in names] == ["example.org", "10.0.0.7", "::1"]
    uses = {
        n: next(iter(c.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value))
        for n, c in shown.items()
    }
    assert (uses["server"], uses["alice"]) == (
        x509.oid.ExtendedKeyUsageOID.SERVER_AUTH,
        x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH,
    )
    assert shown["alice"].public_key() != shown["server"].public_key()


def test_an_authority_goes_on_where_it_lies(authority, tmp_path):
    before = authority.certificate_file.read_bytes()
    again = Authority(tmp_path / "keys")
    assert again.certificate_file.read_bytes() == before
    again.client("bob", days=10)
    assert [each.name for each in again.issued()] == ["ppc authority", "bob"]


def test_nothing_is_replaced_unless_asked_for(authority, tmp_path):
    authority.client("alice", days=10)
    key = tmp_path / "keys" / "alice.key"
    before = key.read_bytes()
    with pytest.raises(BadInput, match=r"alice\.pem: alice, until .*; give --renew"):
        authority.client("alice", days=20)
    assert key.read_bytes() == before
    assert authority.client("alice", days=20, renew=True).days == 19
    assert key.read_bytes() != before


def test_nothing_outlives_the_authority(tmp_path):
    with pytest.raises(
        BadInput, match="400 days are longer than the authority's own certificate lasts, until"
    ):
        Authority(tmp_path / "keys", days=300).client("alice", days=400)


@pytest.mark.parametrize("name", ["", "ca", "server", "../alice", "a b", "a" * 65, ".alice"])
def test_names_that_no_client_has(authority, name):
    with pytest.raises(BadInput, match="a client's name is"):
        authority.client(name, days=10)


def test_names_that_no_server_has(authority):
    with pytest.raises(BadInput, match="host name or an address, not 'a b'"):
        authority.server(["a b"], days=10)


def test_what_is_no_authority_is_one_line(authority, tmp_path):
    (tmp_path / "keys" / "ca.key").write_text("junk")
    with pytest.raises(BadInput, match="no authority of ppc keygen: damaged"):
        Authority(tmp_path / "keys")
    (tmp_path / "keys" / "ca.key").unlink()
    with pytest.raises(BadInput, match=r"ca\.key: No such file"):
        Authority(tmp_path / "keys")
    Authority(tmp_path / "other")
    (tmp_path / "keys" / "ca.key").write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(BadInput, match=r"ca\.key is not the key of ca\.pem"):
        Authority(tmp_path / "keys")


def test_its_end_is_told_beforehand_and_afterwards(tmp_path):
    now = datetime.now(timezone.utc)
    path = tmp_path / "alice.pem"
    assert Issued(path, "alice", now + timedelta(days=RENEW_DAYS + 1)).check() is None
    soon = Issued(path, "alice", now + timedelta(days=3, hours=1))
    assert f"until {soon.until:%Y-%m-%d %H:%M} UTC, 3 days from now; renew it" in (soon.check() or "")
    late = Issued(path, "alice", now - timedelta(hours=1))
    with pytest.raises(BadInput, match=f"alice, expired on {late.until:%Y-%m-%d %H:%M} UTC; issue it anew"):
        late.check()


def test_the_command_says_what_lies_there(tmp_path):
    made = called(
        "keygen", tmp_path / "keys", "--server", "127.0.0.1", "--client", "alice", "--client", "bob"
    )
    assert made.status == 0, made.err
    assert [line.split(": ")[1].split(",")[0] for line in made.out.splitlines()] == ["server", "alice", "bob"]
    documents = called("keygen", tmp_path / "keys", "--json").json
    assert [each["name"] for each in documents["issued"]] == ["ppc authority", "alice", "bob", "server"]
    assert {each["days"] for each in documents["issued"]} == {3649, 364}
    called("keygen", tmp_path / "keys", "--client", "alice").failed(2, "--renew")
