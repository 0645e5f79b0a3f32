"""Reads a GGUF file's metadata (the format is described in ggml's docs/gguf.md): what the bytes of the
weights and of the KV cache are, independently of the program under measurement."""

import pathlib
import struct

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9


class Reader:
    def __init__(self, data):
        self.data, self.offset = data, 0

    def scalar(self, form: str):
        (value,) = struct.unpack_from(form, self.data, self.offset)
        self.offset += struct.calcsize(form)
        return value

    def string(self) -> str:
        length = self.scalar("<Q")
        self.offset += length
        return bytes(self.data[self.offset - length : self.offset]).decode(errors="replace")

    def value(self, kind: int):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            of, count = self.scalar("<I"), self.scalar("<Q")
            return [self.value(of) for _ in range(count)]
        return self.scalar(SCALARS[kind])


def metadata(data) -> dict:
    reader = Reader(data)
    if bytes(data[:4]) != b"GGUF":
        raise ValueError("no GGUF file")
    reader.offset = 8
    reader.scalar("<Q")  # tensors
    return {reader.string(): reader.value(reader.scalar("<I")) for _ in range(reader.scalar("<Q"))}


def kv_cache_bytes(facts: dict, tokens: int) -> int:
    """F16 keys and values of `tokens` positions in all layers."""
    kind = facts["general.architecture"]
    heads = facts[f"{kind}.attention.head_count"]
    kv_heads = facts.get(f"{kind}.attention.head_count_kv", heads)
    head_length = facts.get(f"{kind}.attention.key_length", facts[f"{kind}.embedding_length"] // heads)
    value_length = facts.get(f"{kind}.attention.value_length", head_length)
    return facts[f"{kind}.block_count"] * tokens * kv_heads * (head_length + value_length) * 2


def read(path: str) -> dict:
    return metadata(memoryview(pathlib.Path(path).read_bytes()))
