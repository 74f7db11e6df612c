"""Restricted pickles, torch files and TFRecord files: what is refused, and how it is said."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
from conftest import REPOSITORY

from search.errors import UserError
from search.tables import load_table, safe_pickle
from search.tables.pickle_scan import Scanner
from search.tables.tfrecord import fields, masked_crc32c, records
from search.tables.torch_file import load_plain


class Malicious:
    """Would create a file while it is unpickled."""

    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_survive_every_protocol(protocol):
    value = {"a": [1, 2.5, None, True, "text", b"bytes"], (1, "x"): OrderedDict(k=(1,)), "s": {1, 2}, "n": -(1 << 80)}
    assert safe_pickle.loads(pickle.dumps(value, protocol), "x.pickle") == value


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_numpy_numbers_become_plain(protocol):
    value = {
        "scalar": np.float64(1.5),
        "int": np.int64(-7),
        "list": [np.float32(0.25)],
        "dd": defaultdict(list, {"k": [1]}),
    }
    got = safe_pickle.loads(pickle.dumps(value, protocol), "x.pickle")
    assert got == {"scalar": 1.5, "int": -7, "list": [0.25], "dd": {"k": [1]}}
    assert type(got["scalar"]) is float and type(got["int"]) is int


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(3, 2)), np.array([True, False])]
)
def test_numpy_arrays_become_nested_lists(array, protocol):
    assert safe_pickle.loads(pickle.dumps(array, protocol), "x.pickle") == array.tolist()


def test_a_pickle_that_runs_code_is_refused_before_it_runs(tmp_path):
    target = tmp_path / "made_by_the_pickle"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(UserError, match=r"asks to run (posix|nt)\.mkdir .* do not trust this file"):
            safe_pickle.loads(pickle.dumps({"data": [Malicious(target)]}, protocol), "x.pickle")
    assert not target.exists()


@pytest.mark.parametrize(
    "attack",
    [
        b"cbuiltins\neval\n(S'1+1'\ntR.",
        b"cbuiltins\ngetattr\n(cbuiltins\ndict\nS'__class__'\ntR.",
        b"c__builtin__\nexec\n(S'import os'\ntR.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x0cint.__init__\x93.",
    ],
)
def test_known_ways_around_are_refused(attack):
    with pytest.raises(UserError, match="asks to run"):
        safe_pickle.loads(attack, "x.pickle")


def test_numpy_objects_are_refused():
    array = np.array([Malicious("/nowhere")], dtype=object)
    with pytest.raises(UserError):
        safe_pickle.loads(pickle.dumps(array), "x.pickle")


@pytest.mark.parametrize("data", [b"", b"\x80\x04}", b"not a pickle at all", pickle.dumps(list(range(100)))[:-20]])
def test_damaged_pickles_are_a_sentence(data):
    with pytest.raises(UserError, match=r"x\.pickle (ends too early|is not a readable pickle)"):
        safe_pickle.loads(data, "x.pickle")


def test_every_cut_of_a_pickle_is_a_sentence():
    data = pickle.dumps({"a": [np.float64(1.5), {"b": (1, 2)}], "c": OrderedDict(x="y")}, 4)
    for end in range(len(data)):
        with pytest.raises(UserError):
            safe_pickle.loads(data[:end], "x.pickle")


def nested(depth):
    """A pickle of {((((...),),),): 1}: hashing it goes as deep as it is nested."""
    return b"\x80\x04})" + b"\x85" * depth + b"K\x01s."


def test_a_deeply_nested_pickle_does_not_end_the_process():
    code = "from search.tables import safe_pickle; from test_tables_files import nested\n"
    code += "print(len(safe_pickle.loads(nested(1_000_000), 'x.pickle')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY / "tests", capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "1\n", done.stderr


GREEDY = {  # each asks for 1 GB, and for 64 GB with the largest number
    "4 bytes": b"\x80\x02]r\xff\xff\xff\x03.",
    "a line": b"(lp67108863\n.",
    "behind a text that ends in r": b"\x80\x02]q\0X\x03\0\0\0abrr\xff\xff\xff\x03a.",
    "behind a float, a class and a long text": b"\x80\x02G"
    + b"r" * 8
    + b"cbuiltins\nlist\n0X"
    + (300_000).to_bytes(4, "little")
    + b"r" * 300_000
    + b"r\xff\xff\xff\x03.",
    "in a frame": b"\x80\x04\x95\x08\0\0\0\0\0\0\0]r\xff\xff\xff\x03.",
    "in the second part of a file": b"\x80\x02" + b"K\x010" * 200_000 + b"]r\xff\xff\xff\x03.",
}


@pytest.mark.parametrize("data", GREEDY.values(), ids=GREEDY)
@pytest.mark.parametrize("kind", ["memory", "file", "bz2", "gz"])
def test_a_pickle_that_asks_for_memory_it_cannot_need_is_refused(tmp_path, data, kind):
    path = tmp_path / f"x.pickle.{kind}"
    path.write_bytes({"bz2": bz2.compress, "gz": gzip.compress}.get(kind, bytes)(data))
    with pytest.raises(UserError, match="stores an object under a number"):
        safe_pickle.loads(data, "x.pickle") if kind == "memory" else safe_pickle.load_file(path)


@pytest.mark.parametrize("protocol", range(6))
def test_every_opcode_of_sound_pickles_is_followed(protocol):
    ints = [0, 255, 256, 65_535, 65_536, -1, 2**31, -(2**40), 2**2000, True, None, 1.5, float("inf")]
    texts = ["", "r" * 9, "é\n\u2028", "x" * 256, "r\xff\xff\xff\x7f" * 70_000, b"r" * 300, b"\n" * 70_000]
    more = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": [{}]}, {1, 2}, frozenset("ab"), OrderedDict(a=1)]
    many = [[i] for i in range(70_000)]  # more than 65,536 are stored, in four bytes each
    value = [ints, texts, more, many, many[7], np.float64(2.5)]
    data = pickle.dumps(value, protocol) + b"next"
    for block in (1 << 20, 131_072, 7):
        scanner = Scanner("x.pickle")
        pieces = (data[i : i + block] for i in range(0, len(data) if block > 7 else 400_000, block))
        for piece in pieces:
            scanner.feed(piece)
        assert scanner.ended == (block > 7)
    handle = io.BytesIO(data)
    assert safe_pickle.load(handle, "x.pickle") == value
    assert handle.read() == b"next"


STRANGE = [
    7,
    [1, 2],
    {"00000": 1},
    {"00000": {"val_acc": 3}},
    {1: {}, "a": {}},
    {"00000": {"val_acc": ["x"], "val_precision": [1]}},
    {"00000": {}},
    {},
    {"meta_archs": 3, "arch2infos": 4},
    {"meta_archs": ["|x|"], "arch2infos": {0: {}}},
    {"meta_archs": [3], "arch2infos": {0: {"200": 5}}},
]


@pytest.mark.parametrize(
    ("table", "content"),
    [(t, c) for t in ("hpobench/car", "hpolib/slice_localization", "nb201/cifar10", "nbasr") for c in STRANGE]
    + [("graph/proteins", c) for c in (7, [1, 2], {})],
)
def test_sound_pickles_with_something_else_in_them(tmp_path, monkeypatch, table, content):
    monkeypatch.setenv("LMSEARCHER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "nb-asr-e40-1.pickle"
    header = {"dataset_type": "training", "epochs": 40, "seed": 1}
    path.write_bytes((pickle.dumps(header) if table == "nbasr" else b"") + pickle.dumps(content))
    with pytest.raises(UserError):
        load_table(table, path)


def test_missing_file_is_a_sentence(tmp_path):
    for reader in (safe_pickle.load_file, load_plain, lambda p: list(records(p))):
        with pytest.raises(UserError, match="does not exist"):
            reader(tmp_path / "nothing.pickle.pbz2")


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_without_torch(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pth"
    value = {
        "numbers": {("cifar10", 777): {"acc@199": 91.5}},
        "weights": OrderedDict(w=torch.ones(3, 2)),
        "np": np.float64(0.5),
    }
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    assert load_plain(path) == {"numbers": value["numbers"], "weights": {"w": None}, "np": 0.5}


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_that_run_code_are_refused(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path, target = tmp_path / "a.pth", tmp_path / "made"
    torch.save({"data": Malicious(target)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"mkdir"):
        load_plain(path)
    assert not target.exists()


def test_other_files_are_not_torch_files(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"not written by torch\.save"):
        load_plain(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(UserError, match=r"without data\.pkl"):
        load_plain(tmp_path / "b.pth")


def test_a_packed_archive_is_not_unpacked(tmp_path):
    """torch.save stores; ten megabytes of zeros packed to ten kilobytes are a bomb."""
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10 << 20))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"torch\.save packs nothing"):
        load_plain(tmp_path / "a.pth")
    assert tracemalloc.get_traced_memory()[1] < 5 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("oddity", ["encrypted", "unknown packing", "changed", "size", "folder", "empty", "cut"])
def test_odd_torch_files_are_a_sentence(tmp_path, oddity):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "a/data.pkl/" if oddity == "folder" else "a/data.pkl", b"" if oddity == "folder" else b"N." * 50
        )
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")  # of the central directory
    if oddity == "encrypted":
        data[6] |= 1
        data[entry + 8] |= 1
    elif oddity == "unknown packing":
        data[8:10] = data[entry + 10 : entry + 12] = b"\x63\x00"
    elif oddity == "changed":
        data[45] ^= 1
    elif oddity == "size":
        data[entry + 24 : entry + 28] = b"\xff\xff\xff\x7f"
    elif oddity == "empty":
        data = bytearray()
    elif oddity == "cut":
        data = data[:60]
    path.write_bytes(data)
    with pytest.raises(UserError):
        load_plain(path)


def write_records(path, payloads):
    """A TFRecord file, byte by byte as the format says."""
    heads = [struct.pack("<Q", len(payload)) for payload in payloads]
    with open(path, "wb") as handle:
        for head, payload, a, b in zip(heads, payloads, masked_crc32c(heads), masked_crc32c(payloads), strict=True):
            handle.write(head + struct.pack("<I", int(a)) + payload + struct.pack("<I", int(b)))


def test_crc32c_of_published_vectors():
    """RFC 3720 appendix B.4, and the check value of '123456789'; unmasked by the inverse of TFRecord's mask."""
    vectors = {b"123456789": 0xE3069283, bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    masked = masked_crc32c(list(vectors)).astype(np.uint64)
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    assert ((rotated >> 17 | rotated << 15) & 0xFFFFFFFF).tolist() == list(vectors.values())


def test_records_come_back_in_order(tmp_path):
    payloads = [bytes([i % 251]) * (4 + i * 7 % 90) for i in range(9000)]
    write_records(tmp_path / "a.tfrecord", payloads)
    assert list(records(tmp_path / "a.tfrecord")) == payloads


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"")
    assert list(records(tmp_path / "a.tfrecord")) == []


