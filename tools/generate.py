"""Generate all that is made from the protos: Python, type stubs and the one descriptor image.

The image (`gen/rapport.binpb`) feeds buf, Envoy's transcoder and the OpenAPI document alike. No network is needed.
"""

import filecmp
import os
import shutil
import sys
import tempfile
from importlib import import_module
from importlib.resources import files
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GEN = ROOT / "gen"
IMAGE = GEN / "rapport.binpb"

# Envoy's transcoder turns a rich error into an empty body unless these types are in its descriptor set.
ALWAYS_IN_THE_IMAGE = ("google/rpc/error_details.proto", "google/rpc/status.proto", "google/api/httpbody.proto")


def validate_descriptor(target: Path) -> None:
    """Write the descriptor of `buf/validate/validate.proto`, which the protovalidate wheel carries only as Python.

    Raises:
        SystemExit: the installed protovalidate no longer has the private module that this reads.
    """
    try:
        module = import_module("protovalidate._gen.buf.validate.validate_pb")
        serialized = module.desc().proto.to_binary()
    except (ImportError, AttributeError) as error:
        sys.exit(f"tools/generate.py reads protovalidate._gen.buf.validate.validate_pb, which changed: {error}")
    proto = descriptor_pb2.FileDescriptorProto.FromString(serialized)
    base = descriptor_pb2.FileDescriptorSet()
    descriptor = descriptor_pb2.DESCRIPTOR
    for known in ("duration", "timestamp", "field_mask"):
        base.file.add().ParseFromString(import_module(f"google.protobuf.{known}_pb2").DESCRIPTOR.serialized_pb)
    base.file.add().ParseFromString(descriptor.serialized_pb)
    base.file.append(proto)
    target.write_bytes(base.SerializeToString())


def run_protoc(*arguments: str) -> None:
    """Run protoc; raise SystemExit when it refuses."""
    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit("protoc refused the protos, see above")


def generate(out: Path) -> None:
    """Generate into `out` from nothing."""
    well_known = str(files("grpc_tools") / "_proto")
    googleapis = str(Path(import_module("google.api.http_pb2").__file__ or "").parents[2])
    ours = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        validate = Path(folder) / "validate.binpb"
        validate_descriptor(validate)
        common = (
            f"-I{PROTOS}",
            f"-I{googleapis}",
            f"-I{well_known}",
        )
        sources = Path(folder) / "sources.binpb"
        # protoc finds its plug-ins by PATH; they stand beside this interpreter.
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        run_protoc(
            *common,
            f"--descriptor_set_in={validate}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={sources}",
            *ours,
            *ALWAYS_IN_THE_IMAGE,
        )
        shutil.copy(sources, out / IMAGE.name)
        run_protoc(
            f"--descriptor_set_in={sources}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=readable_stubs,quiet:{out}",
            f"--mypy_grpc_out=quiet,only_async:{out}",
            *ours,
        )
        run_protoc(
            f"--descriptor_set_in={sources}",
            f"--python_out={out}",
            f"--mypy_out=readable_stubs,quiet:{out}",
            "buf/validate/validate.proto",
        )
    for path in out.rglob("*_pb2_grpc.py"):
        if "Servicer" not in path.read_text():
            path.unlink()
            path.with_suffix(".pyi").unlink(missing_ok=True)


def replace(target: Path, fresh: Path) -> None:
    """Make `target` equal to `fresh`, touching only what differs: whoever imports from it meanwhile finds all there."""
    made = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    for path in made:
        destination = target / path
        if not destination.exists() or not filecmp.cmp(fresh / path, destination, shallow=False):
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / path, destination)
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in made and "__pycache__" not in path.parts:
            path.unlink()


def main() -> None:
    """Replace `gen/` by what the protos say now."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        replace(GEN, Path(folder))


if __name__ == "__main__":
    main()
