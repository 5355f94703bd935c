"""The student as a product: its weights alone and a config that stock mmseg and mmdet read."""