@pytest.mark.parametrize("keep", [-1, -4, -5, -60, 5, 11, 12])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"a" * 50, b"b" * 50])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.tfrecord ends in the middle of record [12] "):
        list(records(path))


@pytest.mark.parametrize(("at", "record"), [(0, 1), (7, 1), (9, 1), (20, 1), (61, 1), (66, 2), (90, 2), (131, 2)])
def test_a_changed_byte_is_found(tmp_path, at, record):
    """Any single byte: of the length, of its checksum, of the payload, of the payload's checksum."""
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"a" * 50, b"b" * 50])
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"record {record} of a.tfrecord has a wrong checksum"):
        list(records(path))


def test_records_are_given_out_while_the_file_is_read(tmp_path):
    """What lies before a damaged place comes out first: the file is never held as a whole."""
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"record %05d" % i for i in range(9000)])
    path.write_bytes(path.read_bytes()[:-3])
    got = []
    with pytest.raises(UserError, match="in the middle of record 9000 "):
        for record in records(path):
            got.append(record)
    assert got == [b"record %05d" % i for i in range(8999)]


@pytest.mark.slow
def test_reading_keeps_little_in_memory(tmp_path):
    path = tmp_path / "a.tfrecord"
    write_records(path, [b"x" * 300] * 60_000)
    tracemalloc.start()
    assert sum(1 for _ in records(path)) == 60_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2


