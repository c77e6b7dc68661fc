#!/usr/bin/env python3
"""Writes text.txt: a small made-up text for the integration tests, the same on every machine. Paragraphs are documents."""
import random

random.seed(20261124)
NOUNS = "river stone garden window letter mountain shepherd lamp market harbour winter orchard bridge morning".split()
VERBS = "follows remembers carries opens watches crosses finds gathers leaves answers".split()
ADJECTIVES = "quiet old bright narrow distant early broken green patient".split()
NAMES = "Anna Tomas Miriam Jonas Ruth Elias".split()


def noun_phrase():
    return random.choice([
        f"the {random.choice(NOUNS)}", f"the {random.choice(ADJECTIVES)} {random.choice(NOUNS)}", random.choice(NAMES),
        f"the {random.choice(NOUNS)} of {random.choice(NAMES)}"])


def sentence():
    text = f"{noun_phrase()} {random.choice(VERBS)} {noun_phrase()}"
    if random.random() < 0.3:
        text += f", and {noun_phrase()} {random.choice(VERBS)} {noun_phrase()}"
    if random.random() < 0.1:
        text += f" {random.randint(2, 90)} times"
    return text[0].upper() + text[1:] + "."


paragraphs = [" ".join(sentence() for _ in range(random.randint(4, 9))) for _ in range(240)]
with open(__file__.replace("make_text.py", "text.txt"), "w", encoding="utf-8") as out:
    out.write("\n\n".join(paragraphs) + "\n")
