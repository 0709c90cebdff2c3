"""The generator's vocabulary, one list per caption family.

Family A speaks everyday words, family B rarer synonyms (anorak, slacks, crimson, sprawled, hauling), so that
an evaluation can hold out both the templates and the words. Nothing here is shared with the sentence parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

COLORS: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {},  # the shade's own word
    "B": {
        "black": ("black", "ebony", "inky"), "jet black": ("jet-black", "pitch-black"), "white": ("white", "snowy", "chalky"),
        "off-white": ("ivory", "eggshell"), "grey": ("grey", "slate", "ashen"), "dark grey": ("charcoal", "graphite"),
        "light grey": ("silvery", "pale grey"), "navy": ("midnight-blue", "navy"), "dark blue": ("indigo", "deep blue"),
        "blue": ("azure", "cobalt", "blue"), "light blue": ("sky-blue", "pastel blue"), "bright blue": ("electric-blue",),
        "teal": ("turquoise", "petrol-blue"), "red": ("crimson", "ruby", "red"), "bright red": ("scarlet", "vermilion"),
        "dark red": ("burgundy", "wine-red"), "maroon": ("oxblood", "burgundy"), "orange": ("tangerine", "amber"),
        "bright orange": ("neon orange", "fluorescent orange"), "yellow": ("golden", "saffron"),
        "bright yellow": ("lemon-coloured", "canary-yellow"), "mustard": ("ochre", "mustard"), "green": ("emerald", "green"),
        "dark green": ("bottle-green", "forest-green"), "olive": ("olive-drab", "moss-green"), "light green": ("minty", "pistachio"),
        "bright green": ("lime-coloured", "vivid green"), "purple": ("violet", "plum-coloured"), "dark purple": ("aubergine",),
        "lilac": ("lavender", "mauve"), "pink": ("rose-coloured", "pink"), "bright pink": ("fuchsia", "magenta"),
        "light pink": ("blush-pink", "powder-pink"), "brown": ("chestnut", "russet"), "dark brown": ("chocolate-brown", "umber"),
        "tan": ("caramel", "camel-coloured"), "beige": ("sand-coloured", "fawn"), "khaki": ("drab", "khaki"),
        "cream": ("creamy", "vanilla-coloured"),
    },
}  # fmt: skip
GARMENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {"t-shirt": ("t-shirt", "tee shirt"), "trousers": ("trousers", "pants"), "sweater": ("sweater", "jumper"),
          "sneakers": ("sneakers", "trainers")},
    "B": {
        "jacket": ("anorak", "windbreaker", "blouson"), "coat": ("parka", "overcoat"), "shirt": ("button-up", "button-down"),
        "t-shirt": ("tee", "short-sleeved top"), "sweater": ("pullover", "knitted top"), "hoodie": ("hooded sweatshirt", "hooded top"),
        "vest": ("gilet", "bodywarmer"), "dress": ("frock", "gown"), "suit": ("tailored suit", "business suit"),
        "trousers": ("slacks", "chinos"), "jeans": ("denims", "denim trousers"), "shorts": ("cut-offs", "bermudas"),
        "skirt": ("skirt",), "leggings": ("tights", "leggings"), "shoes": ("footwear", "loafers"),
        "sneakers": ("kicks", "plimsolls"), "boots": ("boots",), "sandals": ("sandals",),
    },
}  # fmt: skip
WHO: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {"man": ("man", "man", "person"), "woman": ("woman", "woman", "person"), "child": ("child", "kid", "person")},
    "B": {"man": ("bloke", "gentleman", "individual", "guy"), "woman": ("lady", "female", "individual"),
          "child": ("youngster", "schoolchild", "individual")},
}  # fmt: skip
CARRIED: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {"bag": ("a {c} bag",), "backpack": ("a {c} backpack",), "suitcase": ("a {c} suitcase",), "box": ("a box", "a cardboard box"),
          "umbrella": ("a {i} umbrella",), "phone": ("a phone",), "paper": ("a sheet of paper", "some papers"),
          "bottle": ("a bottle",), "ball": ("a {i} ball",), "stick": ("a stick",)},
    "B": {"bag": ("a {c} holdall", "a {c} satchel"), "backpack": ("a {c} rucksack", "a {c} knapsack"),
          "suitcase": ("a {c} trolley case",), "box": ("a carton", "a package"), "umbrella": ("a {i} brolly", "a {i} parasol"),
          "phone": ("a handset", "a mobile device"), "paper": ("a leaflet", "some documents"), "bottle": ("a flask",),
          "ball": ("a {i} sphere",), "stick": ("a cudgel", "a baton")},
}  # fmt: skip
WORN: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {"hat": ("a {h} hat",), "cap": ("a {h} cap",), "hood": ("the hood up",), "helmet": ("a {h} helmet",),
          "glasses": ("glasses",), "scarf": ("a scarf",), "mask": ("a face mask",)},
    "B": {"hat": ("{h} headgear",), "cap": ("a {h} peaked cap",), "hood": ("the hood pulled over the head",),
          "helmet": ("a {h} crash helmet",), "glasses": ("spectacles", "eyewear"), "scarf": ("a muffler", "a neckerchief"),
          "mask": ("a surgical face covering",)},
}  # fmt: skip
PLACES: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {"street": ("on the street", "in the road"), "pavement": ("on the pavement", "on the sidewalk"), "plaza": ("in a square", "on the plaza"),
          "corridor": ("in a corridor", "in a hallway"), "platform": ("on a platform", "at the station"),
          "car park": ("in a car park", "in a parking lot"), "grass": ("on the grass", "on the lawn"), "park path": ("on a path in the park",)},
    "B": {"street": ("on the carriageway", "on the asphalt"), "pavement": ("along the kerbside", "on the walkway"),
          "plaza": ("in an open forecourt", "across the piazza"), "corridor": ("inside a passageway", "indoors in a passage"),
          "platform": ("beside the railway track", "by the rails"), "car park": ("amid the parking bays", "between the parking spaces"),
          "grass": ("on a meadow", "on the turf"), "park path": ("on a footpath through greenery",)},
}  # fmt: skip
LIGHT: dict[str, dict[str, str]] = {
    "A": {"day": "during the day", "dusk": "in the evening", "night": "at night", "rain": "in the rain", "snow": "in the snow"},
    "B": {"day": "in broad daylight", "dusk": "at twilight", "night": "after dark", "rain": "during a downpour", "snow": "amid snowfall"},
}  # fmt: skip
DOINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "A": {
        "walk": ("walking", "walking along"), "run": ("running", "running along"), "stand": ("standing", "standing still"),
        "pockets": ("standing hands in pockets",), "cross_arms": ("standing with arms crossed",),
        "talk": ("talking to someone", "talking with another person"), "phone": ("looking at a phone",),
        "call": ("talking on the phone", "making a phone call"), "wave": ("waving a hand", "waving"), "sit": ("sitting on a bench", "sitting"),
        "sit_ground": ("sitting on the ground",), "bend": ("bending down", "bending over to the ground"),
        "crouch": ("crouching", "squatting down"), "kneel": ("kneeling on the ground", "kneeling down"),
        "carry": ("walking and carrying a box", "carrying a box"), "cycle": ("riding a bicycle", "cycling"),
        "point": ("pointing at something", "standing and pointing with one arm"), "hug": ("hugging someone", "hugging another person"),
        "dance": ("dancing",), "look_down": ("standing and looking down",), "arms_up": ("standing with both arms raised",),
        "walk_dog": ("walking a dog", "walking with a dog"), "jump": ("jumping", "jumping in the air"),
        "fall": ("falling down", "falling to the ground"), "stumble": ("stumbling", "tripping and losing balance"),
        "lie": ("lying on the ground", "lying on the back"), "lie_prone": ("lying face down", "lying on the ground face down"),
        "lie_side": ("lying on one side", "lying on the ground"), "curl": ("lying curled up on the ground",),
        "collapse": ("lying collapsed beside a helper",),
        "fight": ("fighting with another person", "punching someone"), "struck": ("being hit by another person", "being beaten by someone"),
        "push": ("pushing another person", "pushing someone away"), "kick": ("kicking another person", "kicking someone"),
        "kick_down": ("kicking someone lying down",), "throw": ("throwing an object", "throwing something"),
        "climb": ("climbing over a fence", "climbing a fence"), "hide": ("crouching behind a car", "hiding behind a car"),
        "flee": ("running away", "running away in panic"), "knocked": ("being hit by a car", "knocked down by a car"),
        "crash": ("falling after a bicycle collision", "being hit by a bicycle"), "run_over": ("lying in front of a car",),
        "drag": ("dragging a person along", "dragging someone",), "aim": ("aiming with both arms stretched out",),
        "abandon": ("walking away from a bag", "leaving a bag behind"), "loiter": ("hanging around beside a car", "waiting around beside a parked car"),
        "clutch_head": ("holding the head with the hands",), "get_up": ("getting up from the ground",),
    },
    "B": {
        "walk": ("strolling", "ambling", "striding"), "run": ("jogging", "sprinting"), "stand": ("lingering upright", "stationary on both feet"),
        "pockets": ("idling, hands tucked into pockets",), "cross_arms": ("posing with folded arms",),
        "talk": ("chatting with a companion", "conversing with an acquaintance"), "phone": ("scrolling on a handset", "absorbed by a mobile device"),
        "call": ("holding a handset to the ear",), "wave": ("beckoning with a lifted hand", "signalling a greeting"),
        "sit": ("seated on a bench", "perched on a bench"), "sit_ground": ("seated on the floor", "slumped in a seated position"),
        "bend": ("stooping", "hunched toward the floor"), "crouch": ("hunkering down", "squatting on the haunches"),
        "kneel": ("down on one knee", "genuflecting"), "carry": ("hauling a carton", "lugging a package"),
        "cycle": ("pedalling a bike", "mounted on a bike"), "point": ("gesturing with an outstretched arm",),
        "hug": ("embracing a companion", "cuddling a companion"), "dance": ("grooving", "swaying rhythmically"),
        "look_down": ("gazing at the floor",), "arms_up": ("stretching both hands skyward",),
        "walk_dog": ("strolling with a hound", "accompanied by a canine"), "jump": ("leaping", "hopping off the floor"),
        "fall": ("toppling over", "tumbling", "plunging to the floor"), "stumble": ("staggering", "reeling off balance"),
        "lie": ("sprawled on the floor", "outstretched on the back"), "lie_prone": ("prostrate", "sprawled face down"),
        "lie_side": ("slumped sideways on the floor", "sprawled motionless"), "curl": ("huddled in a foetal position",),
        "collapse": ("unconscious on the floor beside a rescuer", "sprawled beside a rescuer"),
        "fight": ("brawling with an opponent", "trading blows with a rival"), "struck": ("cowering under blows", "being assaulted by an aggressor"),
        "push": ("shoving a stranger", "jostling an opponent"), "kick": ("booting an opponent", "landing a roundhouse with the foot"),
        "kick_down": ("booting a sprawled victim",), "throw": ("hurling a projectile", "flinging a missile"),
        "climb": ("scaling a railing", "clambering over a barrier"), "hide": ("lurking behind a vehicle", "concealed behind an automobile"),
        "flee": ("fleeing in terror", "bolting from danger", "dashing off"), "knocked": ("struck by an automobile", "hurled aside by a vehicle"),
        "crash": ("knocked over by a cyclist", "toppled by a cyclist"), "run_over": ("sprawled before an automobile",),
        "drag": ("hauling a limp body",), "aim": ("levelling both hands pistol-like",),
        "abandon": ("deserting a piece of luggage", "forsaking a holdall"), "loiter": ("loitering beside a vehicle", "prowling near a parked vehicle"),
        "clutch_head": ("clutching the skull",), "get_up": ("scrambling back upright",),
    },
}  # fmt: skip
GLUE = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "with",
        "in",
        "on",
        "of",
        "at",
        "by",
        "to",
        "is",
        "are",
        "was",
        "be",
        "being",
        "who",
        "whose",
        "wears",
        "wearing",
        "dressed",
        "has",
        "has",
        "he",
        "she",
        "they",
        "their",
        "his",
        "her",
        "its",
        "while",
        "from",
        "for",
        "as",
        "it",
        "this",
        "that",
        "there",
        "one",
        "some",
        "someone",
        "something",
        "another",
        "into",
        "over",
        "both",
        "up",
        "down",
    ]
)
"""Words of the templates that carry no content."""


def content_words(text: str) -> list[str]:
    """The content words of a caption, lower case, in order."""
    return [w for w in re.findall(r"[a-z]+(?:-[a-z]+)*", text.lower()) if w not in GLUE]


def family_words(family: str) -> frozenset[str]:
    """Every content word the tables of a family (``A`` or ``B``) can produce, shade words included for A."""
    out: set[str] = set()
    tables: tuple[dict[str, dict[str, tuple[str, ...]]], ...] = (
        COLORS,
        GARMENTS,
        WHO,
        CARRIED,
        WORN,
        PLACES,
        DOINGS,
    )
    for table in tables:
        for phrases in table[family].values():
            for phrase in phrases:
                out.update(content_words(re.sub(r"\{\w\}", "", phrase)))
    for phrase in LIGHT[family].values():
        out.update(content_words(phrase))
    if family == "A":
        from oddwatch.datasets.scenes.shades import SHADES

        out.update(w for s in SHADES for w in content_words(s.word))
    return frozenset(out)


def unknown_share(captions: Iterable[str], known: Iterable[str]) -> float:
    """Share 0–1 of the captions' content words that are not in ``known`` (a synonym table's words)."""
    table = {w.lower() for w in known}
    words = [w for text in captions for w in content_words(text)]
    return sum(w not in table for w in words) / len(words) if words else 0.0
