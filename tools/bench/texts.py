"""Texts to measure with: our own words, varied in kind and language, the same from the same seed."""

import random

PROSE = """The harbour woke before the town did. A crane turned slowly over the empty quay, and the men who
had slept in their coats stood up one after the other to look at the fog. Nobody expected the ferry to
leave on time, least of all its captain, who had seen enough winters to know that the sea keeps its own
calendar. Marta counted the crates again. There were forty-one, as there had been yesterday, and one of
them still ticked when the wind fell. She had signed for forty. In the office behind the customs shed a
clerk was drinking tea out of a jam jar and reading the list of ships that would not come."""

SCIENCE = """When a metal cools through its transition the electrons stop scattering one by one and move in
pairs, and the pairs share one quantum state. The resistance does not become small: it becomes zero. A
current once started in a ring of lead has been watched for years without any measurable loss. The
magnetic field is pushed out of the material at the same time, which is how one tells a superconductor
from a mere perfect conductor. Why some ceramics do this at a hundred kelvin is still argued about."""

CODE = '''def merge_sorted(left, right):
    """Return one sorted list with the items of both."""
    result, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        if left[i] <= right[j]:
            result.append(left[i])
            i += 1
        else:
            result.append(right[j])
            j += 1
    return result + left[i:] + right[j:]


class Account:
    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError(f"{self.owner} has only {self.balance}")
        self.balance -= amount
'''

TABLE = """name,city,age,score
Aylin,Ankara,31,77.5
Bruno,Porto,45,64.0
Chen,Chengdu,28,91.2
Dilnoza,Tashkent,39,83.9
Emeka,Lagos,52,70.1
"""

RECIPE = """Ingredients:
- 300 g flour
- 2 eggs
- a pinch of salt
- 150 ml milk
Steps:
1. Sift the flour into a bowl.
2. Beat the eggs with the milk and the salt.
3. Stir both together until no lumps are left.
"""

GERMAN = """Der Zug hielt mitten auf dem Feld, und niemand sagte, warum. Draußen ging ein Mann mit einem
Fahrrad an der Böschung entlang, als gehöre ihm der ganze Nachmittag. Wir öffneten die Fenster."""

FRENCH = """La boulangerie de la rue des Tilleuls ouvrait à six heures, mais l'odeur du pain arrivait plus
tôt, par-dessus les toits. Mon grand-père disait qu'on pouvait régler une montre dessus."""

SPANISH = """El mercado se llenaba de voces antes del amanecer. Las mujeres traían tomates, cilantro y
flores; los niños, preguntas. ¿Cuánto cuesta la sandía? Depende de quién la quiera."""

RUSSIAN = """Зимой река замерзала так крепко, что по ней возили дрова. Дети катались до темноты, а потом
бежали домой пить чай с малиновым вареньем."""

CHINESE = """清晨的山谷里雾气很重，远处传来钟声。老人把茶壶放在石桌上，慢慢地讲起年轻时候的故事。"""

TURKISH = """Deniz sakindi, ama gökyüzü başka bir şey söylüyordu. Balıkçılar ağlarını topladı ve kahveye
doğru yürüdü. Rüzgâr akşama doğru yön değiştirdi."""

DIALOGUE = """Customer: My parcel says delivered, but there is nothing here.
Agent: I am sorry about that. Can you tell me the last four digits of the number?
Customer: 4471. It is a blue box, about this wide.
Agent: Thank you. It was left with a neighbour at number 12.
"""

MATHS = """Let a and b be whole numbers with a > b > 0. Divide a by b and call the remainder r. Every number
that divides both a and b also divides r, so gcd(a, b) = gcd(b, r). For example gcd(252, 105): 252 = 2 *
105 + 42, 105 = 2 * 42 + 21, 42 = 2 * 21 + 0, and the answer is 21."""

KINDS = {
    "prose": PROSE, "science": SCIENCE, "code": CODE, "table": TABLE, "recipe": RECIPE, "german": GERMAN,
    "french": FRENCH, "spanish": SPANISH, "russian": RUSSIAN, "chinese": CHINESE, "turkish": TURKISH,
    "dialogue": DIALOGUE, "maths": MATHS,
}  # fmt: skip

WORDS = """river copper window engine letter garden signal morning velvet anchor planet ladder market
thunder paper bridge silver forest kitchen winter compass lantern orchard station harbour pencil""".split()


def sentence(source: random.Random) -> str:
    """A sentence nobody wrote before: it keeps repeated passages from looking the same to a model."""
    a, b, c = source.sample(WORDS, 3)
    number = source.randrange(2, 98)
    return source.choice(
        [
            f"The {a} near the {b} was {number} years older than the {c}.",
            f"She bought {number} {a}s, one {b} and no {c} at all.",
            f"Between the {a} and the {b} there is a {c} that nobody has opened.",
            f"In {1900 + number} the {a} replaced the {b}; the {c} stayed.",
        ]
    )


def prompt(seed: int, characters: int) -> str:
    """A text of about `characters` characters: passages of one or more kinds, then its kind once more."""
    source = random.Random(seed)
    kinds = list(KINDS)
    first = kinds[seed % len(kinds)]
    parts = [f"Text {seed}. {sentence(source)}"]
    while sum(map(len, parts)) + len(KINDS[first]) < characters:
        parts += [KINDS[source.choice(kinds)], sentence(source)]
    parts.append(KINDS[first])
    whole = "\n\n".join(parts)
    return whole[-characters:] if len(whole) > characters else whole


def prompts(count: int, characters_max: int) -> list[str]:
    """`count` prompts whose lengths go evenly from short to `characters_max`."""
    return [prompt(index, max(characters_max * (index + 1) // count, 60)) for index in range(count)]


def streams_prompt(round_number: int, stream: int, characters: int) -> str:
    """Begins with words of its own, so that no prefix of it can be in any cache."""
    seed = round_number * 1000 + stream
    return f"{random.Random(seed).randrange(10**9)} " + prompt(seed, characters)
