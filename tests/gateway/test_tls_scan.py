"""A scan of the HTTPS listener, by hand: which versions and suites are answered, and no others."""

import socket

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.gateway.hello import SSL3, TLS10, TLS11, TLS12, TLS13, Answer, ask
from tests.gateway.issuing import drop, issue
from tests.gateway.stack import Stack, wait_until

MODERN = {
    0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
    0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
    0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
}
TLS13_SUITES = {
    0x1301: "AES128-GCM-SHA256",
    0x1302: "AES256-GCM-SHA384",
    0x1303: "CHACHA20-POLY1305-SHA256",
}
# Taken with an RSA certificate only; that of the local CA is ECDSA.
MODERN_RSA = {
    0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
    0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
    0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
}
WEAK = {
    0x0001: "NULL-MD5",
    0x0002: "NULL-SHA",
    0x003B: "NULL-SHA256",
    0x0003: "EXP-RC4-MD5",
    0x0006: "EXP-RC2-CBC-MD5",
    0x0008: "EXP-DES-CBC-SHA",
    0x0014: "EXP-DHE-RSA-DES-CBC-SHA",
    0x0017: "EXP-ADH-RC4-MD5",
    0x0004: "RC4-MD5",
    0x0005: "RC4-SHA",
    0xC007: "ECDHE-ECDSA-RC4-SHA",
    0xC011: "ECDHE-RSA-RC4-SHA",
    0x0009: "DES-CBC-SHA",
    0x000A: "DES-CBC3-SHA",
    0x0016: "DHE-RSA-DES-CBC3-SHA",
    0xC008: "ECDHE-ECDSA-DES-CBC3-SHA",
    0xC012: "ECDHE-RSA-DES-CBC3-SHA",
    0x0007: "IDEA-CBC-SHA",
    0x0096: "SEED-SHA",
    0x0041: "CAMELLIA128-SHA",
    0x0018: "ADH-RC4-MD5",
    0x001B: "ADH-DES-CBC3-SHA",
    0x0034: "ADH-AES128-SHA",
    0x00A6: "ADH-AES128-GCM-SHA256",
    0xC015: "AECDH-NULL-SHA",
    0xC018: "AECDH-AES128-SHA",
    0xC006: "ECDHE-ECDSA-NULL-SHA",
    0xC010: "ECDHE-RSA-NULL-SHA",
    0x002F: "AES128-SHA",
    0x0035: "AES256-SHA",
    0x003C: "AES128-SHA256",
    0x003D: "AES256-SHA256",
    0x009C: "AES128-GCM-SHA256 (RSA key exchange)",
    0x009D: "AES256-GCM-SHA384 (RSA key exchange)",
    0xC09C: "AES128-CCM",
    0x0033: "DHE-RSA-AES128-SHA",
    0x0039: "DHE-RSA-AES256-SHA",
    0x0067: "DHE-RSA-AES128-SHA256",
    0x009E: "DHE-RSA-AES128-GCM-SHA256",
    0xC004: "ECDH-ECDSA-AES128-SHA",
    0xC009: "ECDHE-ECDSA-AES128-SHA",
    0xC00A: "ECDHE-ECDSA-AES256-SHA",
    0xC013: "ECDHE-RSA-AES128-SHA",
    0xC014: "ECDHE-RSA-AES256-SHA",
    0xC023: "ECDHE-ECDSA-AES128-SHA256",
    0xC024: "ECDHE-ECDSA-AES256-SHA384",
    0xC027: "ECDHE-RSA-AES128-SHA256",
    0xC0AC: "ECDHE-ECDSA-AES128-CCM",
    0xC0AE: "ECDHE-ECDSA-AES128-CCM-8",
    0x008C: "PSK-AES128-CBC-SHA",
    0xC035: "ECDHE-PSK-AES128-CBC-SHA",
    0xC01D: "SRP-AES-128-CBC-SHA",
}
NONE = Answer(None, None)
SHA1_SIGNATURES = (0x0203, 0x0201)
RSA_DOMAIN = "rsa.scan.example"


