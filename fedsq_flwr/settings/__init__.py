"""Settings as typed data: one small class for each choice, composed by Hydra once, carried as one JSON from there.

`RunSettings` is the whole of a run, `SiloSettings` what the operator of a silo decides. No module here imports torch
or Flower.
"""
