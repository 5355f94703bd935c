# 50k iterations of 8 images in all (4 GPUs x 2): SGD, lr 0.005, else as for 24 images.
_base_ = ['./schedule_50k_b24_sgd.py']
optim_wrapper = dict(optimizer=dict(lr=0.005))
