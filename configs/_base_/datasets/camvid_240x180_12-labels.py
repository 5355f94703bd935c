# CamVid of which every 32nd training image has labels: 12 of 367.
_base_ = ['./camvid_240x180.py']
labelled = list(range(0, 367, 32))
train_dataloader = dict(dataset=dict(indices=labelled))
