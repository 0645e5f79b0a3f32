#!/usr/bin/env python3
"""`exomesh run` and `exomesh chat` with a real model."""

import json
import signal
import subprocess
import unittest

import program
from program import DONE, INTERRUPTED, MODEL, TERMINATED, ProgramTest, exomesh, greedy, start

QUESTION = "What is the capital of France? Answer in one sentence."


class Run(ProgramTest):
    def test_answers_on_stdout_and_speed_on_stderr(self):
        result = greedy(QUESTION)
        self.succeeds(result)
        self.assertIn("Paris", result.stdout)
        self.assertTrue(result.stdout.endswith("\n"))
        self.assertRegex(result.stderr, r"^\[\d+ prompt tokens in .* tok/s\)\]\n$")
        self.assertNotIn("\033", result.stdout + result.stderr)

    def test_the_prompt_may_come_from_stdin(self):
        on_line = greedy(QUESTION)
        for arguments in ((), ("-",)):
            piped = exomesh("run", MODEL, *arguments, "--device", "cpu", "--temperature", "0",
                            "--max-tokens", "24", text_in=QUESTION + "\n")  # fmt: skip
            self.succeeds(piped)
            self.assertEqual(piped.stdout, on_line.stdout)

    def test_words_of_the_command_line_make_one_prompt(self):
        words = exomesh("run", MODEL, *QUESTION.split(), "--device", "cpu", "--temperature", "0",
                        "--max-tokens", "24")  # fmt: skip
        self.assertEqual(words.stdout, greedy(QUESTION).stdout)

    def test_words_that_look_like_lists_are_text(self):
        def count(*arguments: str, text_in: str = "") -> int:
            result = exomesh("run", MODEL, *arguments, "--raw", "--json", "--device", "cpu", "--max-tokens", "1",
                             text_in=text_in)  # fmt: skip
            self.succeeds(result)
            return json.loads(result.stdout)["prompt_tokens"]

        for prompt in ("[a, b]", "[]", "[1, 2, 3]", "{}", "[[x]]", "a [1,2] b"):
            with self.subTest(prompt=prompt):
                self.assertEqual(count(prompt), count(text_in=prompt))
        self.assertEqual(count("say", "[a, b]", "{}", "models"), count("say [a, b] {} models"))
        self.assertEqual(count("-", text_in="[a, b]"), count("[a, b]"))

    def test_a_prompt_behind_a_list_is_no_part_of_it(self):
        lists = (("--shares", "1,2"), ("--devices", "cpu,cpu"), ("--shares", "1", "--shares", "2"))
        for behind in lists:
            with self.subTest(behind=behind):
                result = exomesh("run", MODEL, "--local", "2", "--temperature", "0", "--max-tokens", "24",
                                 *behind, QUESTION)  # fmt: skip
                self.succeeds(result)
                self.assertIn("Paris", result.stdout)
        peer = exomesh("run", MODEL, "--peers", "nowhere", "--max-tokens", "1", QUESTION)
        self.assertEqual(peer.returncode, program.USAGE, peer.stderr)
        self.assertIn("'nowhere'", peer.stderr)

    def test_json(self):
        result = greedy(QUESTION, "--json")
        self.succeeds(result)
        answer = json.loads(result.stdout)
        self.assertIn("Paris", answer["answer"])
        self.assertEqual(answer["finish_reason"], "stop")
        self.assertEqual(answer["device"], "cpu")
        self.assertGreater(answer["prompt_tokens"], 10)

    def test_length_and_stop(self):
        limited = json.loads(greedy("Count to one hundred.", "--json", max_tokens=5).stdout)
        self.assertEqual((limited["finish_reason"], limited["completion_tokens"]), ("length", 5))
        stopped = greedy(QUESTION, "--stop", "Paris", "--stop", "never")
        self.assertNotIn("Paris", stopped.stdout)
        self.assertIn("capital", stopped.stdout)

    def test_a_seed_repeats_the_answer(self):
        arguments = ("run", MODEL, "Write a word.", "--device", "cpu", "--max-tokens", "12", "--temperature", "2")
        first, again, other = (exomesh(*arguments, "--seed", seed).stdout for seed in ("7", "7", "8"))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_system_and_raw_change_the_prompt(self):
        count = {
            name: json.loads(greedy("Hello", "--json", *arguments, max_tokens=1).stdout)["prompt_tokens"]
            for name, arguments in {"plain": (), "system": ("--system", "Be brief."), "raw": ("--raw",)}.items()
        }
        self.assertEqual(count["raw"], 1)
        self.assertNotEqual(count["plain"], count["system"])

    @unittest.skipUnless(program.BASE_MODEL, "set EXOMESH_TEST_MODEL_GEMMA3")
    def test_a_model_without_a_template_completes_the_prompt(self):
        for raw in ((), ("--raw",)):
            result = exomesh("run", program.BASE_MODEL, "The capital of France is", *raw, "--device", "cpu",
                             "--temperature", "0", "--max-tokens", "4")  # fmt: skip
            self.succeeds(result)
            self.assertEqual(result.stdout, " the capital of the\n")  # so does llama.cpp's
            self.assertEqual("no chat template" in result.stderr, raw == ())

    def test_ctrl_c_keeps_what_there_is(self):
        process = start("run", MODEL, "Write a very long story.", "--device", "cpu", "--temperature", "0",
                        "--max-tokens", "4000")  # fmt: skip
        first = process.stdout.read(1)
        rest, notes = self.end(process, signal.SIGINT)
        self.assertEqual(process.returncode, INTERRUPTED)
        self.assertGreater(len(first + rest), 1)
        self.assertTrue(rest.endswith(b"\n"))
        self.assertIn(b"tok/s", notes)

    def test_sigterm_has_its_own_exit_code(self):
        process = start("run", MODEL, "Write a very long story.", "--device", "cpu", "--max-tokens", "4000")
        process.stdout.read(1)
        rest, _ = self.end(process, signal.SIGTERM)
        self.assertEqual(process.returncode, TERMINATED)
        self.assertTrue(rest.endswith(b"\n"))

    def test_a_closed_pipe_ends_it(self):
        process = start("run", MODEL, "Write a very long story.", "--device", "cpu", "--max-tokens", "4000")
        process.stdout.read(1)
        process.stdout.close()
        self.assertNotEqual(process.wait(timeout=program.SECONDS_MAX), DONE)
        process.stderr.close()


