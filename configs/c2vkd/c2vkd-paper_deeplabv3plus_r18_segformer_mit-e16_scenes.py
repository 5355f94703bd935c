# The published form: means over all elements, and no loss on the student beside the method's.
_base_ = ['./c2vkd_deeplabv3plus_r18_segformer_mit-e16_scenes.py']
model = dict(
    calculate_student_loss=False,
    distiller=dict(vlfd=dict(reduction='element', gram_scale='channel')))
