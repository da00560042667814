"""Looking at a network from outside: is it affine under fixed gates, do gates flip, what does averaging lose."""
