"""Every method of ours, from the generated modules themselves."""

from importlib import import_module
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor

GEN = Path(__file__).resolve().parents[2] / "gen"
METHODS: dict[str, MethodDescriptor] = {}


def load_all() -> None:
    """Import every generated module, so that the descriptor pool knows all messages; fill `METHODS`."""
    for path in sorted((GEN / "rapport").rglob("*_pb2.py")):
        module = import_module(".".join(path.relative_to(GEN).with_suffix("").parts))
        for service in module.DESCRIPTOR.services_by_name.values():
            METHODS.update({f"{service.full_name}/{method.name}": method for method in service.methods})


load_all()
