"""Hydra's configuration groups: the only place where a default stands."""
