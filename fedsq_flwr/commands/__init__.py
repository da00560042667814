"""What the command line does with the model of a finished run."""
