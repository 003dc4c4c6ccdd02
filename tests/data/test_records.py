import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from must_keras.data.io.records import Records
from must_keras.errors import DataError


@pytest.fixture
def shards(tmp_path):
    random = np.random.default_rng(0)
    payloads = [
        [random.bytes(int(n)) for n in random.integers(0, 3000, count)] for count in (5, 0, 9)
    ]
    paths = [tmp_path / f"{i}.tfrecord" for i in range(len(payloads))]
    for path, shard in zip(paths, payloads, strict=True):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for payload in shard:
                writer.write(payload)
    return paths, [payload for shard in payloads for payload in shard]


def test_records_are_tensorflows(shards):
    paths, payloads = shards
    records = Records(paths)
    assert len(records) == 14
    assert [records.read(i) for i in range(14)] == payloads
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        order = np.random.default_rng(1).integers(0, 14, 500).tolist()
        assert list(pool.map(records.read, order)) == [payloads[i] for i in order]


def test_a_record_cut_off_is_damage(shards):
    path = shards[0][2]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"2\.tfrecord ends in the middle of record 8"):
        Records([path])


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*gone"):
        Records([tmp_path / "gone"])


def test_no_file_has_no_records():
    assert len(Records([])) == 0
