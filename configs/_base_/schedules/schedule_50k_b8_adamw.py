# 50k iterations of 8 images in all (4 GPUs x 2): AdamW, lr 6e-5, else as for 24 images.
_base_ = ['./schedule_50k_b24_adamw.py']
