"""The conversations every chat template is compared on."""

import itertools

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Says how the weather is <now> & \"later\"",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city’s name"},
                "days": {"type": "integer", "default": 1, "minimum": 1},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "nullable": True},
                "near": {"type": "object", "properties": {"latitude": {"type": "number"},
                                                          "tags": {"type": "array", "items": {"type": "string"}}},
                         "required": ["latitude"]},
                "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                "union": {"type": ["string", "number"]},
                "one": {"oneOf": [{"type": "string", "description": "a"}, {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "boolean"}}}}]},
            },
            "required": ["city"],
        },
        "return": {"type": "string"},
    },
}
TIME = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


def call(arguments, identity="abcdef123"):
    return {"id": identity, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


MESSAGES = [
    [message("user", "Hello")],
    [message("system", "You are terse."), message("user", "Hello")],
    [message("developer", "Use tools."), message("user", "Hello")],
    [message("user", "  spaces \n around\u3000"), message("assistant", " Yes.  "), message("user", "Why?\n")],
    [message("system", "S"), message("user", "1"), message("assistant", "2"), message("user", "3"),
     message("assistant", "4"), message("user", "5")],
    [message("user", "Grüße, 世界 🌍 <|im_end|> {{ x }} \\n 'quoted' \"double\"")],
    [message("user", "")],
    [message("user", "a"), message("assistant", ""), message("user", "b")],
    [message("user", "2+2?"), message("assistant", "<think>\nTwo and two.\n</think>\n\nFour"), message("user", "Sure?")],
    [message("user", "2+2?"), message("assistant", "Four", reasoning_content="Two and two."), message("user", "Sure?"),
     message("assistant", "Yes", thinking="of course", reasoning="r")],
    [message("user", "Weather?"), message("assistant", "", tool_calls=[call({"city": "Köln", "days": 2})]),
     message("tool", "sunny", tool_call_id="abcdef123", name="get_weather"), message("assistant", "Sunny."), message("user", "Thanks")],
    [message("user", "Weather?"), message("assistant", None, tool_calls=[call({"city": "A"}), call({"city": "B", "near": {"latitude": 1.5, "tags": []}}, "bcdefg234")]),
     message("tool", "{\"t\": 1}", tool_call_id="abcdef123", name="get_weather"),
     message("tool", "rain", tool_call_id="bcdefg234", name="get_weather")],
    [message("user", "Weather?"), {"role": "assistant", "tool_calls": [call('{"city": "A"}')]},
     message("tool", {"temperature": 21.5, "ok": True, "none": None}, tool_call_id="abcdef123", name="get_weather")],
    [message("user", "Weather?"), message("assistant", "Let me see.", tool_calls=[{"name": "get_weather", "arguments": {"city": "A"}}]),
     message("tool", ["a", 1], name="get_weather")],
    [message("user", [{"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "what?"}])],
    [message("system", [{"type": "text", "text": "Be kind."}]), message("user", [{"type": "text", "text": "Hi"}]),
     message("assistant", [{"type": "text", "text": "Ho"}]), message("user", [{"type": "image_url", "image_url": {"url": "u"}}])],
    [message("user", "a"), message("user", "b")],
    [message("assistant", "I begin."), message("user", "ok")],
    [message("unknown", "x")],
    [message("system", "only system")],
    [],
    [message("user", None)],
    [{"role": "user"}],
    [{"content": "no role"}],
]
OPTIONS = [
    {},
    {"enable_thinking": False},
    {"enable_thinking": True, "thinking": True, "reasoning_effort": "high", "builtin_tools": ["browser", "python"]},
    {"date_string": "01 Jan 2025", "custom_tools": None, "tools_in_user_message": False, "xml_tools": ["def f(): pass"],
     "documents": [{"title": "T", "text": "D", "url": "u"}]},
    {"custom_instructions": "Do.", "model_identity": "I am X.", "python_tools": ["def g(): pass"], "keep_past_thinking": True},
]


def all_variables():
    tools = [None, [WEATHER], [TIME, WEATHER], []]
    for messages, tool_list, prompt in itertools.product(MESSAGES, tools, (True, False)):
        for options in OPTIONS:
            yield {"messages": messages, "tools": tool_list, "add_generation_prompt": prompt,
                   "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", **options}
    # Without the variables that are optional.
    for messages in MESSAGES:
        yield {"messages": messages}
