"""The sentence parser: what each sentence says, in slots."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwatch.core import InputError
from oddwatch.describe.atoms import INDEX
from oddwatch.describe.sentence import LONGEST, language_of, parse

# sentence → atoms that must lead a slot ("-" denied), then after "|" atoms no slot may hold the positive of.
CASES = """
a man in a red jacket => person.man upper.color.red upper.type.jacket | lower.color.red
a man in black => upper.color.black lower.color.black
a woman in a dark-blue coat => person.woman upper.color.blue upper.tone.dark upper.type.coat
a light grey sweater => upper.color.grey upper.tone.light upper.type.sweater
a navy and white striped shirt => upper.color.blue upper.color.white upper.pattern.striped upper.type.shirt
a blue-and-white striped top => upper.color.blue upper.color.white upper.pattern.striped
wearing a red jacket, blue jeans and white shoes => upper.color.red lower.color.blue lower.type.jeans feet.color.white
dressed in a short-sleeved green t-shirt => upper.color.green upper.sleeves.short upper.type.t-shirt
a sleeveless white dress => upper.sleeves.none upper.color.white upper.type.dress
he has khaki shorts and brown sandals => lower.color.beige lower.type.shorts feet.color.brown feet.type.sandals
a person carrying a red and a blue bag => bag.color.red bag.color.blue carry.bag
the man has a black backpack on his back => bag.color.black carry.backpack | facing.away
the shirt is blue and the pants are black => upper.color.blue lower.color.black
his hair is long => hair.length.long
a white-haired woman => hair.color.grey
a woman with long dark hair => hair.length.long hair.color.black | upper.tone.dark
a bald man => hair.length.bald
a barefoot boy => feet.type.barefoot person.child
a masked man holding a gun => head.wear.mask carry.weapon
a cyclist with a yellow helmet => posture.riding near.bicycle head.color.yellow head.wear.helmet
a man falls off a bicycle => posture.falling near.bicycle
a person lying on the ground => posture.lying
someone sprawled on the grass => posture.lying place.grass
he is sprinting => posture.running
a man looking at his phone => action.look_down carry.phone
a woman talking on the phone => carry.phone
a man with his hands in his pockets => arms.in_pockets
arms raised => arms.raised
a man with raised arms => arms.raised
bending over a bag => posture.bending carry.bag
a man running away from a dog => action.flee near.dog
a man is hit by a car => action.hit_by_vehicle | action.hit
a car hits a man => action.hit_by_vehicle
the pedestrian was struck by a truck => action.hit_by_vehicle near.truck
he is grabbed by a policeman => action.fight company.pair
a man hits another man => action.hit company.pair | action.hit_by_vehicle
kneeling beside a bicycle => posture.crouching near.bicycle
a man climbs over a fence => posture.climbing near.fence
seen from behind => facing.away
a man walking towards the camera => posture.walking facing.camera
walking to the left => posture.walking facing.left
he walks away => posture.walking motion.away
a man with a bag on his left shoulder => carry.bag | frame.left facing.left
a man on the left => frame.left
a man alone => company.alone
a man beside a woman => company.pair
two people => count.two|company.pair
three men walking => count.three|company.group posture.walking
a group of people => company.group
a man shaking hands with another man => action.talk company.pair
on the grass => place.grass
in a corridor at night => place.corridor light.night
in front of a blue wall => place.color.blue | upper.color.blue
a man in the rain with an umbrella => weather.rain carry.umbrella
a man without a hat => -head.wear.hat | head.wear.hat
a man not running => -posture.running | posture.running
a rider with no helmet => posture.riding -head.wear.helmet | head.wear.helmet
with no helmet and a red jacket => -head.wear.helmet upper.color.red upper.type.jacket
without a hat, gloves or a scarf => -head.wear.hat -head.wear.scarf
neither a hat nor glasses => -head.wear.hat -head.wear.glasses
he isn't carrying anything => -carry.bag -carry.box
she isn't wearing a hat but has a red bag => -head.wear.hat bag.color.red carry.bag
nobody in the street => count.none place.street
a man in a red jacket beside a woman in a green dress => upper.color.red | upper.color.green upper.type.dress
a teal parka => upper.color.blue upper.type.coat
maroon trousers => lower.color.red lower.tone.dark lower.type.trousers
a man wearing a white shirt with black stripes => upper.color.white upper.pattern.striped
a jacket over a shirt => upper.type.jacket upper.type.shirt
a running man => posture.running
a man with an orange vest pushes a man => upper.color.orange upper.type.vest action.push
a waering of a burgandy jaket => upper.color.red upper.type.jacket
people fighting => action.fight
he is carrying a red jacket over his arm => action.carry | upper.type.jacket upper.color.red
a man in black glasses => head.wear.glasses | head.color.black
pants sagging over his shoes => lower.type.trousers feet.type.shoes | upper.color.green
The image shows a woman in a pink top riding a scooter => upper.color.pink near.motorcycle | company.pair
a bus hits a cyclist => action.hit_by_vehicle near.bicycle posture.riding | company.pair
a fight between two men => action.fight count.two
he hits a man => action.hit company.pair | count.one
a man on the ground => posture.lying
two boys fighting on the ground => action.fight | posture.lying
a man sitting on the floor => posture.sitting | posture.lying
a man wearing dark clothing => upper.color.black lower.color.black
a dog without its owner => near.dog | count.none
a man slips on the icy pavement => posture.falling place.pavement | feet.type.shoes
a person running through trees in the background => posture.running place.trees | frame.far
a man in a white shirt, not in jeans => upper.color.white -lower.type.jeans
a man holding a child's hand => person.man | carry.child
a man rides a motorbike without a helmet => posture.riding near.motorcycle -head.wear.helmet
"""


def _atoms(text: str) -> tuple[set[str], set[str]]:
    query = parse(text)
    held = {a for s in query.slots if not s.negated for a in s.atoms}
    denied = {a for s in query.slots if s.negated for a in s.atoms}
    return held, denied


@pytest.mark.parametrize("line", list(CASES.strip().splitlines()))
def test_a_sentence_says(line: str) -> None:
    text, wanted = line.split(" => ")
    expected, _, forbidden = wanted.partition(" | ")
    held, denied = _atoms(text)
    for item in expected.split():
        if item.startswith("-"):
            assert item[1:] in denied, f"{item} not denied in {text!r}"
            assert item[1:] not in held
        else:
            assert set(item.split("|")) & held, f"{item} not in {text!r}: {sorted(held)}"
    assert not held & set(forbidden.split()), f"{text!r} must not say {held & set(forbidden.split())}"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("a man in a red jacket", "person"), ("two men fighting", "person"), ("a crowd runs away", "moment"),
        ("people fighting", "moment"), ("an abandoned bag", "moment"), ("a car on the pavement", "moment"),
        ("nobody in the street", "moment"), ("red jacket and blue jeans", "person"), ("falls off a bike", "person"),
        ("a group of people running", "moment"), ("The girls is wearing a hat", "person"),
    ],
)  # fmt: skip
def test_what_kind_of_entry_is_meant(text: str, target: str) -> None:
    assert parse(text).target == target


def test_colour_and_garment_are_slots_bound_to_one_region() -> None:
    slots = {s.words: s for s in parse("a red jacket and blue shoes").slots}
    assert slots["red"].about == slots["jacket"].about == "upper"
    assert slots["blue"].about == slots["shoes"].about == "feet"
    assert slots["red"].kind == "color" and slots["jacket"].kind == "garment"


def test_an_adjective_reaches_the_second_noun_only_weakly() -> None:
    colours = {next(iter(s.atoms)): s.weight for s in parse("a red hat and shoes").slots if s.kind == "color"}
    assert colours["head.color.red"] == 1.0
    assert 0 < colours["feet.color.red"] <= 0.3


def test_words_nothing_can_see_are_slots_without_atoms() -> None:
    gloves = [s for s in parse("a man with white gloves").slots if s.words == "gloves"]
    assert gloves and not gloves[0].atoms


def test_unknown_words_are_unread_not_guessed() -> None:
    query = parse("a man with a flurbish zorgle")
    assert "zorgle" in query.unread and "flurbish" in query.unread


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_sentence_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="empty"):
        parse(text)


def test_a_very_long_sentence_is_refused() -> None:
    with pytest.raises(InputError, match=str(LONGEST)):
        parse("a man " * 2000)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a man in a red jacket", "en"), ("ein Mann mit einer roten Jacke liegt auf dem Boden", "de"),
        ("un homme avec une veste rouge dans la rue", "fr"), ("un hombre con una chaqueta roja en el suelo", "es"),
        ("человек в красной куртке", "ru"), ("穿红色夹克的男人", "zh"), ("赤いジャケットの男", "ja"), ("빨간 재킷", "ko"),
        ("رجل يرتدي سترة حمراء", "ar"), ("🙂🙂🙂", "und"), ("12345 !!", "und"),
    ],
)  # fmt: skip
def test_the_language_is_told(text: str, language: str) -> None:
    assert language_of(text) == language
    query = parse(text)
    assert query.language == language
    assert bool(query.slots) == (language == "en")


def _check(text: str) -> None:
    query = parse(text)
    assert query.target in ("person", "moment")
    for slot in query.slots:
        assert text[slot.start : slot.end] == slot.words
        assert set(slot.atoms) <= set(INDEX)
        assert all(0 < w <= 1 for w in slot.atoms.values())
        assert slot.weight >= 0


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1, max_size=200).filter(lambda t: t.strip()))
def test_any_text_is_read_without_a_crash(text: str) -> None:
    _check(text)


WORDS = [
    "a",
    "the",
    "man",
    "woman",
    "red",
    "blue",
    "dark",
    "light",
    "and",
    ",",
    ".",
    "or",
    "not",
    "without",
    "no",
    "with",
    "in",
    "on",
    "by",
    "wearing",
    "carrying",
    "is",
    "are",
    "jacket",
    "shirt",
    "jeans",
    "shoes",
    "hat",
    "bag",
    "two",
    "people",
    "beside",
    "another",
    "falls",
    "lying",
    "running",
    "left",
    "to",
    "camera",
    "his",
    "hair",
    "long",
    "'s",
    "-",
    "n't",
    "neither",
    "nor",
    "striped",
    "sleeves",
    "of",
    "over",
    "hit",
    "car",
    "crowd",
    "nobody",
    "nothing",
    "anything",
    "black",
    "white",
    "bicycle",
    "that",
    "who",
    "looking",
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join))
def test_any_order_of_words_is_read_without_a_crash(text: str) -> None:
    _check(text)


def test_reading_is_deterministic_and_quick() -> None:
    text = "A man in a dark blue jacket, black jeans and white shoes carrying a red bag falls off a bicycle."
    first = parse(text)
    start = time.process_time()
    for _ in range(50):
        assert parse(text) == first
    # 3 ms is the goal; ten times that keeps a busy machine from failing the test.
    assert (time.process_time() - start) / 50 < 0.03


def _slots(text: str) -> dict[str, list[tuple[str, str, bool, float]]]:
    out: dict[str, list[tuple[str, str, bool, float]]] = {}
    for s in parse(text).slots:
        best = max(s.atoms, key=lambda a: s.atoms[a], default="")
        out.setdefault(s.words, []).append((s.about, best, s.negated, s.weight))
    return out


@pytest.mark.parametrize(
    "text",
    [
        "a woman in dark jacket",
        "a woman in dark dungarees",
        "a man in dark, baggy trousers",
        "a man in dark and white shirt",
    ],
)
def test_dark_before_a_garment_is_its_colour_and_no_night(text: str) -> None:
    atoms = {a for s in parse(text).slots for a in s.atoms}
    assert "light.night" not in atoms


@pytest.mark.parametrize("text", ["a man in the dark", "people run in the dark", "a man walking at night"])
def test_the_dark_by_itself_is_night(text: str) -> None:
    assert "light.night" in {a for s in parse(text).slots for a in s.atoms}


def test_dark_and_more_before_a_garment_colours_it() -> None:
    assert _slots("a man in dark, baggy trousers")["dark"][0][:2] == ("lower", "lower.color.black")


@pytest.mark.parametrize(
    ("text", "words", "atom"),
    [
        ("no one is wearing a hat", "hat", "head.wear.hat"),
        ("nobody is running", "running", "posture.running"),
        ("no people are running", "running", "posture.running"),
        ("nobody with a red jacket", "jacket", "upper.type.jacket"),
    ],
)
def test_what_nobody_does_is_denied(text: str, words: str, atom: str) -> None:
    query = parse(text)
    slot = next(s for s in query.slots if s.words == words)
    assert slot.negated and atom in slot.atoms
    assert query.target == "moment"
    assert not any("count.none" in s.atoms for s in query.slots)


def test_nobody_at_a_place_is_an_empty_place() -> None:
    query = parse("nobody in the street")
    assert {a: s.negated for s in query.slots for a in s.atoms}["count.none"] is False


def test_nobody_else_is_alone_and_asks_for_a_person() -> None:
    query = parse("A man in a red jacket walks. No one else is close by.")
    assert query.target == "person"
    assert any(s.atoms == {"company.alone": 1.0} and not s.negated for s in query.slots)


def test_a_denial_by_nobody_ends_with_its_clause() -> None:
    said = _slots("nobody is running but a man is sitting on a bench")
    assert said["running"][0][2] and not said["sitting on"][0][2]


@pytest.mark.parametrize(
    "text", ["a man in a black jacket and white shirt", "a man in a white shirt and a black jacket"]
)
def test_of_what_is_worn_under_a_jacket_little_is_seen(text: str) -> None:
    said = _slots(text)
    assert said["black"][0][3] == 2 * said["white"][0][3]
    assert said["jacket"][0][3] == 2 * said["shirt"][0][3]


def test_two_garments_of_one_layer_count_alike() -> None:
    said = _slots("a man in a red shirt and black trousers")
    assert said["red"][0][3] == said["black"][0][3] == 1.0


def test_clothes_said_of_another_are_the_subjects_where_nothing_else_is_worn() -> None:
    lone = _slots("a man pushing another person on the street in a red jacket")
    assert lone["red"][0] == ("upper", "upper.color.red", False, 0.5)
    both = _slots("a man in blue hits a woman in a red dress")
    assert both["red"][0][:2] == ("other", "") and both["blue"][0][0] == "upper"


@pytest.mark.parametrize(
    ("text", "atoms"),
    [
        ("dressed in a red coat, a man with a black bag is kicking someone",
         {"upper.color.red", "person.man", "bag.color.black", "carry.bag", "action.kick"}),
        ("a man standing still in the road", {"posture.standing"}),
        ("a woman walking a dog", {"posture.walking", "near.dog"}),
    ],
)  # fmt: skip
def test_phrases_say_all_that_they_say(text: str, atoms: set[str]) -> None:
    leading = {max(s.atoms, key=lambda a: s.atoms[a]) for s in parse(text).slots if s.atoms}
    assert atoms <= leading
