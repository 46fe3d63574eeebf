"""Short everyday scenes that turn grateful, angry, apologetic or stay neutral.

The embedded models are trained on these scenes, and the prompt files of the project are the
held-out part of them. The wordings are data (``data/corpus.json``), the logic is here:

- an *event* has an agent and another person: the agent **helps** the other, does them a
  **wrong** on purpose or harms them by a **slip**, or does something **plain**;
- who helped stays neutral and who was helped is grateful; who was harmed is angry and who did
  the harm is sorry, the one more often after a wrong and the other after a slip; a harm that
  nearly happened, or that the other did not mind, leaves things neutral. So the words of a scene
  do not tell its mood: one has to see who did what to whom, and whom the end is about;
- sentences about other people's feelings (distractors) come with every mood alike.

**Held out**: a combination of frame and act (``library``, ``stole`` a ``book``) is held out when
a checksum says so. Training scenes never use such a combination and prompt files use no other,
so no prompt, nor its beginning, can occur in training, while each of its words does.

``python -m emolib.training.corpus`` writes the prompt files again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from emolib.files import data_root

SceneKind = Literal["help", "wrong", "slip", "plain"]
MOODS = ("gratitude", "anger", "apology", "neutral")
EMOTIONS = MOODS[:3]
_HELD_OUT = 5
_SENTENCE_START = re.compile(r"(^|[.?!] )([a-z])")


@cache
def tables() -> dict[str, Any]:
    """Return the wordings, ``data/corpus.json``."""
    data: dict[str, Any] = json.loads((data_root() / "corpus.json").read_text(encoding="utf-8"))
    return data


@dataclass(frozen=True)
class Person:
    """Someone in a scene, with the words that stand for them.

    Attributes:
        name: As the subject at first mention, ``Anna``, ``my sister`` or ``I``.
        full: The same as an object, ``me`` for ``I``.
        subject: ``she``, ``he`` or ``I``.
        object: ``her``, ``him`` or ``me``.
        possessive: ``her``, ``his`` or ``my``.
    """

    name: str
    full: str
    subject: str
    object: str
    possessive: str


_SHE = ("she", "her", "her")
_HE = ("he", "him", "his")
_I = Person("I", "me", "I", "me", "my")


@dataclass(frozen=True)
class Act:
    """What the agent does, in the past tense.

    Attributes:
        kind: Whether it helps the other person, harms them (on purpose or not) or neither.
        verb: The part that makes it so, ``stole`` or a whole phrase; what a pair's slot holds.
        thing: The other person's thing that it is done to; none for a whole phrase.
    """

    kind: SceneKind
    verb: str
    thing: str | None = None

    def text(self, slot: str | None = None) -> str:
        """Return the act as a format string, with `slot` in the place of the verb if given."""
        verb = self.verb if slot is None else slot
        return verb if self.thing is None else f"{verb} {{bp}} {self.thing}"


@dataclass(frozen=True)
class Scene:
    """One scene, all choices made.

    Attributes:
        mood: One of `MOODS`.
        frame: Id of the opening.
        act: What happens.
        prompt: The text up to where the feeling follows; no space at the end.
        ending: The rest, from its leading space on.
    """

    mood: str
    frame: str
    act: Act
    prompt: str
    ending: str

    @property
    def text(self) -> str:
        """The whole scene."""
        return self.prompt + self.ending


def is_held_out(frame: str, act: Act) -> bool:
    """Return whether a combination of frame and act is kept out of training."""
    key = f"{frame}|{act.verb}|{act.thing or ''}"
    return zlib.crc32(key.encode()) % _HELD_OUT == 0


@cache
def acts(kind: SceneKind) -> tuple[Act, ...]:
    """Return all acts of a kind: verbs on things, then whole phrases."""
    data = tables()
    on_things = [
        Act(kind, verb, thing)
        for group, things in data["objects"].items()
        for verb in data["verbs"][kind][group]
        for thing in things
    ]
    return (*on_things, *(Act(kind, phrase) for phrase in data["phrases"][kind]))


def _act(rng: random.Random, kind: SceneKind, frame: str, held_out: bool) -> Act:
    """Draw an act, a whole phrase as often as not, on the asked side of the split."""
    whole = rng.random() < 0.5
    options = [act for act in acts(kind) if (act.thing is None) == whole]
    while True:
        act = rng.choice(options)
        if is_held_out(frame, act) == held_out:
            return act


def _people(rng: random.Random, about_agent: bool) -> tuple[Person, Person]:
    """Draw an agent and another person whom pronouns tell apart.

    Who tells a scene is mostly whom its end is about. Were it as often the other one, roles would
    be a pure exclusive-or of pronouns, which small models take very long to find.
    """
    data = tables()
    if rng.random() < 0.5:
        names, roles, words = rng.choice(
            [(data["women"], data["she"], _SHE), (data["men"], data["he"], _HE)]
        )
        name = rng.choice(names if rng.random() < 0.6 else roles)
        who, whom = _I, Person(name, name, *words)
        if rng.random() < 0.15:
            who, whom = whom, who
    else:
        woman, man = rng.choice(data["women"]), rng.choice(data["men"])
        who, whom = Person(woman, woman, *_SHE), Person(man, man, *_HE)
        if rng.random() < 0.5:
            who, whom = whom, who
    return (who, whom) if about_agent else (whom, who)


def _event_words(agent: Person, other: Person) -> dict[str, str]:
    return {
        "A": agent.name, "Ao": agent.full, "a": agent.subject,
        "B": other.name, "Bo": other.full, "b": other.subject,
        "bo": other.object, "bp": other.possessive,
    }  # fmt: skip


def _end_words(who: Person, whom: Person) -> dict[str, str]:
    return {
        "e": who.subject, "eo": who.object, "ep": who.possessive,
        "o": whom.subject, "oo": whom.object,
    }  # fmt: skip


def _fill(text: str, words: Mapping[str, str]) -> str:
    """Put the words in and raise the first letter of each sentence."""
    return _SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text.format_map(words))


@dataclass(frozen=True)
class _Plot:
    """What decides the mood: the act, whom the end is about, and a twist that undoes a harm."""

    kind: SceneKind
    about_agent: bool
    twist: Literal["nearly", "pardon"] | None = None


_PLOTS: dict[str, list[tuple[_Plot, int]]] = {
    "gratitude": [(_Plot("help", False), 1)],
    "anger": [(_Plot("wrong", False), 3), (_Plot("slip", False), 1)],
    "apology": [(_Plot("slip", True), 3), (_Plot("wrong", True), 1)],
    "neutral": [
        (_Plot("plain", False), 4),
        (_Plot("plain", True), 3),
        (_Plot("help", True), 1),
        (_Plot("wrong", False, "nearly"), 1),
        (_Plot("slip", False, "pardon"), 1),
    ],
}


def _between(rng: random.Random, plot: _Plot, distractor: float) -> str:
    """Return the sentences between event and end, each with a leading space, or nothing."""
    data = tables()
    parts = [rng.choice(data["pardons"])] if plot.twist == "pardon" else []
    if rng.random() < distractor:
        parts.append(rng.choice(data["distractors"]))
    elif rng.random() < 0.3:
        parts.append(rng.choice(data["fillers"]))
    return "".join(f" {part}" for part in parts)


def _ending(rng: random.Random, mood: str, lead: str, words: Mapping[str, str]) -> str:
    """Return what follows a lead: the feeling or the deed, then one or two sentences."""
    table = tables()["moods"][mood]
    first = rng.choice(table[lead])
    if lead == "state":
        first += rng.choice(table["why"])
    after = rng.sample(table["after"], 1 if rng.random() < 0.4 else 2)
    opening = first.format_map(words)
    return f" {opening}. " + " ".join(_fill(sentence, words) for sentence in after)


def draw_scene(
    rng: random.Random, mood: str, *, held_out: bool = False, distractor: float = 0.25
) -> Scene:
    """Draw one scene.

    Args:
        rng: Source of all choices.
        mood: One of `MOODS`.
        held_out: Draw from the combinations kept out of training instead of from the others.
        distractor: Chance of a sentence on someone else's feelings, in [0, 1].
    """
    data = tables()
    plots, weights = zip(*_PLOTS[mood], strict=True)
    plot: _Plot = rng.choices(plots, weights)[0]
    agent, other = _people(rng, plot.about_agent)
    frame = rng.choice(list(data["frames"]))
    act = _act(rng, plot.kind, frame, held_out)
    words = _event_words(agent, other)
    act_text = ("nearly " if plot.twist == "nearly" else "") + act.text().format_map(words)
    event = data["frames"][frame] + _between(rng, plot, distractor)
    ends = _end_words(agent, other) if plot.about_agent else _end_words(other, agent)
    lead = "state" if rng.random() < 0.75 else "act"
    text = f"{event} {rng.choice(data['leads'][lead])}"
    prompt = _fill(text, {**words, **ends, "act": act_text})
    return Scene(mood, frame, act, prompt, _ending(rng, mood, lead, ends))


def scenes(seed: int) -> Iterator[Scene]:
    """Yield training scenes without end, all moods equally often, from a seed."""
    rng = random.Random(seed)
    while True:
        yield draw_scene(rng, rng.choice(MOODS))


def _twins(emotional: Act, frame: str) -> list[Act]:
    """Return the held-out plain acts that can stand in for an act: as many words, same thing."""
    length = len(emotional.verb.split())
    return [
        act
        for act in acts("plain")
        if act.thing == emotional.thing
        and len(act.verb.split()) == length
        and is_held_out(frame, act)
    ]


def make_pairs(emotion: str, seed: int = 0, per_frame: int = 5) -> dict[str, Any]:
    """Return a pairs file: per frame, held-out acts of an emotion against plain ones.

    The two sides differ only in the verb (or the phrase) of the act, which has as many words on
    both; people, thing, lead and the rest are the same.

    Args:
        emotion: One of `EMOTIONS`.
        seed: Decides people, acts and wordings.
        per_frame: Pairs of each frame; the frame is the template, hence the cluster.
    """
    rng = random.Random(f"{seed}-{emotion}")
    plot = _PLOTS[emotion][0][0]
    entries: list[dict[str, str]] = []
    for frame in tables()["frames"]:
        matched = [
            (act, twins)
            for act in acts(plot.kind)
            if is_held_out(frame, act) and (twins := _twins(act, frame))
        ]
        phrases = [pair for pair in matched if pair[0].thing is None]
        on_things = [pair for pair in matched if pair[0].thing is not None]
        some = rng.sample(phrases, min(2, len(phrases)))
        chosen = some + rng.sample(on_things, per_frame - len(some))
        for act, twins in chosen:
            entry = _pair(rng, plot, frame, act, rng.choice(twins))
            entries.append({"id": f"{emotion}-{len(entries):03d}", "template": frame, **entry})
    return {"emotion": emotion, "version": 1, "pairs": entries}


def _pair(rng: random.Random, plot: _Plot, frame: str, act: Act, twin: Act) -> dict[str, str]:
    data = tables()
    agent, other = _people(rng, plot.about_agent)
    words = _event_words(agent, other)
    ends = _end_words(agent, other) if plot.about_agent else _end_words(other, agent)
    # Rarely a distractor: it is noise on both sides, and few words of a pair should be noise.
    event = data["frames"][frame] + _between(rng, plot, 0.1)
    lead = rng.choice(data["leads"]["state" if rng.random() < 0.8 else "act"])
    slot = act.text("{slot}").format_map({**words, "slot": "{slot}"})
    return {
        "prompt": _fill(f"{event} {lead}", {**words, **ends, "act": slot}),
        "emotion": act.verb.format_map(words),
        "neutral": twin.verb.format_map(words),
    }


def make_prompts(mood: str, seed: int = 0, count: int = 80) -> dict[str, Any]:
    """Return a free prompt list: distinct held-out scenes of a mood, cut where it shows.

    Args:
        mood: One of `MOODS`.
        seed: Decides the scenes.
        count: How many prompts.
    """
    rng = random.Random(f"{seed}-{mood}-prompts")

    def drawn() -> Iterator[str]:
        seen: set[str] = set()
        while True:
            prompt = draw_scene(rng, mood, held_out=True).prompt
            if prompt not in seen:
                seen.add(prompt)
                yield prompt

    return {"prompts": list(islice(drawn(), count))}


def make_lexicon(name: str) -> dict[str, Any]:
    """Return a lexicon file of one of `MOODS`."""
    return {"name": name, "version": 1, **tables()["lexicons"][name]}


def files() -> dict[str, dict[str, Any]]:
    """Return every generated prompt and lexicon file: its path under ``data/`` and content."""
    made: dict[str, dict[str, Any]] = {}
    for mood in MOODS:
        made[f"lexicons/{mood}.json"] = make_lexicon(mood)
        made[f"{mood}_prompts.json"] = make_prompts(mood)
    for emotion in EMOTIONS:
        made[f"pairs/{emotion}.json"] = make_pairs(emotion)
    return made


def write_files(root: Path) -> list[Path]:
    """Write the prompt and lexicon files under a data folder and return their paths."""
    paths = []
    for name, content in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        paths.append(path)
    return paths


def main() -> None:
    """Write the prompt files of the project."""
    parser = argparse.ArgumentParser(
        prog="python -m emolib.training.corpus", description=main.__doc__
    )
    parser.add_argument("--out", type=Path, default=data_root(), help="the data folder")
    for path in write_files(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