@pytest.mark.parametrize("version", [SSL3, TLS10, TLS11], ids=["SSLv3", "TLS 1.0", "TLS 1.1"])
def test_old_versions_are_refused_with_every_suite(stack: Stack, version: int) -> None:
    """One by one, and with all at once."""
    every = [*WEAK, *MODERN, *MODERN_RSA]
    assert ask(stack.https, version, every) == NONE
    answered = [suite for suite in every if ask(stack.https, version, [suite]) != NONE]
    assert answered == []


def test_tls_1_2_answers_modern_suites_and_no_others(stack: Stack) -> None:
    """ECDHE with authenticated encryption, one by one; a client that has only weak ones is not served."""
    answers = {suite: ask(stack.https, TLS12, [suite]) for suite in [*MODERN, *MODERN_RSA, *WEAK]}
    assert {suite for suite, answer in answers.items() if answer == Answer(TLS12, suite)} == set(MODERN)
    assert {suite for suite, answer in answers.items() if answer != NONE} == set(MODERN)
    assert ask(stack.https, TLS12, list(WEAK)) == NONE
    print(f"TLS 1.2: {len(answers)} suites tried, answered: {', '.join(MODERN.values())}")  # noqa: T201 - the figures of the scan


def test_tls_1_3_answers_its_suites_and_no_others(stack: Stack) -> None:
    """The two CCM suites of TLS 1.3 are not among them."""
    tried = [*TLS13_SUITES, 0x1304, 0x1305, *MODERN, *WEAK]
    answered = {suite for suite in tried if ask(stack.https, TLS13, [suite]) != NONE}
    assert answered == set(TLS13_SUITES)
    assert ask(stack.https, TLS13, [0x1301]) == Answer(TLS13, 0x1301)


def test_weak_groups_are_refused(stack: Stack) -> None:
    """A client that knows only small or odd curves is not served."""
    for group in (0x0001, 0x0013, 0x0015, 0x0016, 0x001A, 0x0100):
        assert ask(stack.https, TLS12, list(MODERN), groups=(group,)) == NONE, hex(group)


def test_signatures_with_sha_1_are_refused(stack: Stack) -> None:
    """A client that knows no others is not served, by none of the suites."""
    for version, suites in ((TLS12, MODERN), (TLS13, TLS13_SUITES)):
        assert ask(stack.https, version, list(suites), signatures=SHA1_SIGNATURES) == NONE


def test_a_domain_with_an_rsa_certificate_is_as_strict(stack: Stack) -> None:
    """A chain of its own, with settings of its own: the suites with RSA signatures answer, and no others."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    drop(stack.folder / "certificates" / RSA_DOMAIN, issue(stack.folder / "tls", [RSA_DOMAIN], key=key))

    def answered(version: int, *suites: int, **offer: tuple[int, ...]) -> bool:
        return ask(stack.https, version, list(suites), name=RSA_DOMAIN, **offer) != NONE

    wait_until(lambda: answered(TLS12, *MODERN_RSA), "the domain's certificate is shown")
    every = [*MODERN, *MODERN_RSA, *WEAK]
    assert {suite for suite in every if answered(TLS12, suite)} == set(MODERN_RSA)
    assert {suite for suite in [*TLS13_SUITES, 0x1304, 0x1305] if answered(TLS13, suite)} == set(TLS13_SUITES)
    assert not any(answered(version, *every) for version in (SSL3, TLS10, TLS11))
    assert not answered(TLS12, *MODERN_RSA, signatures=SHA1_SIGNATURES)
    assert not answered(TLS13, *TLS13_SUITES, signatures=SHA1_SIGNATURES)


def test_plaintext_on_the_https_port_gets_no_answer_of_http(stack: Stack) -> None:
    """And the next client is served."""
    with socket.create_connection(("127.0.0.1", stack.https), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert b"HTTP" not in connection.recv(100)
    assert stack.status("/healthz") == 200
