"""The small world of the nano model: its stickers, its colours and the sentences about them."""

import random
import re
from dataclasses import dataclass

# Named background colours. The evaluation asks which of these a border is nearest to, so they are kept well apart.
COLOURS = {
    "white": (255, 255, 255),
    "black": (20, 20, 22),
    "red": (225, 45, 50),
    "orange": (255, 140, 30),
    "yellow": (255, 212, 50),
    "green": (60, 175, 80),
    "blue": (50, 110, 235),
    "purple": (135, 75, 205),
    "pink": (255, 150, 195),
    "grey": (150, 152, 156),
}
COLOUR_NAMES = list(COLOURS)


@dataclass(frozen=True)
class Sticker:
    """One picture of the set: its emoji, the words that ask for it (the first is the usual one) and a description
    that enhancement writes out."""

    emoji: str
    names: tuple
    detail: str

    @property
    def name(self):
        return self.names[0]


def _stickers(table):
    result = []
    for line in table.strip().splitlines():
        emoji, names, detail = (part.strip() for part in line.split("|"))
        result.append(Sticker(emoji, tuple(name.strip() for name in names.split(",")), detail))
    return result


# Well known, different from each other, with hand-written words: all that the CPU preset draws.
CORE_STICKERS = _stickers("""
🍎 | red apple, apple, apple fruit, shiny red apple | shiny red apple with a green leaf
🍊 | orange, tangerine, orange fruit, mandarin | round juicy orange with a green leaf
🍋 | lemon, yellow lemon, citrus | bright yellow lemon with a green leaf
🍌 | banana, peeled banana, ripe banana | ripe yellow banana, half peeled
🍉 | watermelon, slice of watermelon, melon slice | slice of red watermelon with black seeds
🍇 | grapes, bunch of grapes, purple grapes | bunch of purple grapes with a green leaf
🍓 | strawberry, red strawberry, berry | sweet red strawberry with green leaves
🍄 | mushroom, toadstool, red mushroom | red mushroom with white dots
🍔 | hamburger, burger, cheeseburger | tasty hamburger with salad and cheese
🍕 | pizza, slice of pizza, pizza slice | slice of pizza with cheese and salami
🍦 | ice cream, ice cream cone, soft ice cream | soft vanilla ice cream in a cone
🍩 | doughnut, donut, chocolate doughnut | chocolate doughnut with colourful sprinkles
🐶 | dog, dog face, puppy, doggy | brown dog face with its tongue out
🐱 | cat, cat face, kitten, kitty | orange cat face with a happy smile
🐰 | rabbit, bunny, rabbit face | white rabbit face with long ears
🦊 | fox, fox face, red fox | orange fox face with pointed ears
🐼 | panda, panda face, panda bear | black and white panda face
🦁 | lion, lion face, king of the jungle | golden lion face with a brown mane
🐷 | pig, pig face, piglet, piggy | pink pig face with a round nose
🐸 | frog, frog face, toad | green frog face with big yellow eyes
🐵 | monkey, monkey face, chimp, ape | brown monkey face with a big smile
🐧 | penguin, little penguin, baby penguin | little penguin with a white belly
🦄 | unicorn, unicorn head, magic unicorn | white unicorn head with a purple mane
🦋 | butterfly, orange butterfly, monarch butterfly | orange butterfly with purple wings
🐞 | ladybug, ladybird, lady beetle, beetle | red ladybug with black dots
🌵 | cactus, green cactus, desert plant | green cactus with two arms
🌲 | evergreen tree, tree, fir tree, pine tree | green fir tree with a brown trunk
🌹 | rose, red rose, flower | red rose with a green stem
🌻 | sunflower, sun flower, yellow flower | yellow sunflower with green leaves
☀️ | sun, sunshine, bright sun | bright golden sun with round rays
⭐ | star, gold star, yellow star | shiny golden star
🔥 | fire, flame, hot fire | hot orange flame
🚗 | car, red car, automobile, auto | small red car with blue windows
🚀 | rocket, spaceship, space rocket | white and red rocket taking off
🏠 | house, home, little house | little house with a red roof and a door
⚽ | soccer ball, football, ball | blue and white soccer ball
🎈 | balloon, red balloon, party balloon | shiny red balloon on a string
❤️ | heart, red heart, love heart | shiny red heart
👻 | ghost, cute ghost, halloween ghost | funny white ghost with its tongue out
🤖 | robot, robot face, bot | friendly robot face with blue eyes
🍏 | green apple, granny smith apple, sour apple | shiny green apple with a leaf
🍍 | pineapple, ananas, tropical pineapple | golden pineapple with green leaves
🎂 | birthday cake, cake, cake with candles | birthday cake with three candles
🐻 | bear, bear face, brown bear, grizzly | brown bear face with round ears
🐝 | bee, honeybee, bumblebee | yellow and black bee with blue wings
🌙 | moon, crescent moon, half moon | golden crescent moon
🌈 | rainbow, colourful rainbow, colorful rainbow | bright rainbow of seven colours
💡 | light bulb, lightbulb, lamp, bulb | glowing yellow light bulb
🍒 | cherries, cherry, pair of cherries | pair of red cherries on a green stem
🥑 | avocado, half avocado, ripe avocado | half green avocado with its brown stone
🥕 | carrot, orange carrot, vegetable | orange carrot with green leaves
🧁 | cupcake, muffin, fairy cake | pink cupcake with sprinkles in a blue cup
☕ | coffee, cup of coffee, hot coffee, coffee cup | cup of hot coffee
🐯 | tiger, tiger face, tiger cub | orange tiger face with black stripes
🐮 | cow, cow face, calf | black and white cow face with a pink nose
🐤 | chick, baby chick, little chicken | little yellow chick
🐢 | turtle, tortoise, green turtle | green turtle with a round shell
🐙 | octopus, squid, baby octopus | orange octopus with curly arms
⛄ | snowman, snow man, winter snowman | white snowman with a blue scarf and hat
🚌 | bus, school bus, coach | orange bus with blue windows
✈️ | airplane, plane, aeroplane, jet | blue and white airplane in flight
⛵ | sailboat, boat, sailing boat, ship | sailboat with yellow sails on the water
🎁 | gift, present, gift box, wrapped gift | golden gift box with a red ribbon
🎸 | guitar, electric guitar, rock guitar | red electric guitar
👑 | crown, golden crown, king's crown | golden crown with jewels
""")

