"""Random strings that are hard to tokenize: what the comparison with Hugging Face runs on."""

import random
import sys
import unicodedata

WORDS = """the of and Hello world tokenizer internationalization I'm you'll they've DON'T we'RE it'ſ
HelloWorld camelCase snake_case SCREAMING iPhone9 naïve café Zürich straße Привет мир как дела Ελλάδα
שלום עולם مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก 你好世界 今天天气很好 こんにちは カタカナ 안녕하세요 세계
Việt Nam tiếng xin chào İstanbul ığdır ʼtwas ﬁne Ⅷ ½ ² ㎏ ǅungla ʰaspirated""".split()
PIECES = [
    *"0123456789.,;:!?()[]{}<>/\\|@#$%^&*-_=+~`'\"",
    "\n", "\r\n", "\n\n", "\t", "  ", "   ", " ", " \n", "\n ", "\u00a0", "\u3000", "\u2028", "\u180e",
    "\u200b", "\u200d", "\ufeff", "\u0000", "\u0001", "\u001c", "\u001f", "\u007f", "\u0085", "\u000b",
    "12", "123", "1234", "1234567", "3.14159", "1,000,000", "٣٤٥", "१२३", "２０２４", "x²",
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'ſ", "’s",
    "😀", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷", "👍🏽", "❤️", "e\u0301", "n\u0303o", "\u0301", "a\u0300\u0323", "한",
    "for (int i = 0; i < n; ++i) {\n", "    return x;\n}\n", "def f(self):\n\t\treturn None\n",
    "https://example.org/a?b=c&d=%20", "<div class=\"x\">", "```", "#include <vector>\n", "$x^2$", "=====",
    "▁", "▁▁", "<0x0A>", "Ġ", "Ċ", "…", "—", "«quoted»", "¿qué?", "\\n", "\\u0041",
]  # fmt: skip


def _random_character(random_source: random.Random) -> str:
    """Any assigned character; those younger than the other side's Unicode tables are left out."""
    while True:
        number = random_source.choice([0x80, 0x250, 0x800, 0x3100, 0xFFFF, 0x1FFFF, 0x323AF])
        character = chr(random_source.randrange(number))
        if unicodedata.category(character) not in ("Cn", "Cs"):
            return character


def _fragment(random_source: random.Random, specials: list[str]) -> str:
    kind = random_source.random()
    if kind < 0.40:
        return random_source.choice(WORDS)
    if kind < 0.65:
        return random_source.choice(PIECES)
    if kind < 0.75:
        return " "
    if kind < 0.85:
        return "".join(_random_character(random_source) for _ in range(random_source.randrange(1, 6)))
    if kind < 0.90:
        run = random_source.choice([" ", "\n", "\t", "a", "=", "1", "-", "字", "\u00a0", "😀"])
        return run * random_source.randrange(2, 40)
    if kind < 0.95 and specials:
        special = random_source.choice(specials)
        return special if random_source.random() < 0.8 else special[: random_source.randrange(1, 9)]
    return random_source.choice(WORDS) + random_source.choice(["", " "]) + random_source.choice(WORDS)


def strings(count: int, seed: int, specials: list[str]):
    """Yields `count` strings, the same ones for the same seed."""
    random_source = random.Random(seed)
    for _ in range(count):
        separator = random_source.choice(["", "", " "])
        length = random_source.randrange(1, 12)
        yield separator.join(_fragment(random_source, specials) for _ in range(length))


if __name__ == "__main__":
    for text in strings(int(sys.argv[1]), 1, ["<|im_end|>"]):
        print(repr(text))
