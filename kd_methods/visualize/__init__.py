"""Pictures of what networks see: boundary maps, self-relations, feature maps and predictions, side by side.

What is drawn and what draws are apart: :mod:`.maps` and :mod:`.predictions` compute arrays, :mod:`.draw` alone knows matplotlib.
"""
