"""The local certificate authority makes what browsers accept, keeps it, and renews it in time."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from gateway import tls


def leaf(files: tls.TlsFiles) -> x509.Certificate:
    """Return the server's certificate."""
    return x509.load_pem_x509_certificate(files.certificate.read_bytes())


def test_the_first_start_makes_a_ca_and_a_certificate_that_it_signed(tmp_path: Path) -> None:
    """Both keys are for their owner's eyes only."""
    files = tls.ensure(tmp_path / "tls")
    assert files.ca is not None
    leaf(files).verify_directly_issued_by(x509.load_pem_x509_certificate(files.ca.read_bytes()))
    for key in (files.key, tmp_path / "tls" / "ca.key"):
        assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files.certificate, files.key)


def test_the_certificate_holds_the_local_names_and_the_given_ones(tmp_path: Path) -> None:
    """Names and addresses alike."""
    names = leaf(tls.ensure(tmp_path, ["shop.example", "10.0.0.7"])).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert set(names.value.get_values_for_type(x509.DNSName)) == {"localhost", "*.localhost", "shop.example"}
    addresses = {str(address) for address in names.value.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "::1", "10.0.0.7"}


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    """Who trusts the CA need not do so again."""
    before = tls.ensure(tmp_path).certificate.read_bytes()
    assert tls.ensure(tmp_path).certificate.read_bytes() == before


def test_the_certificate_is_renewed_before_its_end_by_the_same_ca(tmp_path: Path) -> None:
    """A month before; the CA stays."""
    files = tls.ensure(tmp_path)
    assert files.ca is not None
    ca, first = files.ca.read_bytes(), leaf(files)
    later = datetime.now(UTC) + tls.LEAF_LIFE - tls.RENEW_BEFORE + timedelta(hours=1)
    tls.ensure(tmp_path, now=later)
    assert leaf(files).serial_number != first.serial_number
    assert files.ca.read_bytes() == ca


def test_a_new_name_makes_a_new_certificate(tmp_path: Path) -> None:
    """The setting takes effect with the next start."""
    first = leaf(tls.ensure(tmp_path))
    assert leaf(tls.ensure(tmp_path, ["shop.example"])).serial_number != first.serial_number
