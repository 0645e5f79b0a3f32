"""Who is compared: exomesh, and llama.cpp (or another build of exomesh) behind the same questions.

Both answer: which command measures speed, serves, answers once, and what runs underneath.
"""

import json
import os
import pathlib
import re
import subprocess

from process import BenchError, output_of, say

TOOLS = pathlib.Path(__file__).resolve().parent.parent


class Exomesh:
    ready_path = "/health"

    def __init__(self, binary: pathlib.Path, name: str = "exomesh"):
        if not os.access(binary, os.X_OK):
            raise BenchError(f"{binary} is no program: build it with ./dev build exomesh")
        self.binary = str(binary)
        self.name = name

    def bench(self, model: str, threads: int, flags: list[str], device: str) -> list[str]:
        return [self.binary, "bench", "-m", model, "-t", str(threads), "--device", device, "-o", "json", *flags]

    def serve(self, model: str, threads: int, port: int, slots: int, context: int, device: str) -> list[str]:
        """`context` is in tokens a slot."""
        return [
            self.binary, "up", "--model", model, "--threads", str(threads), "--port", str(port),
            "--slots", str(slots), "--context", str(context), "--device", device,
        ]  # fmt: skip

    def refuse_figures(self, text: str, device: str) -> None:
        """It computes on the device it is told to, or stops."""

    def serve_exact(self, *arguments) -> list[str]:
        """The same server rounding as llama.cpp does: weights laid out alike."""
        return [*self.serve(*arguments), "--weights", "exact"]

    def once(self, model: str, threads: int, prompt: str, tokens: int) -> list[str]:
        return [
            self.binary, "run", model, prompt, "--temperature", "0",
            "--threads", str(threads), "--max-tokens", str(tokens), "--device", "cpu",
        ]  # fmt: skip

    def logits(self, model: str, threads: int, tokens_file: str, top: int) -> list[str]:
        return [
            self.binary, "logits", model, "--tokens", tokens_file, "--top", str(top),
            "--threads", str(threads), "--device", "cpu", "--weights", "exact",
        ]  # fmt: skip

    def version(self) -> str:
        return output_of([self.binary, "version"]).strip().partition(" (")[0]

    def ggml_version(self) -> str:
        """The version in the name of the libggml-base the program is linked to."""
        for line in output_of(["ldd", self.binary]).splitlines():
            if match := re.search(r"libggml-base\.so\S* => (\S+)", line):
                return library_version(pathlib.Path(match.group(1)))
        return "built in"


