"""The demo's parts: stages that are run once, training logs, pictures, tables (``tools/demo.py``)."""
