// The official OpenAI client for Node; openai_node_test.py serves the model and starts this.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const model = process.env.EXOMESH_MODEL;
const client = new OpenAI({ baseURL: process.env.EXOMESH_URL, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the capital of France? Answer in one sentence." }];
const greedy = { model, messages, temperature: 0, max_tokens: 24 };

test("lists the model", async () => {
  const ids = [];
  for await (const entry of client.models.list()) ids.push(entry.id);
  assert.deepEqual(ids, [model]);
});

test("streams what it answers whole", async () => {
  const whole = await client.chat.completions.create(greedy);
  assert.match(whole.choices[0].message.content, /Paris/);
  let text = "";
  let usage;
  const stream = await client.chat.completions.create({
    ...greedy,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
});

test("gives log probabilities", async () => {
  const answer = await client.chat.completions.create({ ...greedy, logprobs: true, top_logprobs: 2 });
  const content = answer.choices[0].logprobs.content;
  assert.equal(content[0].top_logprobs.length, 2);
});

test("completes text", async () => {
  const answer = await client.completions.create({ model, prompt: "One, two, three,", temperature: 0 });
  assert.ok(answer.choices[0].text.length > 0);
});

test("refuses tools as a bad request", async () => {
  const tools = [{ type: "function", function: { name: "f", parameters: {} } }];
  await assert.rejects(
    client.chat.completions.create({ ...greedy, tools }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "tools",
  );
});

test("a stream can be left", async () => {
  const stream = await client.chat.completions.create({ ...greedy, max_tokens: null, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.id.startsWith("chatcmpl-"));
    break;
  }
  assert.equal((await client.models.retrieve(model)).id, model);
});
