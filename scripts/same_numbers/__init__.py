"""Two versions of the package side by side: the same runs, number by number."""
