"""What the command line does besides running: with the model of a finished run, and for real silos."""
