"""A Flower app that learns nothing: the executor is tested with it, apart from the learning."""
