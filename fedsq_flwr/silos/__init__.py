"""Real silos: their processes, their connection to the server, keys and certificates."""
