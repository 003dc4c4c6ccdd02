"""Public data sets as splits: what to download, how it lies in its folder, what is tested on.

Sets that TFDS has come by their names, others from a folder as their archives unpack. Validation
images are taken out of the training set with a seed. `docs/own_data.md` is about other sets.
"""
