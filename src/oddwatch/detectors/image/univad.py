"""UniVAD: few shots, patches against patches of the same component, components against components (arXiv 2412.03342, CVPR 2025).

Idea. 1. The first normal picture says what is shown: a texture, one object, or several components. 2. Patches are matched
with the normals' by cosine, in two views of the picture. 3. Of an object, patches are matched once more inside the masks;
of several components, only with the same component. 4. Components themselves, smoothed over the graph of those in the
picture, are matched by what they look like, their size, place and colour. 5. The map is the mean of what applies, the
score its maximum plus how unlike the whole picture is.

Needs normal pictures, one or a few; a segmenter, two towers (picture and text) and pixels (for colours) are optional.

Differs from the paper: one backbone, whose middle layers stand for CLIP's (their v–v path left out) and whose last stands
for DINOv2; masks by clustering its tokens (see ``components``) in place of GroundingDINO and SAM, unless ``segment`` is given,
so that whether one object has parts is not found out: ``kind="multi"`` and ``parts`` say so (the paper's prompts and cluster
counts are also written by hand); token clusters of a drawn sample, not of a 1 % coreset, and a 3 × 3 mean in place of the
dense CRF. Masks live on the token grid: the query's stays as it is (5 pixels are less than a cell), the reference's is dilated
by one cell (20 pixels). A component's features are the mean of its tokens, not of four turned crops; components are
compared with those of their own number. Without ``text`` its map is left out of the mean; with it, overlapping windows of the
picture are compared with the two mean sentences, where the paper compares CLIP's value tokens. More than ``shots`` normals
are drawn from. ``reduce="mean"`` is the paper's exception for one histology set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import cv2
import numpy as np
from scipy.special import expit

from oddwatch.core import DualEncoder, Frame, InputError, Scores, Tokens
from oddwatch.detectors.image import maps
from oddwatch.detectors.image.base import CHUNK, ImageDetector, Pictures, count, map_size, take
from oddwatch.detectors.image.components import Components, Kind, Segmenter, gate, on_tokens, wider
from oddwatch.detectors.image.tokens import unit

KINDS: tuple[Kind, ...] = ("texture", "single", "multi")
Masks = list[tuple[np.ndarray, int]]


@dataclass(kw_only=True, eq=False)
class UniVAD(ImageDetector):
    """Matching at two levels; the last of ``layers`` is the second view, the others are averaged as the first.

    ``kind``: ``auto`` (the gate), ``texture``, ``single`` or ``multi``; ``parts`` clusters of the object in ``multi``
    (the paper: 5 for LOCO, else 2). ``graph`` and ``identity`` switch the component term and the picture's CLS term off.
    ``colour`` asks for pixels in ``multi``. ``segment(picture)`` gives masks; ``text`` adds the text map about ``word``.
    Both are not saved: set them again on a detector that was loaded.
    """

    NAME: ClassVar[str] = "univad"
    STATE: ClassVar[tuple[str, ...]] = (
        "views", "owners", "classes", "about", "sides", "ground", "parts_", "looks", "shapes", "numbers",
    )  # fmt: skip

    layers: tuple[str, ...] = ("block_6", "block_7", "block_8", "block_9", "last")
    sigma: float = 0.0
    kind: Literal["auto", "texture", "single", "multi"] = "auto"
    parts: int = 2
    graph: bool = True
    identity: bool = True
    colour: bool = True
    shots: int = 16
    reduce: Literal["max", "mean"] = "max"
    word: str = "object"
    segment: Segmenter | None = None
    text: DualEncoder | None = None
    views: np.ndarray | None = field(default=None, init=False, repr=False)
    owners: np.ndarray | None = field(default=None, init=False, repr=False)
    classes: np.ndarray | None = field(default=None, init=False, repr=False)
    about: np.ndarray | None = field(default=None, init=False, repr=False)
    sides: np.ndarray | None = field(default=None, init=False, repr=False)
    ground: np.ndarray | None = field(default=None, init=False, repr=False)
    parts_: np.ndarray | None = field(default=None, init=False, repr=False)
    looks: np.ndarray | None = field(default=None, init=False, repr=False)
    shapes: np.ndarray | None = field(default=None, init=False, repr=False)
    numbers: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("auto", *KINDS):
            raise InputError("kind", f"expected auto, texture, single or multi, got {self.kind!r}")
        if self.reduce not in ("max", "mean"):
            raise InputError("reduce", f"expected max or mean, got {self.reduce!r}")
        if self.parts < 1 or self.shots < 1:
            raise InputError("parts, shots", f"expected 1 or more, got {self.parts}, {self.shots}")
        if len(self.layers) < 2:
            raise InputError("layers", f"expected two views or more, got {self.layers}")

    # -- normals -------------------------------------------------------------------------------------------------

    def _fit(self, normal: Pictures, labels: Sequence[Any] | None) -> None:
        self.restore({})
        n = count(normal)
        if n > self.shots:
            drawn = np.random.default_rng(self.seed).choice(n, self.shots, replace=False)
            normal = take(normal, np.sort(drawn))
        chunks = list(self._looked_at(normal))
        grid, deepest = chunks[0][0].grid, self.layers[-2]
        every = np.concatenate([np.asarray(t.layers[deepest], np.float32) for t, _ in chunks])
        self.components = Components.learn(every, grid, self.parts, self.seed)
        self.sides, self.ground, self.parts_ = self.components.state().values()
        objects = self._given(chunks[0][1], 0, grid)
        shown = gate(self.components.objects(every[0], grid) if objects is None else objects)
        kind = shown if self.kind == "auto" else self.kind
        self.about = np.array([KINDS.index(kind), self.segment is not None, self.text is not None], np.int64)
        self._remember(chunks)

    def add(self, normal: Pictures) -> Self:
        """Remember further normal pictures; what is shown and its clusters stay as they were found.

        Raises:
            InputError: not fitted yet.
        """
        self._ready()
        if count(normal):
            self._remember(list(self._looked_at(normal)))
        return self

    def _remember(self, chunks: list[tuple[Tokens, Sequence[Frame | np.ndarray] | None]]) -> None:
        """Keep the tokens (views, n, D) of ``chunks``, the components (number, n) they lie in, and the components."""
        views, owners, classes, looks, shapes, numbers = [], [], [], [], [], []
        for tokens, pictures in chunks:
            size = tokens.grid[0] * tokens.grid[1]
            for i in range(len(tokens.cls)):
                x = self._views(tokens, i)
                owner = np.zeros((len(self.components.parts) + 1, size), bool)
                found = self._masks(tokens, pictures, i)
                for mask, number in found:
                    owner[number] |= wider(mask).ravel()
                if self.shown == "multi":
                    looks.append(component_looks(x, found))
                    shapes.append(self._shapes(found, pictures, i))
                    numbers.append(np.array([number for _, number in found]))
                views.append(x.astype(np.float16))
                owners.append(owner)
                classes.append(unit(tokens.cls[i : i + 1]))
        self.views = _joined(self.views, np.concatenate(views, 1), 1)
        self._bank = self.views.astype(np.float32)
        self.owners = _joined(self.owners, np.concatenate(owners, 1), 1)
        self.classes = _joined(self.classes, np.concatenate(classes))
        if numbers:
            self.looks = _joined(self.looks, np.concatenate(looks, 1), 1)
            self.shapes = _joined(self.shapes, np.concatenate(shapes))
            self.numbers = _joined(self.numbers, np.concatenate(numbers))

    @property
    def shown(self) -> Kind:
        """What the normals show, as the gate or ``kind`` says."""
        assert self.about is not None
        return KINDS[int(self.about[0])]

    # -- scoring -------------------------------------------------------------------------------------------------

    def score(self, items: Pictures) -> Scores:
        self._ready()
        values, full = [], []
        for tokens, pictures in self._looked_at(items):
            patches = np.stack([self._one(tokens, pictures, i) for i in range(len(tokens.cls))])
            value, one = self._scored(patches, tokens)
            values.append(value)
            full.append(one)
        if not values:
            return Scores(np.empty(0), np.empty((0, 0, 0), np.float32))
        return Scores(np.concatenate(values), np.concatenate(full))

    def _one(self, tokens: Tokens, pictures: Sequence[Frame | np.ndarray] | None, i: int) -> np.ndarray:
        """The fused map (rows, columns) of one picture."""
        x, grid, shown = self._views(tokens, i), tokens.grid, self.shown
        found = self._masks(tokens, pictures, i)
        whole, inside = self._matched(x, grid, found)
        text = self._text(pictures[i], grid) if self.text is not None and pictures is not None else None
        graph = None
        if shown == "multi" and self.graph:
            graph = self._painted(x, grid, found, pictures, i)
        return fuse(shown, whole, inside, text, graph)

    def _matched(
        self, x: np.ndarray, grid: tuple[int, int], found: Masks
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The two views' patch maps, and the same by parts (the second list is empty for a texture)."""
        assert self.owners is not None
        size, shown = grid[0] * grid[1], self.shown
        whole, inside = np.empty((len(x), size), np.float32), np.zeros((len(x), size), np.float32)
        background = len(self.components.parts)
        for v, (query, bank) in enumerate(zip(x, self._bank, strict=True)):
            alike = query @ bank.T
            whole[v] = 1 - alike.max(1)
            if shown == "texture":
                continue
            if shown == "single":
                columns = np.flatnonzero(self.owners[:background].any(0))
                for mask, number in found:
                    if number != background and len(columns):
                        rows = np.flatnonzero(mask)
                        inside[v, rows] += 1 - alike[np.ix_(rows, columns)].max(1)
                continue
            least = np.full(size, np.inf, np.float32)
            for mask, number in found:
                rows, columns = np.flatnonzero(mask), np.flatnonzero(self.owners[number])
                if len(columns):
                    least[rows] = np.minimum(least[rows], 1 - alike[np.ix_(rows, columns)].max(1))
            inside[v] = np.where(np.isfinite(least), least, 0)
        both = [np.maximum(m[:-1].mean(0), 0).reshape(grid) for m in (whole, inside)]
        last = [np.maximum(m[-1], 0).reshape(grid) for m in (whole, inside)]
        return [both[0], last[0]], [] if shown == "texture" else [both[1], last[1]]

    def _painted(
        self,
        x: np.ndarray,
        grid: tuple[int, int],
        found: Masks,
        pictures: Sequence[Frame | np.ndarray] | None,
        i: int,
    ) -> np.ndarray:
        """How unlike the normals' each component is (0–6), on its mask: (rows, columns)."""
        assert self.looks is not None and self.shapes is not None and self.numbers is not None
        looks, shapes = component_looks(x, found), unit(self._shapes(found, pictures, i))
        out = np.zeros(grid, np.float32)
        for c, (mask, number) in enumerate(found):
            same = self.numbers == number
            if not same.any():
                same = np.ones_like(same)
            alike = np.einsum("vd,vnd->vn", looks[:, c], self.looks[:, same]).max(1)
            shape = float((unit(self.shapes[same]) @ shapes[c]).max())
            distance = (1 - alike[:-1]).mean() + (1 - alike[-1]) + (1 - shape)
            out[mask] = np.maximum(out[mask], max(0.0, float(distance)))
        return out

    def _scored(self, patches: np.ndarray, tokens: Tokens) -> tuple[np.ndarray, np.ndarray]:
        full = maps.upsample(patches, map_size(tokens), sigma=self.sigma, align_corners=True)
        values = maps.highest(full) if self.reduce == "max" else full.reshape(len(full), -1).mean(1)
        if self.identity and self.shown != "texture":
            assert self.classes is not None
            values = values + np.maximum(1 - (unit(tokens.cls) @ self.classes.T).max(1), 0)
        return np.asarray(values, np.float64), full

    # -- pictures ------------------------------------------------------------------------------------------------

    def _looked_at(self, items: Pictures) -> Iterator[tuple[Tokens, Sequence[Frame | np.ndarray] | None]]:
        """Tokens a few at a time, with the pictures they are of where these are at hand.

        Raises:
            InputError: tokens, where masks, sentences or colours need the picture.
        """
        pixels = not isinstance(items, Tokens)
        if not pixels and (self.segment is not None or self.text is not None):
            raise InputError("items", "tokens are not enough for a segmenter or a text map", "give pictures")
        for start in range(0, count(items), CHUNK):
            part = take(items, slice(start, start + CHUNK))
            yield self.tokens(part), None if isinstance(part, Tokens) else part

    def _views(self, tokens: Tokens, i: int) -> np.ndarray:
        """(views, T, D) unit tokens of one picture."""
        return np.stack([unit(np.asarray(tokens.layers[name][i], np.float32)) for name in self.layers])

    def _given(
        self, pictures: Sequence[Frame | np.ndarray] | None, i: int, grid: tuple[int, int]
    ) -> list[np.ndarray] | None:
        """The segmenter's masks of one picture on the grid; None without a segmenter."""
        if self.segment is None or pictures is None:
            return None
        return on_tokens(self.segment(pictures[i]), grid, str(getattr(self.eyes, "fit", "squash")))

    def _masks(self, tokens: Tokens, pictures: Sequence[Frame | np.ndarray] | None, i: int) -> Masks:
        if self.shown == "texture":
            return []
        x = np.asarray(tokens.layers[self.layers[-2]][i], np.float32)
        given = self._given(pictures, i, tokens.grid)
        if self.shown == "single" and given is None:
            inside = self.components.object_of(x, tokens.grid)
            return [(m, 0) for m in self.components.objects(x, tokens.grid)] + [
                (~inside, len(self.components.parts))
            ]
        return self.components.masks(x, tokens.grid, given)

    def _shapes(self, found: Masks, pictures: Sequence[Frame | np.ndarray] | None, i: int) -> np.ndarray:
        """(components, 4) geometry; without ``colour`` the third number is 0."""
        lab = None
        if self.colour and self.graph:
            if pictures is None:
                raise InputError(
                    "items",
                    "tokens have no colours for the graph of components",
                    "give pictures, or colour=False",
                )
            picture = pictures[i]
            pixels = picture.pixels if isinstance(picture, Frame) else picture
            lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
        return np.stack([geometry(mask, lab) for mask, _ in found])

    def _text(self, picture: Frame | np.ndarray, grid: tuple[int, int]) -> np.ndarray:
        """The abnormal probability (rows, columns): the mean over the half-size windows a cell lies in, and the whole."""
        assert self.text is not None
        if not hasattr(self, "_sentences"):
            self._sentences = np.stack([mean_sentence(self.text, group) for group in prompts(self.word)])
        pixels = picture.pixels if isinstance(picture, Frame) else picture
        places = [(0, 0, 4), *((a, b, 2) for a in range(3) for b in range(3))]
        crops = [pixels[_window(place, pixels.shape[:2])] for place in places]
        cosines = unit(self.text.encode_images(crops)) @ self._sentences.T
        total, seen = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
        for place, probability in zip(places, abnormal(cosines[:, 0], cosines[:, 1]), strict=True):
            total[_window(place, grid)] += probability
            seen[_window(place, grid)] += 1
        return total / seen

    # -- keeping -------------------------------------------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        return {n: v for n, v in super().arguments().items() if n not in ("segment", "text")}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().restore(arrays)
        self.__dict__.pop("_sentences", None)
        if self.views is not None:
            self._bank = self.views.astype(np.float32)
        if self.sides is not None and self.ground is not None and self.parts_ is not None:
            self.components = Components(self.sides, int(self.ground[0]), self.parts_)

    def _ready(self) -> None:
        super()._ready()
        assert self.about is not None
        for name, had in (("segment", self.about[1]), ("text", self.about[2])):
            if bool(had) != (getattr(self, name) is not None):
                state = "with" if had else "without"
                raise InputError(
                    name, f"the detector was fitted {state} one", f"set detector.{name} accordingly"
                )


