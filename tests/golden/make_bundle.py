#!/usr/bin/env python3
"""Makes a golden bundle in the format of the golden README from an implementation of its own (reference/).

  make_bundle.py mini            rewrites the bundle that is kept in the repository
  make_bundle.py OUT --vary 7    another one, every size and option drawn from the seed 7

Needs torch and sentencepiece. The same machine and libraries give the same bytes.
"""
import argparse
import os
import random
import sys

import sentencepiece
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from reference import make_checks, model, text  # noqa: E402
from reference.bundle import Bundle  # noqa: E402

MINI = {
    "seed": 41, "name": "mini", "sample_limit": 16,
    "model": dict(vocab=312, width=24, blocks=5, heads=6, kv_heads=2, mlp_ratio=1.2, xsa_last=2, sequence=20,
                  logit_softcap=25.0, rope_base=8000.0, query_gain_init=1.4, attention_bits=6, mlp_bits=5),
    "batch": 3, "validation_tokens": 510, "micro_steps": 2,
    "train": dict(rate_factors=[1.0, 0.9, 0.55, 0.12], embedding_rate=0.03, vector_rate=0.02,
                  adamw=dict(beta1=0.88, beta2=0.96, epsilon=3e-8, weight_decay=0.05),
                  muon=dict(rate=0.022, momentum_steps=7, newton_schulz_steps=4, nesterov=True, momentum_first=0.8,
                            momentum_last=0.93, weight_decay=0.07),
                  ema=0.97, swa_every=2, swa_below=0.6, micro_steps=3, gradient_clip=None),
    "muon": dict(rate=0.03, momenta=[0.9, 0.8], weight_decay=0.06, newton_schulz_steps=6,
                 rate_factors=[1.0, 0.7]),
    "adamw": dict(rate=0.025, beta1=0.85, beta2=0.97, epsilon=2e-8, weight_decay=0.06,
                  rate_factors=[1.0, 0.8, 0.5, 0.2]),
    "stride": 6, "ttt": dict(stride=7, chunk=150, epochs=2, batch=4, rate=0.015, momentum=0.85, clip=0.7),
    "gptq_bits": 4, "gptq_block": 7, "keep_float_elements": 400, "export_bits": dict(matrix=4, embedding=7),
    "loader": dict(world=3, micro_steps=2, tokens_per_step=60, sequence=5, steps=4), "loader_shards": [57, 31, 80],
    "shuffle_stride": 4, "prompt": 9, "new_tokens": 10, "epsilon": 1e-7,
}


