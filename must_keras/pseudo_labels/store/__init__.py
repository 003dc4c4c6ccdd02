"""What teachers say of images, kept on disk: one column per teacher and source."""

from must_keras.pseudo_labels.store.reader import PseudoLabelReader
from must_keras.pseudo_labels.store.verification import verify
from must_keras.pseudo_labels.store.writer import PseudoLabelWriter, num_bytes, tell_origin

__all__ = ["PseudoLabelReader", "PseudoLabelWriter", "num_bytes", "tell_origin", "verify"]
