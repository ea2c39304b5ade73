"""Which pairs are served, which are refused, and what is left of them on the disk."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from structlog.testing import capture_logs

from gateway import tls
from gateway.certificates import CertificateRefusedError, CertificateStore, Pair
from tests.gateway.issuing import Issued, drop, issue
from tests.gateway.stack import wait_until

DOMAIN = "desk.shop.example"


class World:
    """The folders of a gateway."""

    def __init__(self, folder: Path) -> None:
        self.files = tls.ensure(folder / "tls")
        self.tls = folder / "tls"
        self.live = folder / "tls" / "live"
        self.drops = folder / "certificates"
        self.acme = folder / "acme-challenge"
        self.acme.mkdir()
        self.store = CertificateStore(Pair(self.files.certificate, self.files.key), self.drops, self.acme, self.live)

    def serial(self, domain: str) -> int | None:
        """Return the serial number of what is served for a domain now."""
        pair = self.store.read().domains.get(domain)
        return x509.load_pem_x509_certificate(pair.chain.read_bytes()).serial_number if pair else None


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A gateway's folders with the local CA's certificate."""
    return World(tmp_path)


def test_a_good_pair_is_served_from_copies_that_only_the_owner_reads(world: World) -> None:
    """What the ACME client writes later does not change what Envoy reads now."""
    issued = issue(world.tls, [DOMAIN])
    drop(world.drops / DOMAIN, issued)
    pair = world.store.read().domains[DOMAIN]
    assert (pair.chain.read_bytes(), pair.key.read_bytes()) == (issued.chain, issued.key)
    assert pair.key.parent == world.live
    assert pair.key.stat().st_mode & 0o777 == 0o600


def test_a_wildcard_covers_one_label(world: World) -> None:
    """As browsers read it."""
    drop(world.drops / DOMAIN, issue(world.tls, ["*.shop.example"]))
    drop(world.drops / "a.desk.shop.example", issue(world.tls, ["*.shop.example"]))
    assert set(world.store.read().domains) == {DOMAIN}


def test_a_renewal_takes_the_place_of_the_former_pair(world: World) -> None:
    """And the one before the former is deleted: keys do not pile up."""
    for _ in range(4):
        issued = issue(world.tls, [DOMAIN])
        drop(world.drops / DOMAIN, issued)
        assert world.serial(DOMAIN) == issued.serial
    # The pair in use, the one that Envoy may still be reading, and the gateway's own.
    assert len(list(world.live.glob("*.key"))) == 3


def test_a_removed_folder_ends_the_domain(world: World) -> None:
    """It is served with the gateway's own certificate again."""
    drop(world.drops / DOMAIN, issue(world.tls, [DOMAIN]))
    assert DOMAIN in world.store.read().domains
    for file in (world.drops / DOMAIN).iterdir():
        file.unlink()
    (world.drops / DOMAIN).rmdir()
    assert world.store.read().domains == {}


def _of_other_key(world: World) -> Issued:
    good, other = issue(world.tls, [DOMAIN]), issue(world.tls, [DOMAIN])
    return Issued(good.chain, other.key, good.serial)


