"""Gates packed into bits: their layout in memory and on disk, and how they are applied."""
