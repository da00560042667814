"""Where a federation runs: in this process, or on Flower's simulation."""
