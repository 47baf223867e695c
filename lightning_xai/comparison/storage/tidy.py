"""Values as tidy rows, one per image and number, in Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from lightning_xai.comparison.results import CellValues, ImageFacts

NAMES = ("model", "data", "transform", "target_rule", "explainer", "metric")
_OF_IMAGES = ("image", "key", "id", "label", "target", "predicted", "probability")
COLUMNS = (*NAMES, *_OF_IMAGES, "column", "value")
_METADATA = b"lightning_xai"


def check_pyarrow() -> None:
    """Raise ModuleNotFoundError unless Parquet files can be written."""
    if find_spec("pyarrow") is None:
        raise ModuleNotFoundError(
            "Expected pyarrow, because the values of a comparison are kept as Parquet, but it is not installed: "
            'pip install "lightning-xai[compare]"'
        )


def tidy(found: CellValues, names: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return a row for each image and number, by column: those of `COLUMNS`; an undefined value is None."""
    facts, columns = found.facts, found.columns
    count, width = columns.shape
    of_image: dict[str, Sequence[Any]] = {
        "image": range(count),
        "key": facts.keys.tolist(),
        "id": facts.ids,
        "label": facts.labels.tolist(),
        "target": facts.target.tolist(),
        "predicted": facts.predicted.tolist(),
        "probability": facts.probabilities.tolist(),
    }
    rows: dict[str, list[Any]] = {name: [names[name]] * (count * width) for name in NAMES}
    rows |= {name: [value for value in values for _ in range(width)] for name, values in of_image.items()}
    rows["column"] = list(range(width)) * count
    rows["value"] = [None if value != value else value for value in columns.flatten().tolist()]
    return rows


def table_to_parquet(rows: Mapping[str, list[Any]], metadata: Mapping[str, Any]) -> bytes:
    """Return tidy rows as the bytes of a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds: dict[str, Any] = dict.fromkeys(NAMES, pa.string())
    kinds |= dict.fromkeys(("image", "key", "label", "target", "predicted", "column"), pa.int64())
    kinds |= {"id": pa.string(), "probability": pa.float32(), "value": pa.float32()}
    schema = pa.schema(
        [(name, kinds[name]) for name in COLUMNS], metadata={_METADATA: json.dumps(dict(metadata)).encode()}
    )
    table = pa.Table.from_pydict({name: rows[name] for name in COLUMNS}, schema=schema)
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def values_to_parquet(found: CellValues, names: Mapping[str, str]) -> bytes:
    """Return the values of a metric in a cell as the bytes of a Parquet file."""
    metadata = {
        "evaluations": found.evaluations,
        "seconds": found.seconds,
        "settings": found.settings,
        "is_flat": found.rows.ndim == 1,
    }
    return table_to_parquet(tidy(found, names), metadata)


def values_from_parquet(content: bytes) -> CellValues:
    """Return what `values_to_parquet` wrote."""
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(content))
    metadata = json.loads(table.schema.metadata[_METADATA])
    rows = table.to_pydict()
    width = max(rows["column"]) + 1
    values = _tensor([float("nan") if value is None else value for value in rows["value"]], torch.float32)
    values = values.view(-1, width)
    first = {name: rows[name][::width] for name in _OF_IMAGES}
    facts = ImageFacts(
        keys=_tensor(first["key"], torch.int64),
        ids=tuple(first["id"]),
        labels=_tensor(first["label"], torch.int64),
        target=_tensor(first["target"], torch.int64),
        predicted=_tensor(first["predicted"], torch.int64),
        probabilities=_tensor(first["probability"], torch.float32),
    )
    return CellValues(
        rows=values[:, 0] if metadata["is_flat"] else values,
        facts=facts,
        evaluations=metadata["evaluations"],
        seconds=metadata["seconds"],
        settings=metadata["settings"],
    )


def _tensor(values: Sequence[Any], dtype: torch.dtype) -> Tensor:
    return torch.tensor(list(values), dtype=dtype)
