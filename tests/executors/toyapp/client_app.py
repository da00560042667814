import os

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    metrics = MetricRecord({"pid": os.getpid(), "threads": int(os.environ["OMP_NUM_THREADS"])})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
