"""Pseudo-label datasets on disk: one per teacher and source, one record per image."""

from must_keras.pseudo_labels.store.reader import PseudoLabelReader, verify
from must_keras.pseudo_labels.store.writer import PseudoLabelWriter, num_bytes, set_origin

__all__ = ["PseudoLabelReader", "PseudoLabelWriter", "num_bytes", "set_origin", "verify"]
