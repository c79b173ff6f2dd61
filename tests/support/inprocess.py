"""Run the command in this process: a quarter less of work, where no process is the point.

Requests, threads, the tracking database and all that is printed are real. What a run can't have to
itself here is its signals, and who looks from another process takes it for dead: whoever kills or
interrupts a run, or lets two of them meet, needs ``command``.
"""

from __future__ import annotations

import io
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

import pytest

from h2ogpte_migration import redact
from h2ogpte_migration.app import main
from h2ogpte_migration.tracking import runs
from h2ogpte_migration.tracking.liveness import ProcessIdentity, current_process, is_alive

from .client import prepare_client
from .command import Env, Folder, Result

_runs: List[ProcessIdentity] = []


def run_here(
    words: Sequence[str],
    folder: Folder,
    env: Optional[Env] = None,
) -> Result:
    """Run one command line in ``folder``, with changes to the environment; None removes a variable."""
    if "--verify-query" in words:
        prepare_client()
    _runs.append(replace(current_process(), start=f"run {len(_runs)}"))
    out, err = io.StringIO(), io.StringIO()
    with _in_place(Path(folder), env or {}), redirect_stdout(out), redirect_stderr(err):
        code = int(main(words))
    return Result(code, out.getvalue(), err.getvalue())


@contextmanager
def _in_place(folder: Path, env: Env) -> Iterator[None]:
    """Each run passes for a process of its own, and those before it for dead."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "current_process", lambda: _runs[-1])
        patch.setattr(runs, "is_alive", _is_alive)
        patch.setattr(redact, "_forms", {})  # other tests' keys are still secrets, later
        patch.chdir(folder)
        for name, value in env.items():
            if value is None:
                patch.delenv(name, raising=False)
            else:
                patch.setenv(name, value)
        yield


def _is_alive(process: ProcessIdentity) -> Optional[bool]:
    return process == _runs[-1] if process in _runs else is_alive(process)
