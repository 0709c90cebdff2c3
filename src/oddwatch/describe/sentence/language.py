"""Which language a sentence is in, as far as it matters here: readable English or not."""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[^\W\d_]+", re.UNICODE)
STOPWORDS = {
    "en": "the a an is are in on with of and to at wearing from by his her who has person man woman it that no not "
    "without carrying holding walking running near into over while for this someone people",
    "de": "der die das ein eine einen einem einer und ist mit auf im in den dem des nicht ohne trägt von zu bei am "
    "mann frau roten schwarzen jacke liegt läuft",
    "fr": "le la les un une des et est avec sur dans de du au aux sans pas porte qui homme femme en par il elle",
    "es": "el la los las un una unos y es está con en de del al sin no lleva que hombre mujer por se su rojo",
    "it": "il lo la gli un una e è con su in di del della al senza non che uomo donna per si indossa rossa",
    "pt": "o a os as um uma e é com em de do da no na sem não que homem mulher por se veste vermelha está",
    "nl": "de het een en is met op in van te zonder niet die man vrouw aan bij draagt rode jas loopt",
    "sv": "en ett och är med på i av till utan inte som man kvinna den det",
    "pl": "i jest z na w do bez nie który mężczyzna kobieta się po",
    "tr": "bir ve ile bu adam kadın üzerinde giyen olan için",
    "id": "seorang yang dengan dan di memakai pria wanita tanpa",
}
SCRIPTS = {
    "CYRILLIC": "ru", "GREEK": "el", "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh", "HANGUL": "ko",
    "ARABIC": "ar", "HEBREW": "he", "DEVANAGARI": "hi", "THAI": "th", "BENGALI": "bn", "TAMIL": "ta",
    "GEORGIAN": "ka", "ARMENIAN": "hy", "TELUGU": "te", "GUJARATI": "gu", "KANNADA": "kn", "MALAYALAM": "ml",
}  # fmt: skip
VOTES = {language: frozenset(words.split()) for language, words in STOPWORDS.items()}


def script_of(letter: str) -> str:
    """The first word of a letter's Unicode name: LATIN, CYRILLIC, CJK …; empty when it has none."""
    return unicodedata.name(letter, "").split(" ")[0].split("-")[0]


def language_of(text: str) -> str:
    """A language code: by script, else by a vote of stop words; ``en`` for Latin text nobody claims,
    ``und`` where there is no letter."""
    words = [w.lower() for w in WORD.findall(text[:4000])]
    letters = [c for w in words for c in w]
    if not letters:
        return "und"
    scripts: dict[str, int] = {}
    for letter in letters[:500]:
        scripts[script_of(letter)] = scripts.get(script_of(letter), 0) + 1
    main = max(scripts, key=lambda name: scripts[name])
    if main != "LATIN":
        if main == "CJK" and ("HIRAGANA" in scripts or "KATAKANA" in scripts):
            return "ja"
        return SCRIPTS.get(main, "und")
    scores = {lang: sum(w in stop for w in words) for lang, stop in VOTES.items()}
    best = max(scores, key=lambda lang: (scores[lang], lang == "en"))
    return best if scores[best] > scores["en"] and scores[best] >= 2 else "en"
