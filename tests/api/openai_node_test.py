#!/usr/bin/env python3
"""The official OpenAI client for Node against a real `exomesh up`.

Installs the client in the cache folder once, serves, and runs openai_node_test.mjs. Skipped, with the
reason, where no package registry answers.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import served

CLIENT = "openai@7.57.0"


def main() -> int:
    served.model_path()
    if not shutil.which("npm"):
        print("skipped: npm is not installed")
        return served.SKIPPED
    folder = served.cache_folder() / "clients" / "openai-node"
    served.install(CLIENT, folder / "installed",
                   [["npm", "install", "--no-audit", "--no-fund", "--silent",
                     "--prefix", str(folder), CLIENT]],
                   folder)
    # Node finds packages beside the script, not beside the working folder.
    script = folder / "openai_node_test.mjs"
    shutil.copy(pathlib.Path(__file__).with_name("openai_node_test.mjs"), script)
    server = served.Served()
    try:
        environment = {**os.environ, "EXOMESH_URL": server.v1, "EXOMESH_MODEL": served.MODEL_ID}
        return subprocess.run(["node", "--test", str(script)], env=environment,
                              timeout=120).returncode
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