class LlamaCpp:
    """llama.cpp as Debian testing packages it, in a root of its own (tools/dev/rival_root.sh)."""

    ready_path = "/health"
    name = "llama.cpp"

    def __init__(self, cache: pathlib.Path, folders: list[pathlib.Path]):
        made = subprocess.run(
            [TOOLS / "dev/rival_root.sh", cache], stdout=subprocess.PIPE, text=True, check=False
        )
        if made.returncode != 0:
            raise BenchError("the root with llama.cpp could not be made (see above)")
        self.root = made.stdout.strip()
        mount_into(self.root, [pathlib.Path("/dev"), pathlib.Path("/proc"), pathlib.Path("/sys"), *folders])

    def program(self, name: str) -> list[str]:
        return ["chroot", self.root, f"/usr/bin/{name}"]

    def bench(self, model: str, threads: int, flags: list[str], device: str) -> list[str]:
        return [
            *self.program("llama-bench"), "-m", model, "-t", str(threads), *self.place(device),
            "-o", "json", *flags,
        ]  # fmt: skip

    def place(self, device: str) -> list[str]:
        """On the CPU without even a GPU's help with large products; else all layers on that GPU."""
        return ["-dev", "none"] if device == "cpu" else ["-ngl", "99", "-dev", device_name(device)]

    def refuse_figures(self, text: str, device: str) -> None:
        """Where llama-bench's JSON does not say that the device asked for computed."""
        if device == "cpu":
            return
        for test in json.loads(text[text.index("[") :]):
            used = {key: str(test.get(key, "")) for key in ("backends", "devices", "gpu_info")}
            if used["devices"] != device_name(device) or not used["gpu_info"]:
                raise BenchError(f"llama-bench did not compute on {device} alone, so there is nothing to compare: {used}")

    def rpc_server(self, port: int) -> list[str]:
        """A process of one thread that computes a part of a model: llama.cpp's way of several machines."""
        program = next(pathlib.Path(self.root).glob("usr/libexec/*/llama/bin/ggml-rpc-server"), None)
        if program is None:
            raise BenchError(f"{self.root} has no ggml-rpc-server: remove this folder, so that it is made anew")
        path = f"/{program.relative_to(self.root)}"
        return ["chroot", self.root, path, "-H", "127.0.0.1", "-p", str(port), "-t", "1", "-d", "CPU"]

    def rpc_bench(self, model: str, ports: list[int], split: str, flags: list[str]) -> list[str]:
        """All of the model on the servers at `ports`; `split`: layer (in turn) or tensor (all share each layer)."""
        servers = ",".join(f"127.0.0.1:{port}" for port in ports)
        return [
            *self.program("llama-bench"), "-m", model, "-t", "1", "--rpc", servers, "-dev", rpc_devices(len(ports)),
            "-ngl", "99", "-sm", split, "-o", "json", *flags,
        ]  # fmt: skip

    def refuse_rpc_figures(self, text: str, ports: list[int], split: str) -> None:
        """Where llama-bench's JSON does not say that all these servers computed, in this split."""
        for test in json.loads(text[text.index("[") :]):
            used = {key: str(test.get(key, "")) for key in ("devices", "split_mode", "gpu_info")}
            named = all(f":{port}" in used["gpu_info"] for port in ports)
            if not named or used["devices"] != rpc_devices(len(ports)) or used["split_mode"] != split:
                raise BenchError(f"llama-bench did not compute on its RPC servers by {split}: {used}")

    def serve(self, model: str, threads: int, port: int, slots: int, context: int, device: str) -> list[str]:
        # Its cache of ended requests in memory is off: no prompt comes twice, so it could only cost.
        return [
            *self.program("llama-server"), "-m", model, "-t", str(threads), "--port", str(port),
            "-np", str(slots), "-c", str(slots * context), "--cache-ram", "0",
            "--no-webui", *self.place(device),
        ]  # fmt: skip

    def serve_exact(self, *arguments) -> list[str]:
        """The same server computing each prompt whole, in chunks of 512 from its first token on."""
        return [*self.serve(*arguments), "--no-cache-prompt", "--ctx-checkpoints", "0"]

    def serve_token_by_token(self, *arguments) -> list[str]:
        """The same server keeping all of a sliding window's cache: else it computes such prompts anew."""
        return [*self.serve(*arguments), "--swa-full"]

    def serve_otherwise(self, *arguments) -> list[str]:
        """The same server summing in another order: in chunks of 64 tokens."""
        return [*self.serve_exact(*arguments), "-ub", "64"]

    def once(self, model: str, threads: int, prompt: str, tokens: int) -> list[str]:
        """Not llama-cli: that one starts a server and draws a banner first, which takes it longer."""
        return [
            *self.program("llama-completion"), "-m", model, "-t", str(threads), "-p", prompt,
            "-n", str(tokens), "--temp", "0", "-cnv", "-st", "--jinja", "--simple-io", "--no-display-prompt",
            *self.place("cpu"),
        ]  # fmt: skip

    def version(self) -> str:
        packages = output_of(["dpkg-query", f"--admindir={self.root}/var/lib/dpkg", "-W", "llama.cpp-tools"])
        return "llama.cpp " + packages.split()[1]

    def ggml_version(self) -> str:
        library = next(pathlib.Path(self.root).glob("usr/lib/*/libggml-base.so.0"))
        return library_version(library)


def rpc_devices(count: int) -> str:
    return "/".join(f"RPC{number}" for number in range(count))


def device_name(device: str) -> str:
    """Our id of a Vulkan device → ggml's name of it, which both sides count alike."""
    if match := re.fullmatch(r"vulkan(\d+)", device):
        return f"Vulkan{match.group(1)}"
    raise BenchError(f"llama.cpp as Debian packages it computes on the CPU and through Vulkan, not on {device!r}: "
                     "name cpu or a vulkan device of `exomesh doctor`")  # fmt: skip


def library_version(library: pathlib.Path) -> str:
    """libggml-base.so.0 → libggml-base.so.0.27.0 → "0.27.0"."""
    return library.resolve().name.partition(".so.")[2] or "unknown"


def mount_into(root: str, folders: list[pathlib.Path]) -> None:
    """Shows folders of ours at the same paths in `root`, for us and our children only."""
    if os.geteuid() != 0:
        raise BenchError("entering the root with llama.cpp needs root rights: run ./dev bench with sudo")
    os.unshare(os.CLONE_NEWNS)
    if " shared:" in pathlib.Path("/proc/self/mountinfo").read_text():
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for folder in folders:
        target = root + str(folder.resolve())
        pathlib.Path(target).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--rbind", folder, target], check=True)
    say(f"llama.cpp runs in {root}")
