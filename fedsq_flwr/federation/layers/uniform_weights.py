"""Every silo counts the same in the average, whatever number of samples it trains on."""

from flwr.app import Message

from fedsq_flwr.federation.layers.base import Layer
from fedsq_flwr.federation.replies import copy_reply


class UniformWeights(Layer):
    """Gives each reply to training the weight 1; evaluation is weighted as it was."""

    def add(self, reply: Message) -> None:
        """Pass on a copy of ``reply`` with the weight 1."""
        counts = self.kind == "train" and reply.has_content()
        super().add(copy_reply(reply, weight=(self.weight_key, 1)) if counts else reply)
