"""Centralised calibration: one grid of settings for every method; each keeps its best values on validation."""
