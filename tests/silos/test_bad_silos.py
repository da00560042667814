"""One silo of a real federation answers wrongly in every way: each is named, and costs the round one reply."""

import math
import re
from pathlib import Path

import pytest

from fedsq_flwr.cli import main
from tests.silos import rogue
from tests.silos.federation import SILOS, files_below, history
from tests.silos.processes import SILO, below_us, wait_until

pytestmark = pytest.mark.slow

BAD = SILOS - 1
#: What the silo does in each round, and what the history says of it.
STORY = {
    "honest": None,
    "replay": r"answers round 1, not 2",
    "oversize": r"sends [\d,]{9,} bytes of arrays where [\d,]+ are the most that is expected",
    "misname": r"lacks array '[\w.]+'",
    "nan": r"array '[\w.]+' holds values that are not finite",
    "fail": r"failed with OSError; its own log says why",
    "again honest": None,
}


def test_a_silo_that_answers_wrongly_is_named_and_left_out_and_the_run_goes_on(
    federation, start, tmp_path: Path
) -> None:
    before = set(below_us())
    silos = [start(*SILO, *words) for words in federation.silos[:BAD]]
    story = ",".join(name.removeprefix("again ") for name in STORY)
    silos.append(start(rogue.__file__, story, *federation.silos[BAD]))
    for silo in silos:
        silo.wait_for(" ready\n")

    output = tmp_path / "run"
    assert main(["run", *federation.run, f"rounds={len(STORY)}", f"output='{output}'"]) == 0

    lines = history(output)
    assert [line["round"] for line in lines] == list(range(1, len(STORY) + 1))
    for line, (name, reason) in zip(lines, STORY.items(), strict=True):
        assert line["sampled"] == SILOS, name
        assert line["replies"] == (SILOS if reason is None else SILOS - 1), name
        assert math.isfinite(line["loss"])
        if reason is None:
            assert line["dropped"] == []
        else:
            (dropped,) = line["dropped"]
            assert (dropped["silo"], dropped["while"]) == (BAD, "training")
            assert re.fullmatch(reason, dropped["reason"])
    assert set(lines[-1]["silo_accuracies"]) == {str(silo) for silo in range(SILOS)}

    # What the silo's exception said is in its own log, and nowhere at the server.
    assert rogue.PRIVATE in silos[BAD].said()
    server = [*files_below(output), federation.superlink._log.path]
    assert server
    assert not [path for path in server if rogue.PRIVATE.encode() in path.read_bytes()]

    for silo in silos:
        silo.stop()
        assert silo.ends() == 0
    wait_until(lambda: not set(below_us()) - before, 20, "a process is left")
