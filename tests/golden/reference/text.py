"""Text for the bundle, its tokenizer, the byte table, shards and the loader's order."""
import glob
import io
import os
import random
import struct

import torch

SPACE = "\u2581"
MAGIC = 20240520


def make_text(seed, sentences):
    """Invented words from syllables: nobody's text, the same for a seed, with repeats that pieces can learn."""
    rng = random.Random(seed)
    syllables = [a + b for a in "b d f g k l m n p r s t v".split() for b in "a e i o u".split()]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) + rng.choice(("", "", "n", "s", "th"))
             for _ in range(90)]
    lines = []
    for _ in range(sentences):
        chosen = [words[min(int(rng.expovariate(0.06)), len(words) - 1)] for _ in range(rng.randint(3, 11))]
        if rng.random() < 0.2:
            chosen.insert(rng.randrange(len(chosen)), str(rng.randint(0, 9999)))
        if rng.random() < 0.2:
            chosen.append(rng.choice(("caf\u00e9", "\u00fcber", "\u2013", "\u00bd")))
        lines.append(" ".join(chosen).capitalize() + rng.choice((".", ".", "?", ";")))
    return lines


def train_tokenizer(path, lines, vocab):
    import sentencepiece

    made = io.BytesIO()  # neither input nor output is a file: no path gets into the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=made, model_type="bpe", vocab_size=vocab, byte_fallback=True,
        split_digits=True, add_dummy_prefix=False, normalization_rule_name="identity", character_coverage=0.999,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, num_threads=1, minloglevel=2)
    with open(path, "wb") as out:
        out.write(made.getvalue())


class ByteTable:
    def __init__(self, processor):
        self.bytes, self.leading_space, self.boundary = [], [], []
        for i in range(processor.vocab_size()):
            piece = processor.id_to_piece(i)
            silent = processor.is_control(i) or processor.is_unknown(i) or processor.is_unused(i)
            byte = processor.is_byte(i)
            leading = not silent and not byte and piece.startswith(SPACE)
            self.bytes.append(0 if silent else 1 if byte else len((piece[1:] if leading else piece).encode()))
            self.leading_space.append(leading)
            self.boundary.append(silent)

    def bytes_of(self, before, targets):
        """`before[i]` is the token in front of `targets[i]`."""
        total = 0
        for b, t in zip(before.tolist(), targets.tolist()):
            total += self.bytes[t] + (self.leading_space[t] and not self.boundary[b])
        return total


def shard_bytes(tokens, magic=MAGIC, version=1, count=None):
    header = [magic, version, len(tokens) if count is None else count] + [0] * 253
    return struct.pack("<256i", *header) + struct.pack(f"<{len(tokens)}H", *tokens)


def write_shards(folder, rng, vocab, sizes):
    """Good shards for the loader and broken ones beside them -> {file name: (accepted, tokens or None)}."""
    os.makedirs(folder, exist_ok=True)
    good = [rng.randrange(vocab) for _ in range(43)]
    whole = shard_bytes(good)
    files = {
        "valid.bin": whole, "bad_magic.bin": shard_bytes(good, magic=MAGIC + 1),
        "bad_version.bin": shard_bytes(good, version=2), "count_too_large.bin": shard_bytes(good, count=44),
        "count_too_small.bin": shard_bytes(good, count=42), "count_negative.bin": shard_bytes(good, count=-43),
        "empty.bin": b"", "one_byte_more.bin": whole + b"\0", "truncated_header.bin": whole[:701],
        "truncated_payload.bin": whole[:-7], "no_tokens.bin": shard_bytes([])}
    loader = []
    for i, size in enumerate(sizes):
        loader.append([rng.randrange(vocab) for _ in range(size)])
        files[f"loader_train_{i:06d}.bin"] = shard_bytes(loader[-1])
    verdicts = {}
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as out:
            out.write(data)
        good_file = name in ("valid.bin", "no_tokens.bin") or name.startswith("loader_")
        verdicts[name] = (good_file, (len(data) - 1024) // 2 if good_file else None)
    return verdicts, good, loader


def read_shards(pattern):
    out = []
    for path in sorted(glob.glob(pattern)):
        with open(path, "rb") as data:
            out.append(list(struct.unpack(f"<{(os.path.getsize(path) - 1024) // 2}H", data.read()[1024:])))
    return out


def ring_batches(tokens, world, micro_steps, tokens_per_step, sequence, steps):
    """inputs, targets [steps, micro, rank, rows, sequence] of the loader's rule over a ring of tokens."""
    local = tokens_per_step // (world * micro_steps)
    position, inputs, targets = 0, [], []
    for _ in range(steps * micro_steps * world):
        span = [tokens[(position + i) % len(tokens)] for i in range(local + 1)]
        position += local + 1
        inputs.append(span[:-1])
        targets.append(span[1:])
    shape = (steps, micro_steps, world, local // sequence, sequence)
    return torch.tensor(inputs).reshape(shape), torch.tensor(targets).reshape(shape)
