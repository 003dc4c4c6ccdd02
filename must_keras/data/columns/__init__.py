"""What teachers say of images, kept on disk: one column per teacher and source."""

from must_keras.data.columns.reader import Column
from must_keras.data.columns.verification import verify
from must_keras.data.columns.writer import ColumnWriter, num_bytes, tell_origin

__all__ = ["Column", "ColumnWriter", "num_bytes", "tell_origin", "verify"]
