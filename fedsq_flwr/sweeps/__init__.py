"""Sweeps: the plan of jobs, one job, outcomes, and the progress in the terminal."""
