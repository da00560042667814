"""Parts of the two Flower apps: the federation at the server, and the silos of a process."""
