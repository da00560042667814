"""Measurements on a network: whether it is affine under fixed gates, which gates flip, what averaging loses."""
