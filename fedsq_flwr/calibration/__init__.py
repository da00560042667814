"""A centralised calibration: one grid of settings for every method, and for each the values that validate best."""
