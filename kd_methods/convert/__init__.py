"""From what a user downloads to what the loaders read; one file a data set. ``tools/data/`` holds the command
lines.
"""