# -- formulas ----------------------------------------------------------------------------------------------------


def fuse(
    kind: Kind,
    whole: Sequence[np.ndarray],
    inside: Sequence[np.ndarray] = (),
    text: np.ndarray | None = None,
    graph: np.ndarray | None = None,
) -> np.ndarray:
    """One map of the two views' maps ``whole``, those by parts ``inside``, the text map and the components' distances.

    A texture: the mean of the views and the text. Else the mean of (the views' mean, the parts' mean, the text), and half
    of ``graph`` on top. What is None is left out of the mean.
    """
    if kind == "texture":
        terms = list(whole)
    else:
        terms = [np.mean(whole, axis=0), np.mean(inside, axis=0)]
    if text is not None:
        terms.append(text)
    out = np.mean(terms, axis=0)
    return np.asarray(out if graph is None else out + graph / 2, np.float32)


def abnormal(normal_cos: np.ndarray, abnormal_cos: np.ndarray, scale: float = 100.0) -> np.ndarray:
    """The abnormal one's softmax probability among two cosines, each times ``scale``; equals (p − p_normal + 1)/2."""
    return np.asarray(expit(scale * (np.asarray(abnormal_cos) - np.asarray(normal_cos))))


def smoothed(x: np.ndarray) -> np.ndarray:
    """Rows (n, D) mixed by how alike they are: the row-normalised matrix of their cosines times the rows, cosines below 0
    counted as 0 (the paper's rows could then sum to nothing)."""
    u = unit(x)
    alike = np.maximum(u @ u.T, 0)
    return np.asarray(alike / np.maximum(alike.sum(1, keepdims=True), 1e-12) @ np.asarray(x, np.float32))


