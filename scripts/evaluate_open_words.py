"""How well words in no table are understood: precision and recall of the nearest-word meaning.

    python scripts/evaluate_open_words.py package/dict

Words: those of ``derived.tsv`` (WordNet hyponyms; their rows are the truth; prototypes come from the hand-written
tables only, so none of these words is a prototype) and, as words that mean nothing visible, common WordNet nouns
and verbs that no table holds. Half of each chooses the threshold, the other half is reported.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np

from oddwatch.describe.lexicon import lexicon, part_of_speech, read_atoms, rows
from oddwatch.describe.sentence.openwords import nearest, write_packaged
from oddwatch.encoders.sentence import SentenceEncoder


def words(folder: Path, seed: int) -> list[tuple[str, str, str]]:
    """(word, part of speech, leading atom or an empty string for nothing visible)."""
    rng = random.Random(seed)
    found: list[tuple[str, str, str]] = []
    for fields in rows("derived.tsv"):
        tag = part_of_speech(fields[1])
        if tag not in ("N", "V") or fields[1] == "person":
            continue
        atoms = fields[3].split()[0] if fields[3] != "-" else ""
        truth = " ".join(read_atoms(fields[3], "derived")[0]) if atoms else ""
        single = [p for p in fields[0].split("|") if " " not in p]
        found += [
            (word, tag, truth.split()[0] if truth else "")
            for word in rng.sample(single, min(12, len(single)))
        ]
    counts: dict[tuple[str, str], int] = {}
    for line in (folder / "index.sense").read_text(encoding="latin-1").splitlines():
        key, _, _, tagged = line.split()
        lemma, _, rest = key.partition("%")
        if rest[0] in "12" and lemma.isalpha():
            pos = "NV"[int(rest[0]) - 1]
            counts[(lemma, pos)] = counts.get((lemma, pos), 0) + int(tagged)
    common = [
        (w, pos) for (w, pos), n in counts.items() if n >= 5 and len(w) > 3 and w not in lexicon().words
    ]
    found += [(w, pos, "") for w, pos in rng.sample(sorted(common), 400)]
    rng.shuffle(found)
    return found


def table(
    items: list[tuple[str, str, str]], encoder: SentenceEncoder
) -> list[tuple[str, frozenset[str], float]]:
    """(true leading atom, guessed atoms, cosine)."""
    out = []
    for tag in ("N", "V"):
        mine = [item for item in items if item[1] == tag]
        for (_, _, truth), (sense, cosine) in zip(
            mine, nearest([w for w, _, _ in mine], tag, encoder), strict=True
        ):
            guess = frozenset(sense.meanings[0]) if sense.meanings else frozenset()
            out.append((truth, guess, cosine))
    return out


def figures(results: list[tuple[str, frozenset[str], float]], least: float) -> str:
    """Precision (the true atom is among those given) and recall, and how many words were given atoms."""
    given = [(truth, atoms) for truth, atoms, cosine in results if cosine >= least and atoms]
    right = sum(truth in atoms for truth, atoms in given)
    visible = sum(bool(truth) for truth, _, _ in results)
    return f"precision {right / max(len(given), 1):.2f} recall {right / max(visible, 1):.2f} of {len(given)}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wordnet", type=Path)
    parser.add_argument("--write", action="store_true", help="write lexicon/prototypes.npz anew first")
    options = parser.parse_args()
    encoder = SentenceEncoder()
    if options.write:
        write_packaged(encoder)
    items = words(options.wordnet, seed=0)
    half = len(items) // 2
    choose, report = table(items[:half], encoder), table(items[half:], encoder)
    for least in np.arange(0.4, 0.85, 0.05):
        print(f"{least:.2f}  choose: {figures(choose, least)}   report: {figures(report, least)}")
    print(len(choose), len(report), "words")


if __name__ == "__main__":
    main()