ADJECTIVES = ["cute", "little", "shiny", "glossy", "lovely", "nice", "beautiful", "small", "big", "funny", "pretty"]
MOODS = ["soft light", "smooth and glossy", "bright colours", "clean and simple", "cheerful", "soft shadows"]

WITH_COLOUR = [
    "{a} on a {c} background",
    "{a} on a {c} background",
    "{a} on a {c} background",
    "{a} on {c} background",
    "{n} on a {c} background",
    "{n} on {c}",
    "{a} on {c}",
    "{a}, {c} background",
    "{n}, {c} background",
    "{n} sticker, {c} background",
    "{n} sticker on a {c} background",
    "a sticker of {a} on a {c} background",
    "a 3D sticker of {a} on a {c} background",
    "{c} background with {a}",
    "a {c} background with {a}",
    "{a} in front of a {c} background",
    "{a} with a {c} background",
    "{a} against a {c} background",
    "a picture of {a} on a {c} background",
    "draw {a} on a {c} background",
    "3D {n}, {c} background",
    "{c} background, {n}",
]
WITHOUT_COLOUR = ["{a}", "{a}", "{n}", "a sticker of {a}", "{n} sticker", "draw {a}", "a picture of {a}", "3D {n}"]
ENHANCED = "a round 3D sticker of {a}, {m}, on a plain {c} background"

RECOLOUR = [
    "put it on a {c} background",
    "put it on a {c} background",
    "change the background to {c}",
    "make the background {c}",
    "{c} background",
    "on a {c} background",
    "the same on a {c} background",
    "replace the background with {c}",
    "put this on {c}",
]
RECOLOUR_ENHANCED = "put it on a plain {c} background, keep the sticker as it is"

ADD = ["add {a}", "add {a}", "put {a} next to it", "add {a} on the right", "now with {a}"]
ADD_ENHANCED = "add {a} beside it, keep everything else as it is"
TOGETHER = ["these {k} together on a {c} background", "put these {k} together on a {c} background",
            "all {k} on a {c} background", "combine these pictures, {c} background"]
TOGETHER_ENHANCED = "put these {k} stickers together side by side on a plain {c} background"
NUMBER_WORDS = {2: "two", 3: "three", 4: "four"}

PLURAL = ("grapes", "cherries")
NO_ARTICLE = ("ice cream", "coffee", "sunshine", "vegetable", "king of the jungle")


def with_article(name):
    """"apple" -> "an apple"; plural and mass nouns stay as they are."""
    if name in PLURAL or name in NO_ARTICLE:
        return name
    return ("an " if name[0] in "aeiou" and not name.startswith(("uni",)) else "a ") + name


