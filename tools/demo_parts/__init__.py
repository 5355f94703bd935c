"""Parts of ``tools/demo.py``: its stages, its figures, its pictures."""