class Chat(ProgramTest):
    def chat(self, *lines: str, model: str = MODEL) -> subprocess.CompletedProcess:
        return exomesh("chat", model, "--device", "cpu", "--temperature", "0", "--max-tokens", "24",
                       text_in="".join(line + "\n" for line in lines))  # fmt: skip

    def test_remembers_and_forgets(self):
        saved = self.folder / "talk.json"
        result = self.chat(QUESTION, "", "And of Italy?", f"/save {saved}", "/clear", f"/save {saved}.empty")
        self.succeeds(result)
        self.assertIn("Paris", result.stdout)
        roles = [message["role"] for message in json.loads(saved.read_text())]
        self.assertEqual(roles, ["user", "assistant", "user", "assistant"])
        self.assertEqual(json.loads((self.folder / "talk.json.empty").read_text()), [])

    def test_commands(self):
        saved = self.folder / "talk.json"
        result = self.chat("/help", "/nonsense", "/system Be brief.", f"/save {saved}", "/quit", "never read")
        self.succeeds(result)
        self.assertEqual(result.stdout, "")
        self.assertIn("unknown command '/nonsense'", result.stderr)
        self.assertEqual(json.loads(saved.read_text()), [{"role": "system", "content": "Be brief."}])

    def test_a_conversation_that_cannot_be_saved_says_why(self):
        result = self.chat(f"/save {self.folder}/nowhere/talk.json", "/save /dev/full")
        self.succeeds(result)
        self.assertIn("talk.json': No such file or directory. /save it to another FILE.\n", result.stderr)
        self.assertIn("'/dev/full': No space left on device. /save it", result.stderr)

    def test_two_slashes_say_one(self):
        saved = self.folder / "talk.json"
        self.succeeds(self.chat("//help", f"/save {saved}"))
        self.assertEqual(json.loads(saved.read_text())[0], {"role": "user", "content": "/help"})

    def test_a_full_context_points_to_clear(self):
        result = exomesh("chat", MODEL, "--device", "cpu", "--context", "64", text_in="word " * 200 + "\n")
        self.assertEqual(result.returncode, program.USAGE)
        self.assertRegex(result.stderr, "error: .*the context holds 64.*/clear")

    def test_sigterm_ends_a_waiting_chat(self):
        process = start("chat", MODEL, "--device", "cpu", "--max-tokens", "1", stdin=subprocess.PIPE)
        process.stdin.write(b"Hello\n")
        process.stdin.flush()
        process.stdout.readline()  # the answer is complete: it waits for the next line
        self.end(process, signal.SIGTERM)
        self.assertEqual(process.returncode, TERMINATED)

    @unittest.skipUnless(program.BASE_MODEL, "set EXOMESH_TEST_MODEL_GEMMA3")
    def test_a_base_model_is_named_as_one(self):
        result = self.chat("Hello!", model=program.BASE_MODEL)
        self.succeeds(result)
        self.assertIn("no chat template", result.stderr)
        self.assertNotIn("User:", result.stdout)


if __name__ == "__main__":
    unittest.main()
