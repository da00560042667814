"""The page's style sheet.

A Python module, because the bundle that `flwr run` makes of a checkout leaves CSS files out.
"""

# ruff: noqa: E501
STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #fefefe; --panel: #f5f7f9; --line: #dfe3e7; --grid: #dfe3e7;
  --ink: #1d2329; --muted: #5c666f;
  --validation: #0072b2; --test: #d55e00; --train: #009e73; --silos: #7b8794; --worst: #cc3311;
  --purple: #cc79a7; --orange: #e69f00; --sky: #56b4e9;
  --chosen: #e6f1f8; --warning: #fdf0e3;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --panel: #1d2328; --line: #353d44; --grid: #2d343a;
    --ink: #e8ebee; --muted: #9aa5ae;
    --validation: #56b4e9; --test: #f08a4b; --train: #2fc79a; --silos: #8b97a3; --worst: #ff7a5c;
    --purple: #e6a6cb; --orange: #f6c453; --sky: #a5dcfa;
    --chosen: #16303f; --warning: #3a2a18;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.5rem 3rem; max-width: 76rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 2.5rem 0 0.75rem; font-size: 1.2rem; }
p { margin: 0.4rem 0; }
.muted, figcaption, .tile small, .note { color: var(--muted); }
.alert {
  margin: 1.25rem 0 0; padding: 0.75rem 1rem; background: var(--warning); border-left: 4px solid var(--test);
}

.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: 0 0.75rem;
  margin: 1.5rem 0 0; padding: 0;
}
.tile {
  display: grid; grid-row: span 3; grid-template-rows: subgrid;  /* so that the numbers of a row line up */
  margin-bottom: 0.75rem; padding: 0.7rem 0.9rem 0.8rem;
  background: var(--panel); border-top: 3px solid var(--line);
}
.tile.validation { border-color: var(--validation); }
.tile.test { border-color: var(--test); }
.tile.silos { border-color: var(--silos); }
.tile dt { font-size: 0.85rem; }
.tile dd { margin: 0; font-size: 1.7rem; line-height: 1.3; font-weight: 600; white-space: nowrap; }
.tile small { font-size: 0.8rem; line-height: 1.35; }
.tag { font-weight: 600; }
.tag.validation { color: var(--validation); }
.tag.test { color: var(--test); }

.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2rem 2.5rem; margin-top: 2rem; }
figure { margin: 0; break-inside: avoid; }
figure svg { display: block; width: 100%; height: auto; font-family: inherit; }
figcaption { margin-top: 0.5rem; font-size: 0.9rem; }

.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; vertical-align: bottom; }
thead { border-bottom: 1px solid var(--muted); }
thead .group th { padding-bottom: 0; text-align: center; font-size: 0.8rem; }
tbody tr + tr { border-top: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
tr.best { background: var(--chosen); }
tr.best th, tr.best td { font-weight: 600; }
tbody tr.drops { border-top: 0; }
tr.drops td { padding-top: 0; text-align: left; white-space: normal; color: var(--worst); overflow-wrap: anywhere; }
/* In view wherever the table is scrolled to. */
tr.drops span { display: inline-block; position: sticky; left: 0.6rem; max-width: min(100%, calc(100vw - 4rem)); }
tr.worst td { color: var(--worst); }
table.narrow { width: auto; min-width: 24rem; }
table.pairs td:last-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.pairs th { vertical-align: top; }

details { margin-top: 2.5rem; }
summary { font-size: 1.2rem; font-weight: 700; cursor: pointer; }
summary + * { margin-top: 0.75rem; }
pre { margin: 0.75rem 0; padding: 0.9rem 1rem; overflow-x: auto; background: var(--panel); font-size: 0.85rem; line-height: 1.45; }
code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.hash { overflow-wrap: anywhere; }

@media screen and (max-width: 52rem) {
  .figures { grid-template-columns: minmax(0, 1fr); }
}
@media screen and (max-width: 32rem) {
  body { padding: 1.25rem 1rem 2rem; }
  h1 { font-size: 1.5rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); column-gap: 0.5rem; }
  .tile { margin-bottom: 0.5rem; padding: 0.55rem 0.7rem 0.65rem; }
  .tile dd { font-size: 1.35rem; }
  th, td { padding: 0.3rem 0.45rem; }
  table.narrow { min-width: 100%; }
}
@media print {
  :root { color-scheme: light; font-size: 10px; }
  body { padding: 0; max-width: none; }
  .tiles { grid-template-columns: repeat(6, minmax(0, 1fr)); }
  .scroll { overflow: visible; }
  pre { white-space: pre-wrap; }
  tr, .tile { break-inside: avoid; }
  .tile, tr.best, .alert { print-color-adjust: exact; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
