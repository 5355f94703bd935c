"""Parts of ``tools/demo.py``: its comparison, its picture of predictions."""
