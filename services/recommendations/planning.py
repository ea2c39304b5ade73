"""How Postgres plans statements that work on a whole shop."""

PLAN_FOR_MANY = """
SELECT set_config('enable_nestloop', 'off', true), set_config('plan_cache_mode', 'force_custom_plan', true)
"""
"""Until the transaction ends: no nested loops, and no plans that were kept.

A shop's first orders were not there when the tables' statistics were made. Where these expect one row of it, a nested
loop that compares everything with everything looks cheapest and takes hours for fifty thousand. A plan that a small
shop's statement left on the connection would not heed that.
"""

PLAN_AS_USUAL = "SELECT set_config('enable_nestloop', 'on', true), set_config('plan_cache_mode', 'auto', true)"
"""For the rest of a transaction that began otherwise."""
