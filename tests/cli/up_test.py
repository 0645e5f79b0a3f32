#!/usr/bin/env python3
"""`exomesh up`: starts, answers, stops."""

import json
import signal
import subprocess
import unittest
import urllib.error
import urllib.request

from program import DONE, MODEL, SECONDS_MAX, UNAVAILABLE, USAGE, ProgramTest, exomesh, start


class Up(ProgramTest):
    def serve(self, *arguments: str) -> tuple[subprocess.Popen, str]:
        process = start("up", "--model", MODEL, "--device", "cpu", "--port", "0", "--context", "512", *arguments)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        url = process.stdout.readline().decode().strip()
        self.assertTrue(url.startswith("http://127.0.0.1:"), process.stderr.read() if not url else url)
        return process, url

    def ask(self, url: str, **headers: str) -> dict:
        body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}
        request = urllib.request.Request(
            url + "/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=SECONDS_MAX) as response:
            return json.load(response)

    def test_answers_and_stops_on_sigterm_and_ctrl_c(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process, url = self.serve("--slots", "2")
            self.assertEqual(urllib.request.urlopen(url + "/health", timeout=SECONDS_MAX).status, 200)
            self.assertTrue(self.ask(url)["choices"][0]["message"]["content"])
            _, notes = self.end(process, number)
            self.assertEqual(process.returncode, DONE, notes)
            self.assertIn(b"curl " + url.encode(), notes)

    def test_an_api_key_is_asked_for(self):
        process, url = self.serve("--api-key", "a-secret")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            self.ask(url)
        refused.exception.close()
        self.assertEqual(refused.exception.code, 401)
        self.assertIn("choices", self.ask(url, Authorization="Bearer a-secret"))
        _, notes = self.end(process)
        self.assertNotIn(b"a-secret", notes)

    def test_a_port_in_use(self):
        _, url = self.serve()
        port = url.rpartition(":")[2]
        # Told before the model is looked for, and so before it is loaded.
        result = exomesh("up", "--model", "/nonexistent.gguf", "--device", "cpu", "--port", port)
        self.fails(result, UNAVAILABLE, f"{port}.*in use")

    def test_beyond_loopback_a_key_is_needed(self):
        result = exomesh("up", "--model", "/nonexistent.gguf", "--host", "0.0.0.0", "--port", "0")
        self.fails(result, USAGE, "key")
        self.fails(exomesh("up", "--model", "/nonexistent.gguf", "--host", "nowhere"), USAGE, "no IP address")


if __name__ == "__main__":
    unittest.main()
