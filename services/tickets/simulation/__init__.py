"""The order of the inbox, tried out: a support desk in discrete events, the same tickets under each policy.

`scenarios.py` says what kind of desk, `world.py` draws its tickets (what is true, and the noisy picture that policies
see), `policies.py` holds the policies, `desk.py` serves, `measures.py` counts, `study.py` repeats and compares.
Nothing here touches a database: `replay.py` takes a shop's own tickets as they are given to it.
"""
