"""``fedsq doctor``: check a silo before it joins, and print a line a check."""

import logging
import textwrap
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from rich.console import Console
from rich.text import Text

from fedsq_flwr.errors import NotReadyError
from fedsq_flwr.report.numerals import count
from fedsq_flwr.report.terminal import printable
from fedsq_flwr.silos.checks.finding import Finding, Mark
from fedsq_flwr.silos.examination import examine

_MARK, _CHECK = 5, 10  # characters of the two columns before what was found: 64 more, a sha256, fit in 80
_ADVICE = "-> "
_NARROWEST = 20  # characters of what was found, on however narrow a screen
_STYLES: Mapping[Mark, str] = MappingProxyType(
    {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red", Mark.SKIP: "dim"}
)


def doctor(settings: Sequence[str], overrides: Sequence[str]) -> None:
    """Check a silo, print what is found, and say whether it can join.

    Parameters
    ----------
    settings : sequence of str
        As `fedsq silo` takes them.
    overrides : sequence of str
        Hydra's, of a run that the silo is to take part in.

    Raises
    ------
    NotReadyError
        If a check failed.
    """
    logging.getLogger("fedsq_flwr").addHandler(logging.NullHandler())  # what is logged is told by the findings
    console = Console(highlight=False)
    failed = []
    with console.status("") as status:
        for finding in examine(settings, overrides, lambda doing: status.update(Text(doing, style="dim"))):
            console.print(Text("\n").join(lines_of(finding, console.width)), soft_wrap=True)
            failed += [finding.check] if finding.mark == Mark.FAIL else []
    if failed:
        raise NotReadyError(f"not ready to join: {count(len(failed), 'check')} failed ({', '.join(failed)})")
    console.print("ready to join", style="bold")


def lines_of(finding: Finding, width: int) -> list[Text]:
    """Return a finding as lines of ``width`` characters; words that are longer, such as paths, stay whole."""
    indent = " " * (_MARK + _CHECK)
    texts = [(line, "") for line in finding.found.splitlines()]
    texts += [(f"{_ADVICE}{finding.advice}", " " * len(_ADVICE))] if finding.advice else []
    rows = []
    for text, hanging in texts:
        wrapper = textwrap.TextWrapper(
            max(width - len(indent), _NARROWEST),
            subsequent_indent=hanging,
            break_long_words=False,
            break_on_hyphens=False,
        )
        rows += wrapper.wrap(printable(text))
    head = Text.assemble((f"{finding.mark:<{_MARK}}", _STYLES[finding.mark]), (f"{finding.check:<{_CHECK}}", "bold"))
    rows += [printable(finding.command)] if finding.command else []  # whole, to be pasted
    first, *rest = rows or [""]
    return [head + Text(first), *(Text(indent + row) for row in rest)]
