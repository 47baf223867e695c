"""Pictures, tables and tags in MLflow."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from lightning_xai.loggers.log_picture import scalar_name

if TYPE_CHECKING:
    from lightning_xai._lightning import MLFlowLogger
    from lightning_xai.loggers.log_alarm import LoggedAlarm
    from lightning_xai.loggers.log_picture import LoggedPicture
    from lightning_xai.loggers.log_table import LoggedTable

_TABLES = "mlflow.loggedArtifacts"  # the tag by which its pages find tables
_LONGEST_TAG = 5000  # letters that every backend takes


def log_to_mlflow(logger: MLFlowLogger, logged: LoggedPicture) -> None:
    """Add a picture to the time-stepped images of an MLflow run; they have no place for a caption.

    Characters that MLflow refuses in names are dropped, as Lightning drops them from the names of scalars.
    """
    logger.experiment.log_image(logger.run_id, logged.pixels, key=_key(logger, logged.name), step=logged.step)


def log_table_to_mlflow(logger: MLFlowLogger, table: LoggedTable) -> None:
    """Add a table to the artifacts of an MLflow run, and its pictures beside it, each in a file of its own.

    Written is what ``MlflowClient.log_table`` writes, which needs pandas: JSON in the form ``split``.
    """
    from lightning_xai.loggers.log_table import TablePicture

    client, run = logger.experiment, logger.run_id
    folder = _key(logger, table.name)
    moment = f"epoch={table.epoch:04d}-step={table.step:08d}"
    data: list[list[Any]] = []
    for number, row in enumerate(table.rows):
        cells: list[Any] = []
        for column, cell in zip(table.columns, row, strict=True):
            if isinstance(cell, TablePicture):
                path = f"{folder}/{moment}/{number:04d}-{re.sub(r'[^a-zA-Z0-9_. -]+', '', column)}.png"
                client.log_image(run, cell.picture.numpy(), artifact_file=path)
                cells.append({"type": "image", "filepath": path, "compressed_filepath": path})
            else:
                cells.append(cell)
        data.append(cells)
    file = f"{folder}/{moment}.json"
    client.log_text(run, json.dumps({"columns": list(table.columns), "data": data}), file)
    known = json.loads(client.get_run(run).data.tags.get(_TABLES, "[]"))
    entry = {"path": file, "type": "table"}
    if entry not in known:
        client.set_tag(run, _TABLES, json.dumps([*known, entry]))


def tag_mlflow(logger: MLFlowLogger, alarm: LoggedAlarm) -> None:
    """Add sentences to a tag of an MLflow run, which has no place for texts over time."""
    key, client = _key(logger, alarm.name), logger.experiment
    before = client.get_run(logger.run_id).data.tags.get(key)
    text = alarm.text if before is None else f"{before}\n{alarm.text}"
    client.set_tag(logger.run_id, key, text[:_LONGEST_TAG])


def _key(logger: MLFlowLogger, name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_/. -]+", "", scalar_name(logger, name))
