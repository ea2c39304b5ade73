"""The tables of all vendors: every module `<provider>_cases.py` beside this one has a `TABLE`."""

from importlib import import_module
from pathlib import Path

from tests.support.vendors.cases import Table

TABLES: dict[str, Table] = {
    table.provider: table
    for table in (
        import_module(f"tests.support.vendors.{path.stem}").TABLE
        for path in sorted(Path(__file__).parent.glob("*_cases.py"))
    )
}
"""Every vendor's table by the provider's id."""
