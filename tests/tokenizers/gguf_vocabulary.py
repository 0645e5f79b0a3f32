"""GGUF files and Hugging Face's tokenizer.json: from one to the other, as far as vocabularies go."""

import json
import pathlib
import struct

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def _string(text: str) -> bytes:
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value) -> bytes:
    if kind == STRING:
        return _string(value)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


class GgufMetadata:
    """A GGUF file, version 3, without tensors."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def add(self, key: str, kind: int, value) -> None:
        self.entries.append(_string(key) + struct.pack("<I", kind) + _value(kind, value))

    def add_array(self, key: str, kind: int, values: list) -> None:
        head = _string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
        self.entries.append(head + b"".join(_value(kind, value) for value in values))

    def write(self, path: pathlib.Path) -> None:
        body = b"".join(self.entries)
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(self.entries)) + body)


def _is_byte_token(name: str) -> bool:
    return len(name) == 6 and name.startswith("<0x") and name.endswith(">")


def _scores(names: list[str], merges: list) -> list[float]:
    """The scores the list of merges was made from, as far as it tells: a token made earlier is better."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", "") if isinstance(merge, str) else "".join(merge), rank)
    return [float(-ranks.get(name, len(merges))) for name in names]


def convert(source: pathlib.Path, target: pathlib.Path, family: str) -> None:
    """`family` is the value of tokenizer.ggml.pre, or "llama" for a SentencePiece-style vocabulary."""
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    model = tokenizer["model"]
    names = {number: name for name, number in model["vocab"].items()}
    kinds = dict.fromkeys(names, NORMAL)
    sentence_piece = family == "llama"
    for number, name in names.items():
        if sentence_piece and _is_byte_token(name):
            kinds[number] = BYTE
    for added in tokenizer["added_tokens"]:
        names[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    count = max(names) + 1
    ordered = [names.get(number, f"[PAD{number}]") for number in range(count)]
    file = GgufMetadata()
    file.add("tokenizer.ggml.model", STRING, "llama" if sentence_piece else "gpt2")
    file.add_array("tokenizer.ggml.tokens", STRING, ordered)
    file.add_array(
        "tokenizer.ggml.token_type", INT32, [kinds.get(number, CONTROL) for number in range(count)]
    )
    if sentence_piece:
        file.add_array("tokenizer.ggml.scores", FLOAT32, _scores(ordered, model["merges"]))
        file.add("tokenizer.ggml.unknown_token_id", UINT32, names_to_ids(names)["<unk>"])
        normalizer = json.dumps(tokenizer["normalizer"])
        file.add("tokenizer.ggml.add_space_prefix", BOOL, "Prepend" in normalizer)
    else:
        file.add("tokenizer.ggml.pre", STRING, family)
        merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
        file.add_array("tokenizer.ggml.merges", STRING, merges)
    file.write(target)


def names_to_ids(names: dict[int, str]) -> dict[str, int]:
    return {name: number for number, name in names.items()}


class _Reader:
    def __init__(self, file) -> None:
        self.file = file

    def number(self, code: str):
        return struct.unpack("<" + code, self.file.read(struct.calcsize(code)))[0]

    def string(self) -> str:
        return self.file.read(self.number("Q")).decode("utf-8", "replace")

    def value(self, kind: int):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.number("I"), self.number("Q")
            return [self.value(element) for _ in range(count)]
        return self.number("BbHhIif?__QqdQ"[kind])


def read_metadata(path: pathlib.Path) -> dict:
    """All metadata of a GGUF file."""
    with path.open("rb") as file:
        reader = _Reader(file)
        assert file.read(8) == b"GGUF" + struct.pack("<I", 3), f"{path} is no GGUF file of version 3"
        _tensor_count, count = reader.number("Q"), reader.number("Q")
        return {reader.string(): reader.value(reader.number("I")) for _ in range(count)}
