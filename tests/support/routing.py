"""The routing table, every combination written out: what a request brings, what its tenant is, what its host says."""

from itertools import product

from servicekit.identity import Credential, Host, Standing, Verdict

_WRITTEN_OUT = """
key              active     agrees     allowed
key              active     disagrees  forbidden
key              suspended  agrees     unauthenticated
key              suspended  disagrees  unauthenticated
key              deleted    agrees     unauthenticated
key              deleted    disagrees  unauthenticated
key              unknown    agrees     unauthenticated
key              unknown    disagrees  unauthenticated
token            active     agrees     allowed
token            active     disagrees  forbidden
token            suspended  agrees     unauthenticated
token            suspended  disagrees  unauthenticated
token            deleted    agrees     unauthenticated
token            deleted    disagrees  unauthenticated
token            unknown    agrees     unauthenticated
token            unknown    disagrees  unauthenticated
webhook_token    active     agrees     allowed
webhook_token    active     disagrees  unauthenticated
webhook_token    suspended  agrees     unauthenticated
webhook_token    suspended  disagrees  unauthenticated
webhook_token    deleted    agrees     unauthenticated
webhook_token    deleted    disagrees  unauthenticated
webhook_token    unknown    agrees     unauthenticated
webhook_token    unknown    disagrees  unauthenticated
webhook_account  active     agrees     allowed
webhook_account  active     disagrees  unauthenticated
webhook_account  suspended  agrees     unauthenticated
webhook_account  suspended  disagrees  unauthenticated
webhook_account  deleted    agrees     unauthenticated
webhook_account  deleted    disagrees  unauthenticated
webhook_account  unknown    agrees     unauthenticated
webhook_account  unknown    disagrees  unauthenticated
host_only        active     agrees     unauthenticated
host_only        active     disagrees  unauthenticated
host_only        suspended  agrees     unauthenticated
host_only        suspended  disagrees  unauthenticated
host_only        deleted    agrees     unauthenticated
host_only        deleted    disagrees  unauthenticated
host_only        unknown    agrees     unauthenticated
host_only        unknown    disagrees  unauthenticated
nothing          active     agrees     unauthenticated
nothing          active     disagrees  unauthenticated
nothing          suspended  agrees     unauthenticated
nothing          suspended  disagrees  unauthenticated
nothing          deleted    agrees     unauthenticated
nothing          deleted    disagrees  unauthenticated
nothing          unknown    agrees     unauthenticated
nothing          unknown    disagrees  unauthenticated
"""

Row = tuple[Credential, Standing, Host]

TABLE: dict[Row, Verdict] = {
    (Credential[credential], Standing[standing], Host[host]): Verdict[verdict]
    for credential, standing, host, verdict in (line.upper().split() for line in _WRITTEN_OUT.split("\n") if line)
}
"""What becomes of each request."""

COMBINATIONS: list[Row] = list(product(Credential, Standing, Host))
"""All there are."""


def name_of(row: Row) -> str:
    """Return the name of a row for a test's id."""
    return "-".join(part.name.lower() for part in row)
