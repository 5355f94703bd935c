"""From what a user downloads to what the loaders read; one file a data set.

The commands are in ``tools/data/``. mmseg ships converters for some of these data sets. Ours write whole
files or none, convert only what is missing when they run again, and name each file that they cannot convert.
"""
