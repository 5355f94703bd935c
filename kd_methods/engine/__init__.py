"""How a run starts: the command line and the processes of a distributed launch."""
