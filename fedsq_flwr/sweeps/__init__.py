"""Sweeps: which jobs there are, which of them are done already, how each ended, and what a person sees of it."""
