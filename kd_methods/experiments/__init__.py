"""Many trainings of configs: which ones, each in a process, what they logged, and what they say together."""
