"""Who may import whom, read from the source; and what an import costs, asked of a process."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Set, Tuple

import pytest

import h2ogpte_migration
from h2ogpte_migration.sandbox.server import SandboxServer

PACKAGE = "h2ogpte_migration"
ROOT = Path(h2ogpte_migration.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# The layers, from the top; a module may import what lies below it, or beside it in its own
# layer. Names are modules of the package, or folders of it.
LAYERS: Tuple[Tuple[str, ...], ...] = (
    ("__main__",),
    ("app",),
    ("commands",),
    ("run",),
    ("cli",),
    ("pipeline",),
    ("steps",),
    ("sending",),
    ("migration",),
    ("overview",),
    ("tracking", "gateway"),
    ("ui", "report"),
    ("results", "checked"),
    ("planner", "validation", "retrieval"),
    ("model", "states", "naming", "assumptions"),
    ("clock",),
    ("patience", "errors", "redact", "ui.text", ""),
)
CORE = (
    "model",
    "states",
    "planner",
    "validation",
    "retrieval",
    "naming",
    "results",
    "assumptions",
    "checked",
)
# What the core may use beside itself: words for what went wrong, no doing.
BASE = ("errors",)
# Where a library may be imported at all.
DOORS: Dict[str, Tuple[str, ...]] = {
    "sqlite3": ("tracking",),
    "h2ogpte": ("gateway.chat",),
    "urllib3": ("gateway",),
    "certifi": ("gateway.pools",),
    "rich": ("ui",),
    "aiohttp": ("sandbox",),
    "dotenv": ("cli.parse",),
    "websockets": ("gateway.chat",),
    "pydantic": (),
    "pandas": (),
    "requests": (),
}
MOST_LINES = 700
HEAVY = {"h2ogpte", "aiohttp", "websockets", "pydantic", "pandas", "rich"}


class Import(NamedTuple):
    """One name that a module imports, and whether that happens when the module is loaded."""

    module: str
    line: int
    at_start: bool
    for_typing: bool

    def __str__(self) -> str:
        return f"line {self.line}: {self.module}"


def name_of(path: Path) -> str:
    """The dotted name within the package; the package itself is the empty one."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@lru_cache(maxsize=None)
def _all_imports_of(path: Path) -> Tuple[Import, ...]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    folder = [PACKAGE, *path.relative_to(ROOT).parts[:-1]]
    return tuple(_walk(tree, True, False, folder))


def imports_of(path: Path, *, typing_too: bool = True) -> List[Import]:
    return [found for found in _all_imports_of(path) if typing_too or not found.for_typing]


def _walk(node: ast.AST, at_start: bool, for_typing: bool, folder: List[str]) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_start, for_typing)
        elif isinstance(child, ast.ImportFrom):
            above = folder[: len(folder) + 1 - child.level] if child.level else []
            origin = ".".join([*above, *([child.module] if child.module else [])])
            for alias in child.names:
                yield Import(f"{origin}.{alias.name}", child.lineno, at_start, for_typing)
        elif isinstance(child, (ast.stmt, ast.ExceptHandler)):  # expressions hold none
            typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            later = typing or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from _walk(child, at_start and not later, for_typing or typing, folder)


@lru_cache(maxsize=None)
def own_module(imported: str) -> str:
    """The module of this package that a dotted name lies in."""
    parts = imported.split(".")[1:]
    while parts:
        place = ROOT.joinpath(*parts)
        if place.with_suffix(".py").exists() or (place / "__init__.py").exists():
            break
        parts.pop()
    return ".".join(parts)


@lru_cache(maxsize=None)
def layer_of(module: str) -> int:
    """The layer of the longest name that it lies in: ``ui.text`` before ``ui``."""
    found = [
        (len(member), number)
        for number, members in enumerate(LAYERS)
        for member in members
        if module == member or (member and module.startswith(f"{member}."))
    ]
    assert found, f"{module} stands in no layer of this test"
    return max(found)[1]


def top(imported: str) -> str:
    return imported.split(".")[0]