def varied(seed):
    """Settings of another bundle: every size and option drawn at random, within what the format allows."""
    r = random.Random(seed)
    pick = r.choice
    kv, group, head = pick((1, 2, 3)), pick((1, 2, 3, 4)), pick((4, 6, 8, 10, 16))
    heads, blocks, sequence = kv * group, pick((1, 2, 3, 4, 5, 6, 8)), pick((12, 24, 33, 50))
    factors = sorted((round(r.uniform(0.05, 1.0), 3) for _ in range(pick((3, 5, 7)))), reverse=True)
    validation, stride = sequence * r.randint(20, 40) + r.randint(0, sequence), r.randint(2, sequence)
    chunk = sequence * pick((3, 5, 9)) + pick((0, 1, 7))
    # The last chunk has a window: without one the formulas adapt on targets that no window scored, and caddie does not.
    while (validation - 1) // sequence * sequence % chunk < stride:
        validation += sequence
    world, micro, rows, width = pick((1, 2, 4)), pick((1, 2, 3)), pick((1, 2, 3)), pick((5, 8, 16))
    return {
        "seed": seed, "name": f"varied-{seed}", "sample_limit": 200,
        "model": dict(vocab=pick((320, 420, 555)), width=heads * head, blocks=blocks, heads=heads, kv_heads=kv,
                      mlp_ratio=pick((1.7, 2, 3.5, 4.1)), xsa_last=r.randint(0, blocks), sequence=sequence,
                      logit_softcap=pick((15.0, 20.0, 30.0, 50.0)), rope_base=pick((500.0, 10000.0, 123456.0)),
                      query_gain_init=pick((1.0, 1.5, 4.0)), attention_bits=pick((4, 6, 8)), mlp_bits=pick((3, 5, 6))),
        "batch": pick((1, 2, 4)), "validation_tokens": validation,
        "micro_steps": pick((1, 2, 4)),
        "train": dict(rate_factors=factors, embedding_rate=round(r.uniform(0.005, 0.04), 4),
                      vector_rate=round(r.uniform(0.005, 0.04), 4),
                      adamw=dict(beta1=round(r.uniform(0.7, 0.95), 3), beta2=round(r.uniform(0.9, 0.999), 4),
                                 epsilon=pick((1e-8, 1e-7, 1e-10)), weight_decay=pick((0.0, 0.01, 0.1))),
                      muon=dict(rate=round(r.uniform(0.005, 0.04), 4), momentum_steps=r.randint(2, 20),
                                newton_schulz_steps=pick((3, 5, 6)), nesterov=True, momentum_first=pick((0.8, 0.9)),
                                momentum_last=pick((0.95, 0.99)), weight_decay=pick((0.0, 0.02, 0.1))),
                      ema=pick((0.9, 0.98, 0.997)), swa_every=pick((1, 2, 3)), swa_below=pick((0.01, 0.5, 0.9)),
                      micro_steps=0, gradient_clip=None),
        "muon": dict(rate=0.02, momenta=[pick((0.5, 0.9, 0.95)) for _ in range(3)], weight_decay=pick((0.0, 0.1)),
                     newton_schulz_steps=pick((3, 5, 7)), rate_factors=[1.0, 0.7, 0.2]),
        "adamw": dict(rate=0.02, beta1=pick((0.8, 0.9)), beta2=pick((0.9, 0.999)), epsilon=pick((1e-8, 1e-6)),
                      weight_decay=pick((0.0, 0.1)), rate_factors=[1.0, 0.8, 0.5, 0.2]),
        "stride": r.randint(1, sequence),
        "ttt": dict(stride=stride, chunk=chunk, epochs=pick((1, 2, 3)), batch=pick((1, 3, 8)),
                    rate=pick((0.003, 0.02)), momentum=pick((0.0, 0.9)), clip=pick((0.3, 1.0, 100.0))),
        "gptq_bits": pick((3, 4, 5, 6, 8)), "gptq_block": pick((8, 32, 128)),
        "keep_float_elements": pick((0, 200, 1500, 5000)),
        "export_bits": dict(matrix=pick((3, 5, 6)), embedding=pick((6, 8))),
        "loader": dict(world=world, micro_steps=micro, sequence=width, steps=pick((3, 8)),
                       tokens_per_step=world * micro * rows * width),
        "loader_shards": [r.randint(30, 400) for _ in range(pick((1, 2, 5)))],
        "shuffle_stride": pick((2, 3, 4, 5)), "prompt": pick((3, 16)), "new_tokens": pick((5, 16)), "epsilon": 1e-7,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="the bundle's folder, is made")
    parser.add_argument("--vary", type=int, metavar="SEED", help="draw every setting from this seed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = MINI if arguments.vary is None else varied(arguments.vary)
    settings["train"]["micro_steps"] = settings["micro_steps"]
    c = model.Config(**settings["model"])
    bundle = Bundle(arguments.out, settings["name"], settings["sample_limit"])
    label = f"bytes_{c.vocab}_bpe"
    path = os.path.join(arguments.out, label + ".model")
    text.train_tokenizer(path, text.make_text(settings["seed"], 700), c.vocab)
    bundle.tokenizer(label, c.vocab)
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    make_checks.all_checks(bundle, c, settings, label, processor)
    bundle.write()
    size = sum(os.path.getsize(os.path.join(base, f)) for base, _, files in os.walk(arguments.out) for f in files)
    print(f"{arguments.out}: {len(bundle.checks)} checks, {len(bundle.tensors)} tensors, {size:,} bytes")


if __name__ == "__main__":
    main()
