"""The jinja template of the comparison's page; a Python module for the reason that the single page's is one."""

# ruff: noqa: E501
TEMPLATE = """\
{% macro table(content) %}
<div class="scroll">
<table>
<thead>
<tr class="group"><td colspan="{{ 2 + content.against }}"></td>{% for split, title, columns in content.groups %}<th colspan="{{ columns }}">{% if split %}<span class="tag {{ split }}">{{ title }}</span>{% else %}{{ title }}{% endif %}</th>{% endfor %}</tr>
<tr><th scope="col">Method</th><th scope="col">Seeds</th>{% if content.against %}<th scope="col" class="text">Compared with</th>{% endif %}
{% for measure in content.measures %}<th scope="col">{{ measure.title }}</th>{% endfor %}</tr>
</thead>
<tbody>
{% for line in content.lines %}
<tr><th scope="row" class="method">{{ line.method | breakable }}{% if line.setting %}<small class="below">{{ line.setting }}</small>{% endif %}</th><td>{{ line.seeds }}</td>{% if content.against %}<td class="text">{{ line.against }}</td>{% endif %}
{% for figure in line.figures %}
<td{% if figure.leads %} class="leads"{% endif %}>{{ figure.value }}{% if figure.deviation %} <small>{{ figure.deviation }}</small>{% endif %}{% for text in figure.below %}<small class="below{% if figure.standing %} {{ figure.standing.name | lower }}{% endif %}">{{ text }}</small>{% endfor %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endmacro %}
{% macro pictures(pairs) %}
{% if pairs %}
<div class="figures{% if pairs | length == 1 %} single{% endif %}">
{% for picture, text in pairs %}
<figure>
{{ picture }}
<figcaption>{{ text }}</figcaption>
</figure>
{% endfor %}
</div>
{% endif %}
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{{ caption.title(comparison) }}</title>
<style>
{{ style }}
</style>
</head>
<body>
<header>
<h1>{{ caption.title(comparison) }}</h1>
<p class="muted">{{ caption.common(comparison) | join(" · ") }}</p>
{% if caption.tally(comparison) %}
<p class="alert" role="alert"><strong>{{ caption.tally(comparison) }}.</strong> They are <a href="#left-out">listed below</a>, and are in no mean.</p>
{% endif %}
</header>

<main>
{% if comparison.sections %}
<h2>In words</h2>
<div class="verdicts">
{% for part in parts %}
<section>
<h3>{{ part.section.condition.label }}</h3>
{% if part.verdict %}
<dl>
{% for name, lines in part.verdict %}<dt>{{ name }}</dt>{% for line in lines %}<dd>{{ line }}</dd>{% endfor %}
{% endfor %}
</dl>
{% else %}
<p>No run is finished.</p>
{% endif %}
</section>
{% endfor %}
</div>
<p class="note">{{ on_seeds }}</p>
{% for note in notes %}
<p class="note">{{ note }}</p>
{% endfor %}
{% endif %}
{% if overview %}
<h2>All conditions</h2>
{{ pictures(overview) }}
{% endif %}

{% for part in parts if part.section.finished %}
<section class="condition">
<h2>{{ part.section.condition.label }}</h2>
<p class="note">Each method at its best setting. Target: validation accuracy {{ wording.target(part.section, comparison) }}.</p>
{{ table(part.main) }}
{{ pictures(part.figures) }}
</section>
{% endfor %}

{% if comparison.incomplete or repeated %}
<h2 id="left-out">Runs that are not averaged</h2>
<div class="scroll">
<table class="runs">
<thead><tr><th scope="col">Run</th><th scope="col" class="text">State</th><th scope="col" class="text">What is known</th><th scope="col">Rounds</th><th scope="col">Best so far</th></tr></thead>
<tbody>
{% for entry in comparison.incomplete + repeated %}
<tr><th scope="row" class="path">{{ entry.name }}</th><td class="text">{{ entry.state.value }}</td><td class="text long">{{ entry.problem }}</td>
<td>{% if entry.run %}{{ entry.run.rounds | length }}/{{ entry.run.settings.rounds }}{% else %}{{ number.NOTHING }}{% endif %}</td>
<td>{{ number.accuracy(entry.run.summary.best_accuracy) if entry.run else number.NOTHING }}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}

{% for part in parts if part.section.finished %}
<details class="full">
<summary>All settings and figures: {{ part.section.condition.label }}</summary>
{% if comparison.baseline and part.full.settings %}
<p class="note">Compared is with {{ comparison.baseline }} at the same setting, where it was run.</p>
{% endif %}
{{ table(part.full) }}
</details>
{% endfor %}

{% if partitions %}
<details>
<summary>Partitions</summary>
{{ pictures(partitions) }}
</details>
{% endif %}

<details>
<summary>Runs</summary>
<p class="note">The method, the settings that vary and all figures of each are in <code>{{ csv_name }}</code>.</p>
<div class="scroll">
<table class="runs">
<thead><tr><th scope="col">Run</th><th scope="col" class="text">State</th><th scope="col">Seed</th><th scope="col">Best</th><th scope="col">Round</th><th scope="col">Test of the best</th></tr></thead>
<tbody>
{% for entry, link in links %}
<tr><th scope="row" class="path">{% if link %}<a href="{{ link }}">{{ entry.name }}</a>{% else %}{{ entry.name }}{% endif %}</th><td class="text">{{ entry.state.value }}</td>
{% if entry.run %}
<td>{{ entry.run.settings.seed }}</td><td>{{ number.accuracy(entry.run.summary.best_accuracy) }}</td><td>{{ number.NOTHING if entry.run.summary.best_round is none else entry.run.summary.best_round }}</td><td>{{ number.accuracy(entry.run.summary.test_accuracy) }}</td></tr>
{% else %}
<td>{{ number.NOTHING }}</td><td>{{ number.NOTHING }}</td><td>{{ number.NOTHING }}</td><td>{{ number.NOTHING }}</td></tr>
{% endif %}
{% endfor %}
</tbody>
</table>
</div>
</details>

<details>
<summary>Settings that all runs share</summary>
<pre><code>{% for name, value in shared %}{{ name }}: {{ value }}
{% endfor %}</code></pre>
</details>

<h2>Provenance</h2>
<div class="scroll">
<table class="pairs">
<tbody>
{% if comparison.groups.names %}
<tr><th scope="row">What varies</th><td>{{ comparison.groups.names | join(", ") }}</td></tr>
{% endif %}
<tr><th scope="row">Versions</th><td>{% for name, found in versions %}{{ name }} {{ found | join(" and ") }}{{ ", " if not loop.last }}{% else %}not recorded{% endfor %}</td></tr>
<tr><th scope="row">Remake this page</th><td><code>{{ command }}</code></td></tr>
</tbody>
</table>
</div>
</main>
</body>
</html>
"""