def within(module: str, places: Tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_every_layer_is_needed_and_every_module_has_one() -> None:
    modules = {name_of(path) for path in FILES}
    to_come = {"report"}
    assert {member for layer in LAYERS for member in layer} - to_come <= modules
    for module in modules:
        if not module.startswith("sandbox"):
            layer_of(module)
    assert layer_of("ui.text") > layer_of("ui.console"), "the narrower name decides"


MODULES = [path for path in FILES if not name_of(path).startswith("sandbox")]
Wrong = Dict[str, List[str]]


def among(paths: List[Path], wrong: Callable[[str, Import], bool], **how: bool) -> Wrong:
    """The imports of each module that are wrong there, by the module; empty where all is well."""
    found = {
        name_of(path): [str(one) for one in imports_of(path, **how) if wrong(name_of(path), one)]
        for path in paths
    }
    return {module: imports for module, imports in found.items() if imports}


def test_imports_go_downwards_only() -> None:
    def upwards(module: str, found: Import) -> bool:
        imported = own_module(found.module)
        if top(found.module) != PACKAGE or imported.startswith("sandbox"):
            return False  # the sandbox has a test of its own
        return layer_of(imported) < layer_of(module)

    assert among(MODULES, upwards) == {}, "these import what stands above them"


def test_libraries_are_imported_behind_their_doors_only() -> None:
    def outside(module: str, found: Import) -> bool:
        library = top(found.module)
        return library in DOORS and not within(module, DOORS[library])

    assert among(FILES, outside) == {}


def test_only_known_libraries_are_imported() -> None:
    if sys.version_info < (3, 10):
        pytest.skip("the names of the standard library are known from Python 3.10 on")
    known = {PACKAGE, *DOORS, *sys.stdlib_module_names}
    assert among(FILES, lambda _, found: top(found.module) not in known) == {}


def is_core(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in (*CORE, *BASE))


def test_the_core_imports_the_standard_library_and_the_core() -> None:
    core = [path for path in FILES if is_core(name_of(path))]
    doing = {"os", "io", "socket", "subprocess", "threading", "time", "random", "pathlib"}

    def beyond(_: str, found: Import) -> bool:
        if top(found.module) == PACKAGE:
            return not is_core(own_module(found.module))
        return top(found.module) in doing

    assert {name_of(path) for path in core} >= {*CORE, *BASE}
    assert among(core, beyond) == {}


def test_only_the_composition_root_knows_the_sandbox() -> None:
    knowing = among(MODULES, lambda _, found: found.module.startswith(f"{PACKAGE}.sandbox"))
    assert [*knowing] == ["app"], knowing


def test_the_sandbox_knows_nothing_of_the_tool_but_what_it_assumes_and_harmless_text() -> None:
    own = {
        own_module(found.module)
        for path in FILES
        if name_of(path).startswith("sandbox")
        for found in imports_of(path)
        if top(found.module) == PACKAGE
    }
    assert {name for name in own if not name.startswith("sandbox")} <= {
        "",
        "ui.text",
        "assumptions",
    }


def test_the_command_line_knows_nothing_of_the_work() -> None:
    below_the_doors = LAYERS.index(("tracking", "gateway"))
    for path in sorted((ROOT / "cli").glob("*.py")):
        for found in imports_of(path):
            if top(found.module) == PACKAGE:
                imported = own_module(found.module)
                beside = imported == "cli" or imported.startswith("cli.")
                assert beside or layer_of(imported) > below_the_doors, path


def test_the_two_doors_do_not_know_each_other() -> None:
    for door, other in (("tracking", "gateway"), ("gateway", "tracking")):
        for path in sorted((ROOT / door).glob("*.py")):
            for found in imports_of(path):
                assert not found.module.startswith(f"{PACKAGE}.{other}"), path


def test_the_middle_knows_nothing_of_the_gateway_but_its_operations() -> None:
    folders = [
        path for name in ("steps", "commands", "run") for path in (ROOT / name).rglob("*.py")
    ]
    for path in [*folders, ROOT / "pipeline.py", ROOT / "migration.py"]:
        if name_of(path) == "run.session":
            continue  # puts the parts of a run together
        gateways = {
            own_module(found.module)
            for found in imports_of(path)
            if found.module.startswith(f"{PACKAGE}.gateway")
        }
        # The listing step answers an error that only pages can raise.
        # What only a check of the server asks for is for the check only.
        bench = {"gateway.workbench"} if name_of(path).startswith("run.check") else set()
        assert gateways <= {"gateway.rest", "gateway.paging", *bench}, path


def test_heavy_libraries_are_imported_when_they_are_first_used() -> None:
    def too_early(_: str, found: Import) -> bool:
        return found.at_start and top(found.module) in HEAVY

    assert among(MODULES, too_early, typing_too=False) == {}


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES} == {}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph: Dict[str, Set[str]] = {
        name_of(path): {
            own_module(found.module)
            for found in imports_of(path, typing_too=False)
            if found.at_start and top(found.module) == PACKAGE
        }
        - {name_of(path)}
        for path in FILES
    }
    done: Set[str] = set()

    def visit(module: str, trail: List[str]) -> None:
        assert module not in trail, " > ".join([*trail, module])
        if module in done:
            return
        for imported in graph.get(module, set()):
            if imported:
                visit(imported, [*trail, module])
        done.add(module)

    for module in graph:
        visit(module, [])


# -- what a process has loaded -------------------------------------------------------------
PROBE = """
import json, sys
from h2ogpte_migration import app
code = 0
try:
    code = app.main(sys.argv[1:])
except SystemExit as end:
    code = end.code
loaded = sorted({name.split(".")[0] for name in sys.modules})
print("LOADED", json.dumps([code or 0, loaded]))
"""


def loaded_by(*words: str) -> Tuple[int, Set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=True
    )
    code, names = json.loads(done.stdout.rpartition("LOADED ")[2])
    return code, set(names)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["--version"], 0, id="version"),
        pytest.param(["--status", "--db-path", "tracking.db"], 0, id="status"),
        pytest.param(
            ["--status", "--db-path", "tracking.db", "--json"], 0, id="status for machines"
        ),
        pytest.param(["--status", "--db-path", "none.db"], 2, id="status of nothing"),
        pytest.param(["--no-such-flag"], 2, id="unknown flag"),
        pytest.param([], 2, id="no arguments"),
        pytest.param(["--url", "nonsense", "--users", "a"], 2, id="bad url"),
    ],
)
def test_quick_answers_load_no_heavy_library(tmp_path: Path, words: List[str], code: int) -> None:
    from h2ogpte_migration.tracking.database import Database

    Database.to_write(tmp_path / "tracking.db").close()
    answered, loaded = loaded_by(*words)
    assert answered == code
    assert loaded & HEAVY == set()


def test_a_run_against_a_server_loads_no_heavy_library(
    server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--url", server.url, "--admin-key", "sk-sandbox-admin", "--all-users"]
    answered, loaded = loaded_by(*words, "--use-model-mappings")
    assert answered == 0
    assert server.requests
    assert loaded & HEAVY == set()
    assert "urllib3" in loaded
