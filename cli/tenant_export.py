"""Everything of one shop as files: one file of JSON lines per table, and a manifest with counts and checksums."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rapport.tenancy.v1 import tenant_data_service_pb2 as pb
from rapport.tenancy.v1 import tenant_data_service_pb2_grpc as rpc
from rapport.tenant.v1 import tenant_service_pb2, tenant_service_pb2_grpc

from cli.errors import CommandError
from cli.operator import Operator, as_dict, operator_of
from cli.suite.folder import SuiteFolder
from cli.suite.names import SERVICES

MANIFEST = "manifest.json"
"""The file that says what all others hold; it is written last, so that a folder without it is incomplete."""

_SECONDS = 3600.0


async def export_tenant(folder: SuiteFolder, slug: str, to: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Write everything of a shop into an empty folder and return the manifest; `progress` is told of every table.

    Raises:
        CommandError: the folder is not empty or cannot be written, the shop is gone, or a service refused.
    """
    _make_empty(to)
    async with operator_of(folder) as operator:
        tenants = operator.stub(tenant_service_pb2_grpc.TenantServiceStub, "tenant")
        request = tenant_service_pb2.GetTenantRequest(tenant=slug)
        tenant = as_dict(await tenants.GetTenant(request, metadata=await operator.metadata(), timeout=30))
        if "erase_time" in tenant:
            raise CommandError(
                f"{slug} is being erased or is gone: there is nothing to export.", reason="TENANT_ERASED"
            )
        tables: list[dict[str, Any]] = []
        for service in SERVICES:
            tables += await _export_service(operator, service, str(tenant["id"]), to, progress)
    manifest = {
        "tenant": tenant,
        "export_time": datetime.now(UTC).isoformat(),
        "tables": tables,
        "left_out": {f"{one['service']}.{one['table']}": one["left_out"] for one in tables if one["left_out"]},
    }
    _write(to / MANIFEST, (json.dumps(manifest, ensure_ascii=False, indent=2) + "\n").encode())
    return manifest


async def _export_service(
    operator: Operator, service: str, tenant_id: str, to: Path, progress: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Write the tables of one service, and return what the manifest says of them."""
    data = operator.stub(rpc.TenantDataServiceStub, service)
    (to / service).mkdir(mode=0o700)
    tables: dict[str, _TableFile] = {}
    stream = data.ExportTenant(
        pb.ExportTenantRequest(tenant_id=tenant_id), metadata=await operator.metadata(), timeout=_SECONDS
    )
    async for part in stream:
        if part.table not in tables:
            tables[part.table] = _TableFile(service, part.table, to, list(part.left_out))
        tables[part.table].add(part.lines, part.row_count)
    for table in tables.values():
        progress(f"{service}.{table.name}: {table.rows} rows")
    return [table.entry() for table in tables.values()]


class _TableFile:
    """The file of one table, and what the manifest says of it."""

    def __init__(self, service: str, name: str, to: Path, left_out: list[str]) -> None:
        self.name = name
        self.rows = 0
        self._service = service
        self._path = to / service / f"{name}.jsonl"
        self._size = 0
        self._left_out = left_out
        self._checksum = hashlib.sha256()
        _write(self._path, b"")

    def add(self, lines: bytes, rows: int) -> None:
        """Add lines at the end."""
        with self._path.open("ab") as file:
            file.write(lines)
        self._checksum.update(lines)
        self._size += len(lines)
        self.rows += rows

    def entry(self) -> dict[str, Any]:
        """Return what the manifest says."""
        return {
            "service": self._service,
            "table": self.name,
            "file": f"{self._service}/{self.name}.jsonl",
            "rows": self.rows,
            "bytes": self._size,
            "sha256": self._checksum.hexdigest(),
            "left_out": self._left_out,
        }


def _make_empty(to: Path) -> None:
    """Make the folder, for its owner only; it holds personal data."""
    try:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(to.iterdir()):
            raise CommandError(f"{to} is not empty: name a new folder.", reason="FOLDER_NOT_EMPTY")
        to.chmod(0o700)
    except OSError as error:
        raise CommandError(f"{to} cannot be written: {error.strerror}.", reason="FOLDER_NOT_WRITABLE") from error


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
