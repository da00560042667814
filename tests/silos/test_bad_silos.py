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
    "reshape": r"array '[\w.]+' has shape \(\d+,\), not \([\d, ]+\)",
    "overweigh": r"has weight inf under 'num-examples', not above 0",
    "mistake": r"has fingerprint 'ffffffffffff', not '\w{12}'",
    "garbage": r"packed arrays cannot be read: .+",
    "fail": r"failed with OSError; its own log says why",
    "again honest": None,
    "dawdle": r"did not answer in time: left out after \d+ s; 2 of 3 had answered in \d+ s; its last .* took \d+ s",
}


def test_a_silo_that_answers_wrongly_is_named_and_left_out_and_the_run_goes_on(
    federation, start, tmp_path: Path
) -> None:
    before = set(below_us())
    silos = [start(*SILO, *words) for words in federation.silos[:BAD]]
    story = [name.removeprefix("again ") for name in STORY]
    silos.append(start(rogue.__file__, ",".join([*story, "honest"]), *federation.silos[BAD]))
    for silo in silos:
        silo.wait_for(" ready\n")

    output = tmp_path / "run"
    rounds = len(STORY) + 1
    policies = [f"rounds={rounds}", f"evaluate_every={len(STORY)}", "executor.reply_grace=5"]
    assert main(["run", *federation.run, *policies, f"output='{output}'"]) == 0

    *lines, last = history(output)
    assert [line["round"] for line in [*lines, last]] == list(range(1, rounds + 1))
    for line, (name, reason) in zip(lines, STORY.items(), strict=True):
        assert line["sampled"] == SILOS, name
        assert line["replies"] == (SILOS if reason is None else SILOS - 1), name
        assert math.isfinite(line["loss"])
        dropped = [each for each in line["dropped"] if each["while"] == "training"]
        if reason is None:
            assert line["dropped"] == []
        else:
            assert [each["silo"] for each in dropped] == [BAD]
            assert re.fullmatch(reason, dropped[0]["reason"]), dropped
    assert lines[-1]["waited"][str(BAD)] > 4
    # What it was late for is what it is still at work on: it is asked for nothing else.
    unasked = [lines[-1]["dropped"][1], *last["dropped"]]
    assert [each["while"] for each in unasked] == ["evaluating", "training", "evaluating"]
    for each in unasked:
        assert each["reason"] == f"was not asked: still at work on train, round {len(STORY)}"
    assert set(last["silo_accuracies"]) == {str(silo) for silo in range(BAD)}

    # What the silo's exception said is in its own log, and nowhere at the server.
    assert rogue.PRIVATE in silos[BAD].said()
    server = [*files_below(output), federation.superlink._log.path]
    assert server
    assert not [path for path in server if rogue.PRIVATE.encode() in path.read_bytes()]

    # As the page on security says: through Flower's GetRun a silo reads all settings, with paths and addresses.
    for told in (f'"output": "{output}"', f'"superlink": "{federation.superlink.address}"'):
        assert told in silos[BAD].said()

    for silo in silos:
        silo.stop()
        assert silo.ends() == 0
    wait_until(lambda: not set(below_us()) - before, 20, "a process is left")
