"""Names and numbers that settings, the command line and the code behind them share; importing this loads no torch."""

BUNDLED, MINILM = "vit_tiny_patch8_64", "minilm-l6-v2"
"""The backbones that need no download: of images, in this package, and of texts, in softtf[text]."""

VIT_B, BERT, CLIP_VIT_B = "vit_base_patch16_224.orig_in21k", "bert-base-uncased", "openai/clip-vit-base-patch16"
"""The paper's backbones, on the Hub."""

PAPER_BATCH = 24
"""The batch in which the published evaluation shares one vote."""
