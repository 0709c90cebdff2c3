"""Text-based person anomaly search: stages by name."""

from __future__ import annotations

from oddwatch.core import Card

STAGES: dict[str, str] = {
    "coarse": "oddwatch.search.engine:search",
    "facts": "oddwatch.describe.match:scores",
    "cross": "oddwatch.search.cross:CrossStage",
    "checkpoint": "oddwatch.search.checkpoint:MatcherStage",
    "anomalylmm": "oddwatch.search.cloze:ClozeStage",
    "blanks": "oddwatch.search.cross:CrossWitness",
    "pairwise": "oddwatch.search.pairwise:PairwiseStage",
    "sum": "oddwatch.search.fuse:SumStage",
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
    "lightair": "oddwatch.search.lightair:ActionAppearance",
    "uatta": "oddwatch.search.uatta:adapt",
}
"""Name → ``"module:attribute"``. Classes are re-rankers of one query's hits; functions take score matrices, and
those whose card says ``transductive`` need all queries at once and stay out of the online path."""

CARDS: dict[str, Card] = {
    "coarse": Card(
        "coarse", "stage", "text-image",
        "Typed facts of every entry against the sentence's slots, in one linear scan of the gallery",
        online=True,
        verified=("R",),
    ),
    "facts": Card(
        "facts", "stage", "text-image",
        "The best of the scan judged slot by slot, with alternatives, negation and unknown: where the reason comes from",
        online=True,
        verified=("R",),
    ),
    "cross": Card(
        "cross", "stage", "text-image",
        "A small cross-encoder in the ALBEF / X-VLM / CMP pattern (contrastive gate, matching head, pose-aware block, "
        "identity-based hard negatives) over the tokens, pose and facts that a gallery keeps; trained on drawn twins only",
        paper="arXiv 2411.17776 (CMP), at small scale",
        online=True,
        verified=("R",),
        claims={"R@1, PAB, full size": "84.93"},
    ),
    "checkpoint": Card(
        "checkpoint", "stage", "text-image",
        "A published X-VLM, X2-VLM or CMP checkpoint, from a path, as the cross-encoder over the kept pictures",
        paper="arXiv 2111.08276, 2211.12402, 2411.17776",
        needs=("extra torch", "weights by path"),
        online=True,
        verified=("R", "w"),
        claims={"R@1, PAB, X-VLM zero-shot": "71.94", "R@1, PAB, CMP": "84.93"},
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
    "blanks": Card(
        "blanks", "stage", "text-image",
        "AnomalyLMM's cloze test with the cross-encoder's own cloze head as the witness: no language model",
        paper="arXiv 2509.04376",
        online=True,
        verified=("R",),
    ),
    "sum": Card(
        "sum", "stage", "text-image",
        "Calibrated sum: what facts and cross-encoder say, added in log odds with weights fitted on drawn people",
        online=True,
        verified=("R",),
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
    "lightair": Card(
        "lightair", "stage", "text-image",
        "LightAIR's head: a picture's vector is taken apart into its likeliest actions (a frozen codebook of action words) "
        "and what is orthogonal to them, and put together again by a gate. Its X2-VLM training is not part of it",
        paper="arXiv 2608.09152",
        needs=("labels", "extra torch"),
        online=True,
        claims={"R@1, PAB": "85.49, best epoch", "mAP": "92.20", "R@1, UCC": "63.27"},
    ),
    "uatta": Card(
        "uatta", "stage", "text-image",
        "UATTA: a cross-encoder's LayerNorms adapt to unlabelled test queries that retrieval finds back both ways",
        paper="arXiv 2604.08598",
        needs=("extra torch",),
        batch_dependent=True,
        transductive=True,
        claims={"R@1, PAB, zero-shot X-VLM": "76.13 after 72.70, epoch chosen on test"},
    ),
}  # fmt: skip
