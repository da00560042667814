"""What it does is told by the overrides: the settings ``output``, ``silos``, ``rounds`` and ``then``."""

import json
import os
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    text = str(context.run_config["overrides"])
    settings = dict(line.split("=", 1) for line in text.splitlines())
    output = Path(settings["output"].strip("'"))
    (output / "received.json").write_text(json.dumps(dict(context.run_config)))
    while len(list(grid.get_node_ids())) < int(settings["silos"]):
        time.sleep(0.05)  # the app's thread starts before the silos are registered
    for number in range(1, int(settings["rounds"]) + 1):
        messages = [
            Message(RecordDict({"ask": ConfigRecord({"round": number})}), node, "train")
            for node in grid.get_node_ids()
        ]
        replies = [reply.content["metrics"] for reply in grid.send_and_receive(messages, timeout=60)]
        told = {
            "threads": [reply["threads"] for reply in replies],
            "pids": [reply["pid"] for reply in replies],
            "server": os.getpid(),
        }
        (output / "processes.json").write_text(json.dumps(told))
        nothing = dict.fromkeys(("train_loss", "loss", "accuracy", "test_accuracy", "seconds"))
        line = {"round": number, **nothing, "replies": len(replies)}
        with (output / "history.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    then = settings.get("then")
    if then == "tell":
        (output / "failure.json").write_text(json.dumps({"error": "the quorum\nwas not met"}))
    if then in ("raise", "tell"):
        raise ValueError("boom, and\na second line")
    if then == "wait":
        time.sleep(600)