def component_looks(x: np.ndarray, found: Masks) -> np.ndarray:
    """(views, components, D) unit features of the components of one picture (tokens (views, T, D)): the mean of their
    tokens, smoothed over the picture's own components."""
    means = np.stack([x[:, mask.ravel()].mean(1) for mask, _ in found], 1)
    return unit(np.stack([smoothed(view) for view in means]))


def geometry(mask: np.ndarray, lab: np.ndarray | None) -> np.ndarray:
    """(4,) area ratio, (b/a)² of the mean Lab colour (8-bit, OpenCV's scale), centre x and y of the box, both 0–1.

    ``mask`` (rows, columns) bool, not empty; ``lab`` the picture's pixels of any size, None: the colour is 0.
    """
    rows, columns = np.nonzero(mask)
    x = (columns.min() + columns.max() + 1) / 2 / mask.shape[1]
    y = (rows.min() + rows.max() + 1) / 2 / mask.shape[0]
    colour = 0.0
    if lab is not None:
        small = cv2.resize(lab, mask.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
        _, a, b = small[mask].mean(0)
        colour = float((b / max(1.0, float(a))) ** 2)
    return np.array([mask.mean(), colour, x, y], np.float32)


def prompts(word: str = "object") -> tuple[list[str], list[str]]:
    """The normal and the abnormal sentences about ``word``: 7 and 5 states in each of 35 templates (WinCLIP's ensemble)."""
    flaws = ("flaw", "defect", "damage")
    normal = ["{}", "flawless {}", "perfect {}", "unblemished {}", *(f"{{}} without {f}" for f in flaws)]
    odd = ["damaged {}", "broken {}", *(f"{{}} with {f}" for f in flaws)]
    photo = ("bad", "low resolution", "cropped", "bright", "dark", "close-up", "black and white", "jpeg corrupted",
             "blurry", "good")  # fmt: skip
    templates = [f"a {how} photo of {article} {{}}" for how in photo for article in ("a", "the")]
    templates += [
        f"a photo of {article} {how} {{}}" for how in ("cool", "large", "small") for article in ("a", "the")
    ]
    templates += [f"a photo of {article} {{}}" for article in ("a", "the", "my", "one")]
    templates += [f"there is {article} {{}} in the scene" for article in ("a", "the")]
    templates += [f"this is {article} {{}} in the scene" for article in ("a", "the", "one")]
    both = [[t.format(s.format(word)) for s in states for t in templates] for states in (normal, odd)]
    return both[0], both[1]


def mean_sentence(towers: DualEncoder, sentences: Sequence[str]) -> np.ndarray:
    """The unit mean (D,) of the sentences' unit vectors."""
    return unit(unit(towers.encode_texts(sentences)).mean(0))


def _window(place: tuple[int, int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Where a window (row, column, side in quarters of the picture) lies in something of ``size``; never empty."""
    rows, columns = (
        slice(start * n // 4, max(start * n // 4 + 1, -(-(start + place[2]) * n // 4)))
        for start, n in zip(place[:2], size, strict=True)
    )
    return rows, columns


def _joined(old: np.ndarray | None, new: np.ndarray, axis: int = 0) -> np.ndarray:
    return new if old is None else np.concatenate([old, new], axis)
