"""Pictures of what networks see (boundary maps, self-relations, feature maps, predictions), and of the data
that they get.

What is drawn and what draws are apart: :mod:`.maps` and :mod:`.predictions` compute arrays, :mod:`.draw`
    alone knows matplotlib.
"""
