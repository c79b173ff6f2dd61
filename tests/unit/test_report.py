"""Reports: whatever the server says stays text, and a page works by itself."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest

from h2ogpte_migration import report
from h2ogpte_migration.cli.values import ids_of_list, read_text_file
from h2ogpte_migration.report import WRITERS, Report
from h2ogpte_migration.results import OutcomeKind, Plan, Recorded, Result

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egpj\n=1+1"
TIMES = Recorded(
    begun_at="2026-03-16T08:00:00+00:00",
    imported_at="2026-03-16T08:30:00+00:00",
    validated_at="2026-03-16T08:31:00+00:00",
    verdict="clean",
    documents_before=1200,
    documents_after=1200,
    connectors_moved=2,
    chats_moved=7,
)
DONE = Result(
    OutcomeKind.DONE, "done-1", "Alpha", "anna", "old/m", target_id="new-1", recorded=TIMES
)
FAILED = Result(
    OutcomeKind.FAILED,
    "bad-1",
    HOSTILE,
    HOSTILE,
    HOSTILE,
    target_name=HOSTILE,
    target_model=HOSTILE,
    reason=HOSTILE,
    hint=HOSTILE,
    warnings=(HOSTILE,),
    needs_attention=True,
)
PLANNED = Result(
    OutcomeKind.PLANNED,
    "plan-1",
    "Beta",
    "anna",
    "old/m",
    target_model="new/m",
    plan=Plan("create", documents=5, size_bytes=2_500_000, connectors=1, chats=4),
)


def made(*rows: Result, about: str = "run", **more: Any) -> Report:
    facts: Dict[str, Any] = {
        "about": about,
        "written_at": "2026-03-17T07:00:00+00:00",
        "version": "2",
        "server": "https://h2ogpte.example.com",
        "database": "migration_tracking.db",
        "command": "h2ogpte-migrate",
        "rows": rows,
    }
    return Report(**{**facts, **more})


def written(folder: Path, suffix: str, told: Report) -> str:
    path = folder / f"report{suffix}"
    report.write(path, told)
    return path.read_bytes().decode("utf-8")


class Page(HTMLParser):
    """What a browser would make of a page."""

    VOID = ("meta", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: List[str] = []
        self.tags: List[Tuple[str, Dict[str, Optional[str]]]] = []
        self.words: List[str] = []
        self.rows: List[List[str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if "td" in self.open:
            self.rows[-1][-1] += data


@pytest.mark.parametrize("about", ["run", "dry run", "status"])
def test_a_page_is_whole_and_needs_no_network(tmp_path: Path, about: str) -> None:
    text = written(tmp_path, ".html", made(DONE, FAILED, PLANNED, about=about))
    page = Page(text)
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert {tag for tag, _ in page.tags} & {"img", "link", "iframe", "object", "a"} == set()
    assert not {name for _, attrs in page.tags for name in attrs if name.startswith("on")}
    assert not any("src" in attrs or "href" in attrs for _, attrs in page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "max-width: 760px" in text


def test_a_hostile_name_stays_a_name(tmp_path: Path) -> None:
    text = written(tmp_path, ".html", made(FAILED))
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert "\\u202egpj" in text
    page = Page(text)
    assert any("</script><script>alert(1)" in word for word in page.words)


def test_failures_come_first(tmp_path: Path) -> None:
    page = Page(written(tmp_path, ".html", made(DONE, FAILED)))
    assert [row[0] for row in page.rows[1:]] == ["failed", "done"]
    told = json.loads(written(tmp_path, ".json", made(DONE, FAILED)))
    assert [row["outcome"] for row in told["collections"]] == ["failed", "done"]


def test_the_evidence_is_on_the_page(tmp_path: Path) -> None:
    page = Page(written(tmp_path, ".html", made(DONE)))
    row = " | ".join(page.rows[1])
    for words in ("done-1", "new-1", "1,200 → 1,200", "clean", "2, 7", "2026-03-16 08:31"):
        assert words in row


def test_a_plan_claims_no_progress_and_says_what_to_think_of(tmp_path: Path) -> None:
    plan = Plan("create", permissions=("user bo (read)", HOSTILE), lifecycle=("size_limit: 9",))
    rows = (replace(PLANNED, plan=plan, recorded=TIMES), replace(PLANNED, source_id="plan-2"))
    told = made(*rows, about="dry run", notes=("Chats stay: 4 chats", HOSTILE))
    page = Page(written(tmp_path, ".html", told))
    text = " ".join(page.words)
    assert "2 of 2" not in text
    assert "Imports finished" not in text
    assert "Chats stay: 4 chats" in text
    assert any("user bo (read)" in cell and "size_limit: 9" in cell for cell in page.rows[1])
    data = json.loads(written(tmp_path, ".json", told))
    assert data["notes"][0] == "Chats stay: 4 chats"
    assert data["collections"][0]["permissions"][0] == "user bo (read)"


def test_what_to_type_next_stands_in_it(tmp_path: Path) -> None:
    told = made(FAILED, following=("h2ogpte-migrate --users 'o\"hara & <b>' --retry-failed",))
    page = Page(written(tmp_path, ".html", told))
    assert told.following[0] in page.words
    assert json.loads(written(tmp_path, ".json", told))["next"] == list(told.following)
    assert "Next" not in Page(written(tmp_path, ".html", made(DONE))).words


def test_json_has_a_schema_and_every_count(tmp_path: Path) -> None:
    told = json.loads(written(tmp_path, ".json", made(FAILED, exit_code=1, remarks=("r",))))
    assert told["schema"] == "h2ogpte-migrate/report/1"
    assert told["counts"] == {kind.value: int(kind == "failed") for kind in OutcomeKind}
    assert told["collections"][0]["name"] == HOSTILE
    assert json.loads(written(tmp_path, ".json", made()))["collections"] == []


@pytest.mark.parametrize("ident", ["plain-1", "-begins-so", "=1+1", "+49", "@at", "a/b c,d%2f?#"])
def test_csv_keeps_ids_and_holds_no_formula(tmp_path: Path, ident: str) -> None:
    told = made(Result(OutcomeKind.PLANNED, ident, HOSTILE, owner="=cmd"))
    text = written(tmp_path, ".csv", told)
    rows = list(csv.reader(io.StringIO(text.lstrip("\ufeff"), newline="")))
    assert rows[0][0] == "collection_id"
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in rows[1])
    assert ids_of_list(read_text_file(tmp_path / "report.csv")).ids == (ident,)


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_it_replaces_whole_and_for_its_owner_only(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"report{suffix}"
    path.write_text("old")
    path.chmod(0o644)
    written(tmp_path, suffix, made(DONE))
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        report.write(path, made(DONE, None))  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_no_key_gets_into_it(tmp_path: Path) -> None:
    from h2ogpte_migration.redact import register

    register("sk-report-secret-1")
    told = made(Result(OutcomeKind.FAILED, "a", reason="refused sk-report-secret-1"))
    for suffix in WRITERS:
        assert "sk-report-secret-1" not in written(tmp_path, suffix, told)


BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no chromium here to look with")
def test_a_browser_searches_and_sorts(tmp_path: Path) -> None:
    rows = [
        Result(OutcomeKind.DONE, f"id-{n}", f"Name {n}", recorded=Recorded(documents_after=n))
        for n in (30, 4, 200)
    ]
    text = written(tmp_path, ".html", made(*rows, FAILED))
    probe = """<script>
      document.getElementById("search").value = "name";
      document.getElementById("search").dispatchEvent(new Event("input"));
      document.querySelectorAll("th button")[4].click();
      document.title = Array.from(document.querySelectorAll("tbody tr:not([hidden]) b"))
        .map(function (b) { return b.textContent; }).join();
    </script></body>"""
    path = tmp_path / "probe.html"
    path.write_text(text.replace("</body>", probe), encoding="utf-8")
    ran = subprocess.run(
        [
            str(BROWSER),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", ran.stdout)
    assert title is not None
    assert title.group(1) == "Name 4,Name 30,Name 200"
