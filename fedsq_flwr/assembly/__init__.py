"""From settings to objects: the data, the pretrained network, the model of a method.

Server, silos and commands build their parts here, so that they cannot disagree.
"""
