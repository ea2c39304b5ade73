"""The suite's own authority: what it issues, when it renews, and how it is exchanged without distrust."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from servicekit import authority
from servicekit.authority import Lives, in_use, issue

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LIVES = Lives()
HOUR = timedelta(hours=1)


def leaf(folder: Path, name: str = "crm") -> x509.Certificate:
    """Read a process's certificate."""
    return x509.load_pem_x509_certificate((folder / name / "tls.crt").read_bytes())


def bundle(folder: Path, name: str = "crm") -> list[x509.Certificate]:
    """Read whom a process believes."""
    return x509.load_pem_x509_certificates((folder / name / "ca.crt").read_bytes())


def test_a_certificate_names_its_process_in_both_ways_and_serves_both_roles(tmp_path: Path) -> None:
    """A SPIFFE identity for who it is, a DNS name for who is called; the authority may sign leaves only."""
    assert issue(tmp_path, ["crm"], now=NOW)
    certificate, (signer,) = leaf(tmp_path), bundle(tmp_path)
    certificate.verify_directly_issued_by(signer)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://rapport/crm"]
    assert names.get_values_for_type(x509.DNSName) == ["crm"]
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert certificate.not_valid_after_utc - NOW == timedelta(days=3)
    limits = signer.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)


def test_private_keys_are_for_their_owners_eyes_only(tmp_path: Path) -> None:
    """The keys of processes and of authorities alike."""
    issue(tmp_path, ["crm", "tickets"], now=NOW)
    keys = [*tmp_path.glob("*/tls.key"), *(tmp_path / "authority").glob("*.pem")]
    assert len(keys) == 3
    for key in keys:
        assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "crm").stat().st_mode & 0o777 == 0o700


def test_nothing_changes_before_half_of_a_life_is_over(tmp_path: Path) -> None:
    """A second call is for nothing; after a day and a half there is another certificate of the same authority."""
    issue(tmp_path, ["crm"], now=NOW)
    first, trusted = leaf(tmp_path), bundle(tmp_path)
    assert not issue(tmp_path, ["crm"], now=NOW + 35 * HOUR)
    assert leaf(tmp_path) == first
    assert issue(tmp_path, ["crm"], now=NOW + 37 * HOUR)
    assert leaf(tmp_path) != first
    assert bundle(tmp_path) == trusted


def test_all_three_files_change_by_one_rename(tmp_path: Path) -> None:
    """The layout of a Kubernetes secret: what is read through one look at `..data` fits together."""
    issue(tmp_path, ["crm"], now=NOW)
    before = (tmp_path / "crm" / "..data").resolve()
    issue(tmp_path, ["crm"], now=NOW + 37 * HOUR)
    after = (tmp_path / "crm" / "..data").resolve()
    assert before != after
    assert not before.exists()
    assert sorted(path.name for path in after.iterdir()) == ["ca.crt", "tls.crt", "tls.key"]
    assert (tmp_path / "crm" / "tls.key").resolve().parent == after


def test_an_exchange_of_the_authority_goes_in_three_steps(tmp_path: Path) -> None:
    """First both are trusted and the old one signs, then the new one signs, then the old one is forgotten."""
    issue(tmp_path, ["crm"], now=NOW)
    (old,) = bundle(tmp_path)
    issue(tmp_path, ["crm"], now=NOW + HOUR, roll=True)
    assert len(bundle(tmp_path)) == 2
    leaf(tmp_path).verify_directly_issued_by(old)
    issue(tmp_path, ["crm"], now=NOW + 2 * HOUR)
    assert len(bundle(tmp_path)) == 2
    new = bundle(tmp_path)[1]
    leaf(tmp_path).verify_directly_issued_by(new)
    issue(tmp_path, ["crm"], now=NOW + 3 * HOUR)
    assert bundle(tmp_path) == [new]
    assert len(list((tmp_path / "authority").glob("*.pem"))) == 1


def test_the_authority_is_exchanged_by_itself_before_its_end(tmp_path: Path) -> None:
    """When three quarters of its life are over; nobody has to remember."""
    issue(tmp_path, ["crm"], now=NOW)
    issue(tmp_path, ["crm"], now=NOW + LIVES.authority * 0.74)
    assert len(bundle(tmp_path)) == 1
    issue(tmp_path, ["crm"], now=NOW + LIVES.authority * 0.76)
    assert len(bundle(tmp_path)) == 2


def test_a_damaged_certificate_is_made_anew(tmp_path: Path) -> None:
    """The issuer is what repairs the folder; nobody has to do so by hand."""
    issue(tmp_path, ["crm"], now=NOW)
    (tmp_path / "crm" / "tls.key").write_text("rubbish")
    assert issue(tmp_path, ["crm"], now=NOW)
    leaf(tmp_path).verify_directly_issued_by(bundle(tmp_path)[0])


@pytest.mark.parametrize(
    ("ages", "signing", "oldest"),
    [([0], 0, 0), ([9, 0], 0, 0), ([9, 1], 1, 0), ([9, 2], 1, 1), ([9, 0.5, 0.1], 0, 0), ([9, 8, 1], 2, 1)],
)
def test_which_authority_signs_and_which_are_trusted(ages: list[float], signing: int, oldest: int) -> None:
    """Ages in hours with a settling time of one hour; the first authority of all signs at once."""
    made = [NOW - age * HOUR for age in ages]
    assert in_use(made, HOUR, NOW) == (signing, oldest)


def test_expiry_is_read_from_the_file(tmp_path: Path) -> None:
    """What `rapport status` and probes show."""
    issue(tmp_path, ["crm"], now=NOW)
    assert authority.expiry(tmp_path / "crm" / "tls.crt") == NOW + timedelta(days=3)
