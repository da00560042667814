"""The comparison as files: all figures of each run as CSV, the tables as Markdown."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from fedsq_flwr.report.comparison import captions, measures, tables, verdict, wording
from fedsq_flwr.report.comparison.analysis import Comparison
from fedsq_flwr.report.comparison.cells import Cell
from fedsq_flwr.report.comparison.collecting import Entry
from fedsq_flwr.report.comparison.measures import MEASURES
from fedsq_flwr.report.comparison.settings import SEED
from fedsq_flwr.report.page import templates

# ruff: noqa: E501
MARKDOWN = """\
{% macro table(content) %}
| Method |{% if content.settings %} Setting |{% endif %} Seeds |{% if content.against %} Compared with |{% endif %}{% for measure in content.measures %} {{ measure.title ~ titles[measure.split] }} |{% endfor %}

| --- |{% if content.settings %} --- |{% endif %} --: |{% if content.against %} --- |{% endif %}{% for measure in content.measures %} --: |{% endfor %}

{% for line in content.lines %}
| {{ line.method | cell }} |{% if content.settings %} {{ line.setting | cell }} |{% endif %} {{ line.seeds }} |{% if content.against %} {{ line.against | cell }} |{% endif %}{% for figure in line.figures %} {{ "**%s**" % figure.value if figure.leads else figure.value }}{{ " " ~ figure.deviation if figure.deviation }}{{ " " ~ figure.below | join(" ") if figure.below }} |{% endfor %}

{% endfor %}
{% endmacro %}
# {{ caption.title(comparison) }}

{{ caption.common(comparison) | join(" · ") }}

{% if caption.tally(comparison) %}
**{{ caption.tally(comparison) }}.** They are listed at the end, and are in no mean.

{% endif %}
{{ caption.about_tables(comparison) }}

{{ on_seeds }}

{% for section in comparison.sections if section.finished %}
## {{ section.condition.label }}

{% for name, lines in verdict(section, comparison) %}
* {{ name }}. {{ lines | join(" ") }}
{% endfor %}

Target: {{ wording.target(section, comparison) }}.

{{ table(tables.main_table(section, comparison)) }}
### All settings and figures

{{ table(tables.full_table(section, comparison)) }}
{% endfor %}
{% if comparison.incomplete %}
## Runs that are not averaged

{% for entry in comparison.incomplete %}
* `{{ entry.name }}`: {{ entry.state.value }}{{ ": " ~ entry.problem if entry.problem }}
{% endfor %}
{% endif %}
"""


def markdown(comparison: Comparison) -> str:
    """Write the verdicts and tables in Markdown."""
    environment = templates(autoescape=False)
    environment.filters["cell"] = lambda text: text.replace("|", "\\|")
    return environment.from_string(MARKDOWN).render(
        comparison=comparison,
        caption=captions,
        wording=wording,
        tables=tables,
        verdict=verdict.verdict,
        on_seeds=verdict.on_seeds(comparison),
        titles={"validation": ", validation", "test": ", test", "silos": "", "": ""},
    )


def runs_csv(comparison: Comparison) -> str:
    """Write a row a run: where it is, how far it came, what varies, and all figures; empty is not known.

    A run that stands in several conditions has a row in each.
    """
    names = comparison.groups.names
    heads = [
        "run",
        "state",
        "problem",
        "condition",
        "method",
        SEED,
        *names,
        "target",
        *(each.key for each in MEASURES),
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, heads, lineterminator="\n")
    writer.writeheader()
    for entry in comparison.groups.entries:
        homes: Sequence[Cell | None] = comparison.groups.homes.get(entry.directory, [None])
        for home in homes:
            writer.writerow(_row(entry, home, comparison))
    return buffer.getvalue()


def _row(entry: Entry, home: Cell | None, comparison: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {"run": entry.name, "state": entry.state.value, "problem": entry.problem}
    row |= {name: entry.values[name] for name in (SEED, *comparison.groups.names) if name in entry.values}
    if home is None or entry.run is None:
        return row
    target = next(section.target for section in comparison.sections if section.condition == home.condition)
    row |= {"condition": home.condition.label, "method": home.arm.label, "target": target}
    row |= {each.key: measures.read(each, entry.run, target) for each in MEASURES}
    if not measures.reaches(entry.run, target):
        row[measures.TARGET.key] = None
    return row
