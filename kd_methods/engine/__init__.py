"""How a run starts: processes and devices."""
