"""What it does is told by the settings ``output``, ``silos`` and ``rounds``; how it ends, by ``experiment``."""

import json
import os
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    settings = json.loads(str(context.run_config["settings"]))
    output = Path(settings["output"])
    (output / "received.json").write_text(json.dumps(dict(context.run_config)))
    while len(list(grid.get_node_ids())) < settings["silos"]:
        time.sleep(0.05)  # the app's thread starts before the silos are registered
    for number in range(1, settings["rounds"] + 1):
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
    then = settings["experiment"]
    if then == "tell":
        (output / "failure.json").write_text(json.dumps({"error": "the quorum\nwas not met"}))
    if then in ("raise", "tell"):
        raise ValueError("boom, and\na second line")
    if then == "wait":
        time.sleep(600)
