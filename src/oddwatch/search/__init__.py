"""Text-based person anomaly search: stages by name."""

from __future__ import annotations

from oddwatch.core import Card

STAGES: dict[str, str] = {
    "coarse": "oddwatch.search.engine:search",
    "anomalylmm": "oddwatch.search.cloze:ClozeStage",
    "pairwise": "oddwatch.search.pairwise:PairwiseStage",
    "rrf": "oddwatch.search.fuse:RrfStage",
    "blend": "oddwatch.search.fuse:BlendStage",
    "ssdc": "oddwatch.search.fuse:DetectiveStage",
    "dual-view": "oddwatch.search.fuse:dual_view",
    "two-stage": "oddwatch.search.fuse:two_stage",
    "hui": "oddwatch.search.fuse:iterative_ensemble",
    "sca-s": "oddwatch.search.collide:sca_s",
    "sca-m": "oddwatch.search.collide:sca_m",
    "sca-2": "oddwatch.search.collide:sca_2",
    "assign": "oddwatch.search.collide:assign",
}
"""Name → ``"module:attribute"``. Classes are re-rankers of one query's hits; functions take score matrices, and
those whose card says ``transductive`` need all queries at once and stay out of the online path."""

CARDS: dict[str, Card] = {
    "coarse": Card(
        "coarse", "stage", "text-image",
        "Typed facts of every entry matched with the sentence's slots: one linear scan, then slot by slot",
        online=True,
        verified=("R",),
    ),
    "anomalylmm": Card(
        "anomalylmm", "stage", "text-image",
        "AnomalyLMM: doing and colour words are hidden, a witness fills them in from each of the best 3 pictures, "
        "agreement re-ranks. Here the words are hidden and compared with tables instead of a language model, and "
        "the packaged witness is the describer's facts; a vision-language model plugs in",
        paper="arXiv 2509.04376 (reconstructed from abstract, reviews and two later papers)",
        online=True,
        claims={"R@1, PAB, N = 3": "84.73 after 83.77 (second-hand)", "mAP": "90.89 (second-hand)"},
    ),
    "pairwise": Card(
        "pairwise", "stage", "text-image",
        "ActPair's pivot-promote: the first hit is compared with each other one, the better ones are sorted the same "
        "way. Here the packaged comparator reads facts; the paper's is a vision-language model that sees both "
        "pictures, over a retriever of its own",
        paper="arXiv 2608.23503",
        online=True,
        claims={"R@1, PAB": "88.62 after 85.95", "R@1, 36,773 images": "84.88 after 75.73"},
    ),
    "rrf": Card(
        "rrf", "stage", "text-image", "Reciprocal rank fusion of earlier stages' orders, k = 60",
        paper="Cormack, Clarke, Büttcher, SIGIR 2009", online=True, verified=("R",),
    ),
    "blend": Card(
        "blend", "stage", "text-image",
        "PAGA's rank prior: the first 20 by score less half a point per place in the pool",
        paper="github.com/aiclub-uit/aicity2026-track4", online=True,
        claims={"mAP@10, PAB": "96.61 after 96.80, chosen for what follows it"},
    ),
    "ssdc": Card(
        "ssdc", "stage", "text-image",
        "SSDC's second stage: a detective looks at the best 5 pictures in turn, the accepted one is fused with "
        "lambda 0.4. Detective and writer are handed in; the base is any earlier stage, not CMP",
        paper="arXiv 2604.23282", online=True, claims={"R@1, PAB": "87.21", "mAP": "92.87"},
    ),
    "dual-view": Card(
        "dual-view", "stage", "text-image",
        "ActPair's two views: the mean of the sentence's similarity and its rewriting's, over both top-100 lists. "
        "The rewriting is handed in",
        paper="arXiv 2608.23503", online=True, claims={"R@1, PAB": "85.95 after 84.98"},
    ),
    "two-stage": Card(
        "two-stage", "stage", "text-image",
        "The score of X-VLM, CMP and their kin: matching scores of the best 128 images plus 0.002 times the "
        "similarities, normalised once over the whole matrix. The published code's result depends on how many "
        "processes score; this one does not",
        paper="arXiv 2411.17776", batch_dependent=True,
    ),
    "hui": Card(
        "hui", "stage", "text-image",
        "HUI's iterative ensemble: one matrix after the other mixed in with an explicit weight. The encoders it "
        "mixes (BEiT-3, UIT, BLIP-2, CLIP) are not part of it",
        paper="arXiv 2511.22470", batch_dependent=True, claims={"R@1, PAB": "89.23, weights chosen on test"},
    ),
    "sca-s": Card(
        "sca-s", "stage", "text-image",
        "Similarity Coverage Analysis by score: of queries with one first image the highest score keeps it. What "
        "the paper leaves open (similar sentences, chains) is settled as the specification says",
        paper="arXiv 2502.03230", batch_dependent=True, transductive=True, verified=("R",),
        claims={"R@1, PAB, with fine-tuning": "85.49 (second-hand)"},
    ),
    "sca-m": Card(
        "sca-m", "stage", "text-image",
        "Similarity Coverage Analysis by margin: the query surest of its first image keeps it",
        paper="github.com/aiclub-uit/aicity2026-track4", batch_dependent=True, transductive=True,
        verified=("R",), claims={"R@1, PAB": "96.26 after 93.48, chosen on test"},
    ),
    "sca-2": Card(
        "sca-2", "stage", "text-image",
        "Similarity Coverage Analysis, single swap: losers swap their first two images once",
        paper="github.com/aiclub-uit/aicity2026-track4", batch_dependent=True, transductive=True,
        verified=("R",),
    ),
    "assign": Card(
        "assign", "stage", "text-image",
        "Best one-to-one assignment within each group of queries that compete for images, with a price for staying",
        paper="github.com/aiclub-uit/aicity2026-track4", batch_dependent=True, transductive=True,
        verified=("R",), claims={"R@1, PAB": "97.47 after 96.26, chosen on test"},
    ),
}  # fmt: skip