def test_a_record_that_says_it_is_long_costs_nothing(tmp_path):
    """Thousands of short records and a long one used to make a block of thousands times the long one's length."""
    write_records(tmp_path / "a.tfrecord", [b"abcd"] * 3000)
    with open(tmp_path / "a.tfrecord", "ab") as handle:
        write_records(tmp_path / "long", [b"x" * 20_000])
        handle.write((tmp_path / "long").read_bytes())
    tracemalloc.start()
    assert sum(map(len, records(tmp_path / "a.tfrecord"))) == 32_000
    assert tracemalloc.get_traced_memory()[1] < 150 << 20
    tracemalloc.stop()
    head = struct.pack("<Q", 200 << 20)
    (tmp_path / "b.tfrecord").write_bytes(head + struct.pack("<I", int(masked_crc32c([head])[0])) + bytes(64))
    with pytest.raises(UserError, match="in the middle of record 1"):
        list(records(tmp_path / "b.tfrecord"))


def test_protobuf_fields():
    message = b"\x08\x96\x01" + b"\x11" + struct.pack("<d", 0.25) + b"\x1a\x03abc" + b"\x25" + struct.pack("<f", 1.5)
    assert list(fields(message)) == [(1, 150), (2, 0.25), (3, b"abc"), (4, 1.5)]
    for broken in (b"\x08", b"\x1a\x05abc", b"\x0b", b"\xff" * 3):
        with pytest.raises(ValueError):
            list(fields(broken))


def test_two_pickles_in_one_file():
    handle = io.BytesIO(pickle.dumps({"header": 1}) + pickle.dumps([1, 2]))
    assert safe_pickle.load(handle, "x") == {"header": 1} and safe_pickle.load(handle, "x") == [1, 2]
