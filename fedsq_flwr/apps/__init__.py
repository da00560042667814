"""What the two Flower apps are made of: the federation at the server, and the service of silos in a process."""
