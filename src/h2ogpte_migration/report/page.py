"""Style and script of the HTML report: constants, with nothing of any collection in them."""

from __future__ import annotations

STYLE = """
:root { --ink: #1c2430; --quiet: #5b6675; --page: #f5f6f8; --box: #fff; --line: #dde1e7;
  --good: #1a7f4b; --open: #b26a00; --bad: #c0262d; --grey: #7a8594; --accent: #2b5fb8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e5e9f0; --quiet: #9aa5b5; --page: #14181f; --box: #1d232d; --line: #323b49;
    --good: #4cc38a; --open: #f0a83c; --bad: #ff6e73; --grey: #8b97a8; --accent: #7aa7f7; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 24px; }
h1 { margin: 0 0 8px; font-size: 26px; } h2 { margin: 0 0 10px; font-size: 17px; }
section { margin-top: 26px; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 0;
  font-size: 13px; } .facts dt { color: var(--quiet); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 10px; }
.tile, .card, table, .two > div, .timeline { background: var(--box);
  border: 1px solid var(--line); border-radius: 8px; }
.tile { padding: 12px 14px; } .tile b { display: block; font-size: 24px; overflow-wrap: anywhere; line-height: 1.2; }
.tile span, .quiet, .ids, .small { color: var(--quiet); font-size: 13px; }
.tile.good b, .badge.good { color: var(--good); } .tile.open b, .badge.open { color: var(--open); }
.tile.bad b, .badge.bad { color: var(--bad); } .tile.grey b, .badge.grey { color: var(--grey); }
.card { margin: 0 0 8px; padding: 10px 14px; border-left: 4px solid var(--open); }
.card.bad { border-left-color: var(--bad); } .card p { margin: 4px 0 0; }
.card, .small, .name, .ids { overflow-wrap: anywhere; }
.badge { font-weight: 600; font-size: 13px; }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; }
.two > div { padding: 14px; min-width: 0; }
.bar { display: grid; grid-template-columns: 1fr max-content; gap: 2px 10px; margin-bottom: 8px;
  font-size: 13px; } .bar span { overflow-wrap: anywhere; min-width: 0; }
pre { margin: 0 0 8px; padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere;
  background: var(--box); border: 1px solid var(--line); border-radius: 8px; }
.count { color: var(--quiet); }
.strip { grid-column: 1 / -1; display: flex; height: 8px; background: var(--line);
  border-radius: 4px; overflow: hidden; }
i.plan { background: var(--accent); } i.good { background: var(--good); } i.open { background: var(--open); } i.bad { background: var(--bad); }
.timeline { display: flex; align-items: flex-end; gap: 2px; height: 90px; padding: 8px; }
.timeline i { flex: 1 1 0; min-width: 2px; max-width: 60px; background: var(--accent);
  border-radius: 2px 2px 0 0; }
.ends { display: flex; justify-content: space-between; gap: 10px; color: var(--quiet);
  font-size: 12px; margin-top: 4px; }
.tools { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; margin: 0 0 10px; }
input, select { font: inherit; color: inherit; background: var(--box); padding: 6px 10px;
  border: 1px solid var(--line); border-radius: 6px; } input { flex: 1 1 260px; max-width: 460px; }
table { width: 100%; border-collapse: separate; border-spacing: 0; font-size: 14px; }
th { position: sticky; top: 0; background: var(--box); text-align: left; z-index: 1;
  padding: 8px; font-size: 13px; } #collections th { padding: 0; }
th button { all: unset; cursor: pointer; font-weight: 600; font-size: 13px; padding: 8px;
  display: block; } th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
td { padding: 7px 8px; border-top: 1px solid var(--line); vertical-align: top; }
td.text { min-width: 150px; } td.number, td.time { white-space: nowrap; font-variant-numeric: tabular-nums; }
td.name { min-width: 200px; } code { font-size: 12px; }
tbody tr { content-visibility: auto; } tr[hidden] { display: none !important; }
@media screen and (max-width: 760px) {
  main { padding: 14px; } .two { grid-template-columns: 1fr; }
  .facts { grid-template-columns: 1fr; } .facts dt { margin-top: 4px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  thead { display: none; } table, tbody, tr, td { display: block; }
  tr { padding: 8px 4px; border-top: 1px solid var(--line); }
  td { border: 0; padding: 2px 10px; } td:empty { display: none; } td.name, td.text { min-width: 0; }
  td[data-label]:not(.name):not(:first-child)::before { content: attr(data-label) ": ";
    color: var(--quiet); font-size: 12px; } }
@media print {
  :root { --ink: #000; --quiet: #444; --page: #fff; --box: #fff; --line: #bbb; --good: #145c37;
    --open: #7a4900; --bad: #9c1c22; --grey: #555; --accent: #2b5fb8; }
  @page { size: landscape; margin: 12mm; }
  body { font-size: 11px; } table, .small, .quiet, .ids, .badge, code, th button { font-size: 9px; }
  td, th button { padding: 3px 5px; } td.name { min-width: 200px; } td.text { min-width: 110px; }
  .tiles { grid-template-columns: repeat(7, 1fr); } main { max-width: none; padding: 0; } .tools { display: none; }
  th { position: static; } thead { display: table-row-group; }
  tr, .card, .tile { break-inside: avoid; content-visibility: visible; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

SCRIPT = """
(function () {
  "use strict";
  var table = document.getElementById("collections"), body = table.tBodies[0];
  var rows = Array.prototype.slice.call(body.rows);
  var texts = rows.map(function (row) { return row.textContent.toLowerCase(); });
  var search = document.getElementById("search"), kind = document.getElementById("kind");
  var shown = document.getElementById("shown");
  function filter() {
    var words = search.value.toLowerCase().split(/\\s+/).filter(Boolean), count = 0;
    rows.forEach(function (row, at) {
      var fits = (!kind.value || row.dataset.kind === kind.value) &&
        words.every(function (word) { return texts[at].indexOf(word) >= 0; });
      row.hidden = !fits;
      if (fits) { count += 1; }
    });
    shown.textContent = count.toLocaleString("en") + " shown";
  }
  function value(row, column) {
    var cell = row.cells[column];
    return cell.dataset.sort === undefined ? cell.textContent : cell.dataset.sort;
  }
  function compare(a, b) {
    if (a === "" || b === "") { return (a === "") - (b === ""); }
    var x = Number(a.replace(/,/g, "")), y = Number(b.replace(/,/g, ""));
    return isNaN(x) || isNaN(y) ? a.localeCompare(b) : x - y;
  }
  Array.prototype.forEach.call(table.tHead.rows[0].cells, function (head, column) {
    head.firstChild.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      Array.prototype.forEach.call(head.parentNode.cells, function (other) {
        other.removeAttribute("aria-sort");
      });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows.map(function (row, at) { return [value(row, column), at, row]; })
        .sort(function (a, b) {
          return (down ? compare(b[0], a[0]) : compare(a[0], b[0])) || a[1] - b[1];
        })
        .forEach(function (item) { body.appendChild(item[2]); });
    });
  });
  search.addEventListener("input", filter);
  kind.addEventListener("change", filter);
})();
"""