# What other words say of a sticker's colour.
SHADES = {"golden": ("yellow", "orange"), "gold": ("yellow", "orange"), "brown": ("orange", "red"),
          "vanilla": ("white", "yellow"), "chocolate": ("black",)}
LIVELY = ("blue", "pink", "green", "purple", "yellow", "orange", "white", "red")


def fitting_colour(sticker):
    """The background that enhancement names where the prompt names none: always the same of a sticker, so that it can be
    learned (at temperature 0.15 a colour drawn by lot is nearly always the same one), and none that the sticker has."""
    words = f"{sticker.detail} {sticker.name}".replace(",", "").split()
    own = {colour for word in words for colour in SHADES.get(word, (word,))}
    return random.Random(sticker.emoji).choice([c for c in LIVELY if c not in own])


def spelled(colour, rng):
    return "gray" if colour == "grey" and rng.random() < 0.3 else colour


def finish(text, rng):
    """Users write with and without capitals and full stops."""
    text = re.sub(r"\b([Aa]) orange\b", r"\1n orange", text)
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:]
    if rng.random() < 0.1:
        text += "."
    return text


def caption(sticker, colour, rng):
    """A sentence that asks for this sticker; colour None leaves the background open."""
    if colour is not None and rng.random() < 0.12:
        return enhanced(sticker, colour, rng)
    name = sticker.name if rng.random() < 0.45 else rng.choice(sticker.names)
    if rng.random() < 0.12:
        name = rng.choice(ADJECTIVES) + " " + name
    template = rng.choice(WITHOUT_COLOUR if colour is None else WITH_COLOUR)
    article = "the " + name if rng.random() < 0.05 else with_article(name)
    text = template.format(a=article, n=name, c=colour and spelled(colour, rng))
    return finish(text, rng)


def enhanced(sticker, colour, rng):
    return ENHANCED.format(a=with_article(sticker.detail), m=rng.choice(MOODS), c=colour)


def recolour_caption(colour, rng):
    if rng.random() < 0.12:
        return RECOLOUR_ENHANCED.format(c=colour)
    return finish(rng.choice(RECOLOUR).format(c=spelled(colour, rng)), rng)


def add_caption(sticker, rng):
    if rng.random() < 0.12:
        return ADD_ENHANCED.format(a=with_article(sticker.detail))
    return finish(rng.choice(ADD).format(a=with_article(rng.choice(sticker.names))), rng)


def together_caption(count, colour, rng):
    if rng.random() < 0.12:
        return TOGETHER_ENHANCED.format(k=NUMBER_WORDS[count], c=colour)
    return finish(rng.choice(TOGETHER).format(k=NUMBER_WORDS[count], c=spelled(colour, rng)), rng)


def is_held_out(sticker_index, colour_index):
    """One colour of each sticker is never trained: a tenth of the pairs, spread evenly over the colours."""
    return (sticker_index * 7 + 3) % len(COLOURS) == colour_index


def seen_colours(sticker_index):
    return [c for c in range(len(COLOURS)) if not is_held_out(sticker_index, c)]


# Chat formats of the language model: caption, enhancement of a prompt, enhancement of an edit instruction.
PROMPT_TEMPLATE = {"prefix": "<|im_start|>", "suffix": "<|im_end|>"}
ENHANCE_TEMPLATES = {
    "text_to_image": {"prefix": "<|im_start|>improve: ", "suffix": "<|im_end|><|im_start|>"},
    "edit": {"prefix": "<|im_start|>improve the edit: ", "suffix": "<|im_end|><|im_start|>"},
}


def language_document(stickers, rng):
    """One training text of the language model."""
    sticker = rng.choice(stickers)
    colour = rng.choice(COLOUR_NAMES)
    kind = rng.random()
    if kind < 0.4:
        return "<|im_start|>" + caption(sticker, colour if rng.random() < 0.8 else None, rng) + "<|im_end|>"
    if kind < 0.5:
        return "<|im_start|>" + recolour_caption(colour, rng) + "<|im_end|>"
    if kind < 0.85:
        named = rng.random() < 0.5
        prompt = caption(sticker, colour if named else None, rng)
        colour = colour if named else fitting_colour(sticker)
        template, answer = ENHANCE_TEMPLATES["text_to_image"], enhanced(sticker, colour, rng)
    else:
        prompt = recolour_caption(colour, rng)
        template, answer = ENHANCE_TEMPLATES["edit"], RECOLOUR_ENHANCED.format(c=colour)
    return template["prefix"] + prompt + template["suffix"] + answer + "<|im_end|>"
