"""Public archives: searching and pinning items, reading scenes, harmonising, angles and masks.

Layer: below ``cubes``; knows nothing of models. Import the submodule you need,
so that an edit of one reruns only the stages that use it.
"""
