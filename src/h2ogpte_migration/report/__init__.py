"""Reports in a file: the evidence afterwards, the plan before. One format and one row each.

They read results only; nothing of them decides anything.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Dict, Iterable

from h2ogpte_migration.redact import scrub
from h2ogpte_migration.report.document import Report

WRITERS: Dict[str, str] = {".json": "as_json", ".csv": "as_csv", ".html": "as_html"}
"""Suffix of the file -> the module whose ``parts`` gives its text, piece by piece."""


def write(path: Path, report: Report) -> None:
    """Write a report, readable by its owner only: all of it, or the file stays as it was.

    Raises:
        OSError: the file can't be written.
    """
    write_parts(path, import_module(f"{__name__}.{WRITERS[path.suffix.lower()]}").parts(report))


def write_parts(path: Path, parts: Iterable[str]) -> None:
    """Write a text piece by piece, in the same way.

    Raises:
        OSError: the file can't be written.
    """
    target = path.resolve()  # a link stays one
    # Made readable by its owner only.
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="") as file:
            for part in parts:
                file.write(scrub(part))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


__all__ = ["WRITERS", "Report", "write", "write_parts"]
