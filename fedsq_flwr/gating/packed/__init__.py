"""Gates packed into bits: how they lie in memory and on disk, and how they are applied."""
