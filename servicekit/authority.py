"""The suite's own certificate authority in a folder: who each process is, proven by certificates with short lives.

`issue` is called again and again (by `rapport up`, or by `rapport certificates issue --keep`): it makes what is
missing, renews what is half over, and exchanges the authority itself without a moment in which anybody is distrusted:

1. a new authority is made, and everybody is told to trust it as well as the old one;
2. after the settling time, when everybody has read that, it signs everybody's new certificate;
3. after the settling time once more nobody uses an old certificate, and the old authority is forgotten.

Layout: `authority/<time>.pem` (the authorities with their keys; the issuer's eyes only) and, for each process,
`<name>/{tls.crt,tls.key,ca.crt}`: the layout of a Kubernetes secret, also in that the three files change all at once,
by one rename of the link `..data`.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509

from servicekit import certificates
from servicekit.certificates import CLIENT, SERVER, Issued

_log = structlog.get_logger(__name__)

TRUST_DOMAIN = "rapport"
"""What all identities of a suite begin with: `spiffe://rapport/tickets`."""

CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "ca.crt"
"""The names of a process's three files."""

_AUTHORITY = "authority"
_DATA = "..data"
_ISSUED = "..issued-"
_STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class Lives:
    """How long things last.

    Attributes:
        certificate: the life of a process's certificate; it is renewed when half of it is over.
        authority: the life of an authority; its successor is made when three quarters are over.
        settle: how long everybody may take to read changed files.
    """

    certificate: timedelta = timedelta(days=3)
    authority: timedelta = timedelta(days=365)
    settle: timedelta = timedelta(hours=1)

    @property
    def look(self) -> timedelta:
        """How often `issue` must be called."""
        return min(self.certificate / 24, self.settle / 4)


def identity_uri(name: str) -> str:
    """Return the name of a process as a certificate proves it."""
    return f"spiffe://{TRUST_DOMAIN}/{name}"


def issue(
    folder: Path, names: Sequence[str], *, lives: Lives | None = None, roll: bool = False, now: datetime | None = None
) -> bool:
    """Make and renew the certificates of the processes with these names; tell whether anything changed.

    Args:
        folder: where everything is kept; made (0700) when missing.
        names: the processes' names, for example "tickets".
        lives: how long things last; `Lives()` by default.
        roll: whether to begin an exchange of the authority now.
        now: the present time.

    Raises:
        OSError: the folder cannot be read or written.
        ValueError: a file in it is not what was written there.
    """
    lives, now = lives or Lives(), now or datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / _AUTHORITY).mkdir(exist_ok=True, mode=0o700)
    with _only_one(folder / _AUTHORITY):
        signing, trusted = _authorities(folder / _AUTHORITY, lives, now, roll=roll)
        bundle = b"".join(authority.certificate_pem for authority in trusted)
        changed = [_keep(folder / name, name, signing, bundle, lives, now) for name in names]
    return any(changed)


def in_use(made: Sequence[datetime], settle: timedelta, now: datetime) -> tuple[int, int]:
    """Tell which authorities are used: the index of the one that signs, and of the first that is still trusted.

    Args:
        made: when each was made, the oldest first; at least one.
        settle: how long everybody may take to read changed files.
        now: the present time.
    """
    signing = max((index for index, at in enumerate(made) if index == 0 or at + settle <= now), default=0)
    oldest = next(index for index in range(signing + 1) if index == signing or now < made[index + 1] + 2 * settle)
    return signing, oldest


def _authorities(folder: Path, lives: Lives, now: datetime, *, roll: bool) -> tuple[Issued, list[Issued]]:
    """Return the authority that signs, and all that are trusted; make and forget them as their time comes."""
    files = sorted(folder.glob("*.pem"))
    newest = _parse(files[-1]) if files else None
    if newest is None or roll or newest.certificate.not_valid_after_utc - now < lives.authority / 4:
        made = certificates.make_authority(f"Rapport suite {now.strftime(_STAMP)}", now=now, life=lives.authority)
        files.append(folder / f"{now.strftime(_STAMP)}.pem")
        certificates.write(files[-1], made.key_pem + made.certificate_pem, secret=True)
        _log.info("authority_made", file=str(files[-1]))
    times = [datetime.strptime(file.stem, _STAMP).replace(tzinfo=UTC) for file in files]
    signing, oldest = in_use(times, lives.settle, now)
    for file in files[:oldest]:
        file.unlink()
        _log.info("authority_forgotten", file=str(file))
    return _parse(files[signing]), [_parse(file) for file in files[oldest:]]


def _parse(file: Path) -> Issued:
    text = file.read_bytes()
    return Issued.parse(text, text)


def _keep(folder: Path, name: str, authority: Issued, bundle: bytes, lives: Lives, now: datetime) -> bool:
    """Write a process's files where they are missing, half over, of another authority, or trust others."""
    names = [identity_uri(name), name]
    held = _held(folder)
    if held is None or not _is_good(held, names, authority, lives, now):
        # Server and client at once: a service is both.
        held = certificates.issue(authority, name, names, now=now, life=lives.certificate, uses=(SERVER, CLIENT))
        _log.info("certificate_issued", name=name, until=held.certificate.not_valid_after_utc.isoformat())
    elif (folder / AUTHORITIES).read_bytes() == bundle:
        return False
    _replace(folder, {CERTIFICATE: held.certificate_pem, KEY: held.key_pem, AUTHORITIES: bundle})
    return True


def _held(folder: Path) -> Issued | None:
    try:
        return Issued.parse((folder / CERTIFICATE).read_bytes(), (folder / KEY).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _is_good(held: Issued, names: Sequence[str], authority: Issued, lives: Lives, now: datetime) -> bool:
    if held.certificate.not_valid_after_utc - now < lives.certificate / 2:
        return False
    return held.certificate.issuer == authority.certificate.subject and certificates.holds(held.certificate, names)


def _replace(folder: Path, files: dict[str, bytes]) -> None:
    """Replace all files at once: whoever reads them finds the old ones or the new ones, never some of each."""
    folder.mkdir(exist_ok=True, mode=0o700)
    fresh = Path(tempfile.mkdtemp(prefix=_ISSUED, dir=folder))
    for name, content in files.items():
        certificates.write(fresh / name, content, secret=name == KEY)
        if not (folder / name).is_symlink():
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(f"{_DATA}/{name}")
    link = folder / f"{_DATA}.new"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.replace(folder / _DATA)
    for old in folder.glob(f"{_ISSUED}*"):
        if old != fresh:
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Keep a second issuer out until this one is done."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def expiry(certificate: Path) -> datetime:
    """Return until when the certificate in a file is valid.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no certificate.
    """
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