STYLE = """\
h3 { margin: 0 0 0.25rem; font-size: 1rem; }
a { color: var(--validation); }
.verdicts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0.75rem; margin-bottom: 1rem; }
.verdicts section { padding: 0.8rem 1rem 0.9rem; background: var(--panel); border-top: 3px solid var(--line); }
.verdicts dl { margin: 0; }
.verdicts dt { margin-top: 0.6rem; font-size: 0.85rem; color: var(--muted); }
.verdicts dt::first-letter { text-transform: uppercase; }
.verdicts dd { margin: 0; padding-left: 1em; text-indent: -1em; overflow-wrap: anywhere; }
.note { font-size: 0.9rem; }
.condition table, .condition .scroll { margin-top: 0.75rem; }
.figures.single { grid-template-columns: minmax(0, 37rem); }
td, th { vertical-align: top; }
td small, th small { color: var(--muted); font-weight: 400; }
td small { color: var(--muted); }
td small.below, th small.below { display: block; font-size: 0.78rem; line-height: 1.35; }
td small.ahead { color: var(--train); }
td small.behind { color: var(--worst); }
td.leads { font-weight: 600; }
td.leads small { font-weight: 400; }
th.text, td.text { text-align: left; }
th.method { position: sticky; left: 0; white-space: normal; min-width: 7.5rem; max-width: 18rem; background: var(--paper); font-weight: 600; }
td.text { white-space: normal; min-width: 8rem; }
td.long { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
table.runs th.path { white-space: normal; min-width: 16rem; font-weight: 400; overflow-wrap: anywhere; }
.tag.silos { color: var(--muted); }
@page wide { size: landscape; }
@media print {
  section.condition { break-before: page; }
  td small, .verdicts section { print-color-adjust: exact; }
  table { font-size: 0.8rem; }
  details.full { page: wide; }
  details.full table { font-size: 0.62rem; }
  details.full td small.below { font-size: 0.9em; }
  th, td { padding: 0.2rem 0.25rem; }
  th.text, td.text, th.method, table.runs th.path, td.long { min-width: 0; }
}
"""