def _with_password(world: World) -> Issued:
    good = issue(world.tls, [DOMAIN])
    key = serialization.load_pem_private_key(good.key, password=None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    return Issued(good.chain, locked, good.serial)


def _of_a_kind_that_browsers_do_not_take(world: World) -> Issued:
    good = issue(world.tls, [DOMAIN])
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Issued(good.chain, pem, good.serial)


BAD: dict[str, tuple[Callable[[World], Issued], str, str]] = {
    "key of another certificate": (_of_other_key, "privkey.pem", "not that of the certificate"),
    "key with a password": (_with_password, "privkey.pem", "no private key"),
    "key of a kind not taken": (_of_a_kind_that_browsers_do_not_take, "privkey.pem", "neither RSA"),
    "other names": (lambda w: issue(w.tls, ["other.example"]), "fullchain.pem", "does not name"),
    "ended": (lambda w: issue(w.tls, [DOMAIN], ends=timedelta(minutes=-1)), "fullchain.pem", "ended at"),
    "not begun": (lambda w: issue(w.tls, [DOMAIN], starts=timedelta(hours=1)), "fullchain.pem", "valid only from"),
    "no certificate": (lambda _: Issued(b"nonsense", b"nonsense", 0), "fullchain.pem", "no certificate"),
    "chain out of order": (
        lambda w: Issued(issue(w.tls, [DOMAIN]).chain + issue(w.tls, [DOMAIN]).chain, b"", 0),
        "fullchain.pem",
        "out of order",
    ),
    "too long": (lambda _: Issued(b"x" * (2 << 20), b"", 0), "fullchain.pem", "longer"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_pair_is_refused_by_name_and_the_last_good_one_stays(world: World, wrong: str) -> None:
    """Once per change, not once per look; and without a word of the key."""
    good = issue(world.tls, [DOMAIN])
    drop(world.drops / DOMAIN, good)
    assert world.serial(DOMAIN) == good.serial
    make, file, reason = BAD[wrong]
    bad = make(world)
    drop(world.drops / DOMAIN, bad)
    with capture_logs() as logs:
        assert world.serial(DOMAIN) == good.serial
        assert world.serial(DOMAIN) == good.serial
    refused = [entry for entry in logs if entry["event"] == "certificate_refused"]
    assert len(refused) == 1
    assert refused[0]["domain"] == DOMAIN
    assert str(world.drops / DOMAIN / file) in refused[0]["reason"]
    assert reason in refused[0]["reason"]
    assert "PRIVATE" not in str(refused)


def test_a_missing_or_unreadable_file_is_a_refusal(world: World) -> None:
    """A renewal that is under way shows one file only for a moment."""
    drop(world.drops / DOMAIN, issue(world.tls, [DOMAIN]))
    (world.drops / DOMAIN / "privkey.pem").unlink()
    with capture_logs() as logs:
        assert world.serial(DOMAIN) is None
    assert "privkey.pem: No such file" in logs[-1]["reason"]


def test_a_pair_that_is_not_valid_yet_is_taken_when_its_time_has_come(world: World) -> None:
    """Although its files stay as they are; it is refused in the log once until then."""
    issued = issue(world.tls, [DOMAIN], starts=timedelta(seconds=2))
    drop(world.drops / DOMAIN, issued)
    with capture_logs() as logs:
        wait_until(lambda: world.serial(DOMAIN) == issued.serial, "the certificate has begun")
    assert [entry["event"] for entry in logs].count("certificate_refused") == 1


def test_a_pair_that_could_not_be_copied_is_tried_again(world: World) -> None:
    """A full or broken disk is mended without a word to the gateway, which goes on with what it has."""
    world.store.read()
    away = world.live.rename(world.live.with_name("away"))
    world.live.write_text("in the way")
    issued = issue(world.tls, [DOMAIN])
    drop(world.drops / DOMAIN, issued)
    with capture_logs() as logs:
        assert world.serial(DOMAIN) is None
        assert world.serial(DOMAIN) is None
        world.live.unlink()
        away.rename(world.live)
        assert world.serial(DOMAIN) == issued.serial
    assert [entry["event"] for entry in logs].count("certificate_refused") == 1


@pytest.mark.parametrize("name", ["UPPER.example", "no-dot", "a..b", "-a.example", "ü.example", "*.example.com"])
def test_a_folder_that_is_no_domain_is_refused(world: World, name: str) -> None:
    """Its name becomes the name of a secret and is compared with what clients ask for."""
    drop(world.drops / name, issue(world.tls, ["x.example"]))
    assert world.store.read().domains == {}


def test_an_unusable_pair_of_the_gateway_itself_is_an_error_at_first_and_refused_later(world: World) -> None:
    """Without any certificate there is nothing to serve; with one, the good one stays."""
    world.store.read()
    own = world.store.read().server
    world.files.key.write_bytes(b"nonsense")
    with capture_logs() as logs:
        assert world.store.read().server == own
    assert logs[0]["event"] == "certificate_refused"
    late = CertificateStore(Pair(world.files.certificate, world.files.key), world.drops, world.acme, world.live)
    with pytest.raises(CertificateRefusedError, match=r"server\.key"):
        late.read()


def test_copies_of_a_former_run_are_deleted_once_they_are_out_of_use(world: World) -> None:
    """After a restart and the next renewal."""
    drop(world.drops / DOMAIN, issue(world.tls, [DOMAIN]))
    world.store.read()
    drop(world.drops / DOMAIN, issue(world.tls, [DOMAIN]))
    restarted = CertificateStore(Pair(world.files.certificate, world.files.key), world.drops, world.acme, world.live)
    restarted.read()
    drop(world.drops / DOMAIN, issue(world.tls, [DOMAIN]))
    restarted.read()
    assert len(list(world.live.glob("*.key"))) == 3


def test_challenges_are_read_and_what_is_none_is_passed_over(world: World) -> None:
    """Only names and contents of the alphabet that ACME knows."""
    token, answer = "t" * 43, f"{'t' * 43}.{'p' * 43}"
    for name, content in {
        token: answer + "\n",
        "short": answer,
        "u" * 43: "no authorisation",
        "v" * 43: "<script>",
        ".hidden" + "w" * 43: answer,
    }.items():
        (world.acme / name).write_text(content)
    (world.acme / ("x" * 43)).write_bytes(b"\xff" * 100)
    (world.acme / ("y" * 43)).mkdir()
    assert world.store.read().challenges == {token: answer}


def test_a_key_on_a_curve_that_clients_know_is_taken(world: World) -> None:
    """P-384 besides P-256."""
    issued = issue(world.tls, [DOMAIN], key=ec.generate_private_key(ec.SECP384R1()))
    drop(world.drops / DOMAIN, issued)
    assert world.serial(DOMAIN) == issued.serial
