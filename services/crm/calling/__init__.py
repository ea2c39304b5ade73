"""Calls of the providers' APIs: carries out the steps of a provider module, safely and within the vendor's limits.

`engine.py` is the way in. The pieces around it each know one thing: `origins.py` where a call may go, `guard.py` which
addresses may be connected to, `sender.py` HTTP, `failures.py` what an answer or its absence means, `pace.py` and
`breaker.py` when not to call, `renewal.py` access tokens, and `health.py` what to remember of how it went.
"""
