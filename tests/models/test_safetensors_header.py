"""Weights that are whole, and what is told of those that are not, before torch loads."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.numpy import load, save

from emolib.errors import InputError
from emolib.models.safetensors_header import check_weights

GOOD = save(
    {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 3), np.float16),
     "one": np.array(1, np.int8)}, {"format": "pt"},
)  # fmt: skip


def headed(head, body=b""):
    raw = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(raw)) + raw + body


def tensor(**changes):
    return headed({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}, bytes(8))


def test_what_safetensors_wrote_is_whole(tmp_path):
    (tmp_path / "x").write_bytes(GOOD)
    check_weights(tmp_path / "x")
    (tmp_path / "x").write_bytes(tensor(dtype="OF_LATER", shape=[3]))
    check_weights(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "0 bytes are no safetensors"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"PK\3\4\0\0\0\0" + bytes(100), "no safetensors, or cut short in its head"),
        (headed(b"{"), "its head is not JSON"),
        (GOOD[:40], "cut short in its head"),
        (GOOD[:-1], "cut short: 24 bytes of tensors, and its head tells of 25"),
        (GOOD + b"x", "longer than its tensors are: 26 bytes"),
        (struct.pack("<Q", 2**63) + GOOD[8:], "cut short in its head"),
        (headed(b"\xff\xfe"), "its head is no text"),
        (headed(b"[" * 1000), "nested more than"),
        (headed([]), "its head is no object"),
        (headed({"a": 1}), "has 'a' as no object"),
        (tensor(dtype=1), "no dtype, shape and place of 'a'"),
        (tensor(shape=[-2]), "no dtype, shape and place of 'a'"),
        (tensor(shape=[True, 2]), "no dtype, shape and place of 'a'"),
        (tensor(data_offsets=[0]), "no dtype, shape and place of 'a'"),
        (tensor(data_offsets=[8, 0]), "gives 'a' -8 bytes"),
        (tensor(shape=[10**9, 10**9]), "gives 'a' 8 bytes, and F32 of the shape"),
    ],
)  # fmt: skip
def test_what_is_not_is_told(tmp_path, content, told):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="download or save the model again") as error:
        check_weights(tmp_path / "x")
    assert told in str(error.value) and str(error.value).startswith(f"{tmp_path}/x: ")


@given(st.data())
def test_whatever_is_damaged_is_refused_or_read(tmp_path_factory, data):
    """What safetensors reads is never refused here."""
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(damaged)
    try:
        check_weights(path)
    except InputError:
        with pytest.raises((SafetensorError, ValueError)):
            load(bytes(damaged))


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x")
    with pytest.raises(InputError, match="no regular file"):
        check_weights(tmp_path / "x")
