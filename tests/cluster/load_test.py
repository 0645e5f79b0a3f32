#!/usr/bin/env python3
"""`exomesh up` on three ranks with more requests than slots, and clients that go away amid their answers. Small,
and what the sanitizers look at in every run of continuous integration."""

import http.client
import json
import os
import signal
import threading
import unittest
import urllib.parse

from cluster import SURE_PROMPT, ClusterTest, children_of
from program import DONE, SECONDS_MAX

CLIENTS = 6
SLOTS = 3
ROUNDS = 3


class Load(ClusterTest):
    def test_many_clients_on_three_ranks(self):
        for split in ("tensor", "pipeline"):
            with self.subTest(split=split):
                # With a prompt in one chunk, sums are rounded alike however many others are computed beside it.
                head, url = self.serve("--local", "3", "--split", split, "--wire", "f32", "--slots", str(SLOTS),
                                       "--queue", str(CLIENTS))  # fmt: skip
                status, expected = self.ask(url, 12)
                self.assertEqual(status, 200, expected)
                answers: list[tuple[int, str]] = []
                clients = [threading.Thread(target=self.use, args=(url, number, answers)) for number in range(CLIENTS)]
                for client in clients:
                    client.start()
                for client in clients:
                    client.join(SECONDS_MAX)
                self.assertEqual(answers, [(200, expected)] * len(answers))
                self.assertEqual(len(answers), CLIENTS * ROUNDS)
                self.assertEqual(len(children_of(head.pid)), 3)
                os.kill(head.pid, signal.SIGTERM)
                self.assertEqual(head.wait(SECONDS_MAX), DONE, head.errors.all())

    def use(self, url: str, number: int, answers: list) -> None:
        for turn in range(ROUNDS):
            if (number + turn) % 3 == 0:
                self.leaves_early(url)
            answers.append(self.ask(url, 12))

    def leaves_early(self, url: str) -> None:
        """Reads the first piece of a stream, and goes."""
        address = urllib.parse.urlparse(url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=SECONDS_MAX)
        body = {"prompt": SURE_PROMPT, "max_tokens": 200, "temperature": 0, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        self.assertTrue(response.read1(64).startswith(b"data: "))
        connection.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
