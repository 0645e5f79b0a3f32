#!/usr/bin/env python3
"""The official OpenAI client for Python against a real `exomesh up`.

Started with any Python 3: it makes a virtual environment in the cache folder, installs the client
there once, and runs itself inside. Skipped, with the reason, where no package index answers.
"""

import concurrent.futures
import os
import sys
import unittest

import served

CLIENT = "openai==3.54.0"


def enter_environment():
    folder = served.cache_folder() / "clients" / "openai-python"
    python = folder / "bin" / "python"
    if sys.prefix == str(folder):
        return
    served.install(CLIENT, folder / "installed",
                   [[sys.executable, "-m", "venv", str(folder)],
                    [str(python), "-m", "pip", "install", "--quiet", CLIENT]], folder)
    os.execv(python, [str(python), os.path.abspath(__file__), *sys.argv[1:]])


served.model_path()
enter_environment()
import openai  # noqa: E402

MODEL = served.MODEL_ID
CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


class OpenAiClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = served.Served()
        cls.client = openai.OpenAI(base_url=cls.server.v1, api_key="none", max_retries=0,
                                   timeout=60)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def chat(self, messages=None, **fields):
        fields = {"model": MODEL, "temperature": 0, "max_tokens": 24, **fields}
        return self.client.chat.completions.create(messages=messages or CAPITAL, **fields)

    def test_lists_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], [MODEL])
        self.assertEqual(self.client.models.retrieve(MODEL).id, MODEL)

    def test_chat(self):
        answer = self.chat()
        self.assertIn("Paris", answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertIn(answer.choices[0].finish_reason, ("stop", "length"))
        self.assertGreater(answer.usage.prompt_tokens, 5)

    def test_stream_equals_whole(self):
        whole = self.chat()
        chunks = list(self.chat(stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)
        self.assertEqual(chunks[-2].choices[0].finish_reason, whole.choices[0].finish_reason)

    def test_max_tokens_and_stop(self):
        cut = self.chat(max_tokens=3)
        self.assertEqual(cut.choices[0].finish_reason, "length")
        self.assertEqual(cut.usage.completion_tokens, 3)
        stopped = self.chat(stop=["Paris"])
        self.assertNotIn("Paris", stopped.choices[0].message.content)
        self.assertEqual(stopped.choices[0].finish_reason, "stop")

    def test_seed(self):
        def sample(seed):
            return self.chat([{"role": "user", "content": "Invent a name."}], temperature=1.5,
                             seed=seed).choices[0].message.content

        self.assertEqual(sample(11), sample(11))
        self.assertGreater(len({sample(seed) for seed in range(4)}), 1)

    def test_choices(self):
        answer = self.chat(n=3, temperature=1.5, seed=1)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])
        self.assertGreater(len({choice.message.content for choice in answer.choices}), 1)

    def test_logprobs(self):
        answer = self.chat(logprobs=True, top_logprobs=3, max_tokens=6)
        content = answer.choices[0].logprobs.content
        self.assertEqual(len(content), 6)
        for token in content:
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.token, token.top_logprobs[0].token)  # greedy takes the best
            self.assertEqual(bytes(token.bytes).decode(errors="replace"), token.token)
        text = b"".join(bytes(token.bytes) for token in content).decode()
        self.assertEqual(text, answer.choices[0].message.content)

    def test_logit_bias_forces_a_token(self):
        def complete(prompt, **fields):
            return self.client.completions.create(model=MODEL, prompt=prompt, temperature=0,
                                                  **fields).choices[0].text

        echo = complete([28], echo=True, max_tokens=1)
        forced = complete("One, two", max_tokens=3, logit_bias={"28": 100})
        self.assertEqual(len(set(forced)), 1)
        self.assertTrue(echo.startswith(forced[0]))

    def test_completions(self):
        answer = self.client.completions.create(model=MODEL, prompt="The capital of France is",
                                                temperature=0, max_tokens=8, logprobs=2, echo=False)
        self.assertIn("Paris", answer.choices[0].text)
        logprobs = answer.choices[0].logprobs
        self.assertEqual("".join(logprobs.tokens), answer.choices[0].text)
        self.assertEqual(logprobs.text_offset[0], 0)
        echo = self.client.completions.create(model=MODEL, prompt="One, two,", temperature=0,
                                              max_tokens=4, echo=True)
        self.assertTrue(echo.choices[0].text.startswith("One, two,"))
        stream = self.client.completions.create(model=MODEL, prompt="One, two,", temperature=0,
                                                max_tokens=4, stream=True)
        text = "".join(chunk.choices[0].text for chunk in stream)
        self.assertEqual("One, two," + text, echo.choices[0].text)

    def test_a_second_turn_finds_the_first_in_the_cache(self):
        story = [{"role": "user", "content": "Describe the sea in detail. " * 20}]
        self.chat(story)
        again = self.chat(story)
        details = again.usage.prompt_tokens_details
        self.assertGreater(details.cached_tokens, again.usage.prompt_tokens // 2)

    def test_errors_have_their_classes(self):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat(tools=[tool])
        self.assertEqual(caught.exception.param, "tools")
        self.assertEqual(caught.exception.code, "unsupported_parameter")
        with self.assertRaisesRegex(openai.BadRequestError, "from 0 to 2"):
            self.chat(temperature=7)
        with self.assertRaises(openai.NotFoundError):
            self.chat(model="gpt-4o")
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model=MODEL, input="x")

    def test_many_at_once(self):
        def ask(word):
            return self.chat([{"role": "user", "content": f"Repeat the word {word}."}],
                             max_tokens=12)

        words = ["apple", "river", "stone", "cloud", "paper", "green"]
        alone = [ask(word).choices[0].message.content for word in words]
        with concurrent.futures.ThreadPoolExecutor(len(words)) as pool:
            together = [answer.choices[0].message.content for answer in pool.map(ask, words)]
        # Batched arithmetic may round differently, so not every answer must be the same.
        same = sum(first == second for first, second in zip(alone, together))
        self.assertGreaterEqual(same, len(words) // 2)
        self.assertTrue(all(together))

    def test_leaving_a_stream_cancels(self):
        left_before = self.server.metric("http_disconnects_total")
        stream = self.chat(stream=True, max_tokens=None, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
        self.server.wait_for_metric("http_disconnects_total", lambda count: count > left_before)
        self.server.wait_for_metric("slots_busy", lambda busy: busy == 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
