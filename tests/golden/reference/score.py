"""Flat and sliding scores and score-first test-time training of the golden README, in any floating type."""
import math

import torch

from . import model


def target_count(tokens, sequence):
    """Targets that are scored: the largest multiple of `sequence`."""
    return (len(tokens) - 1) // sequence * sequence


def windows(targets, sequence, stride):
    rows, start = [], 0
    while start + sequence <= targets:
        rows.append((start, start if start == 0 else start + sequence - stride, start + sequence))
        start += stride
    return rows


@torch.no_grad()
def score_windows(c, parameters, tokens, rows, sequence, table, batch=32):
    """-> (nats, tokens, bytes) over the scored positions of (start, from, to) rows."""
    nats = count = size = 0
    for first in range(0, len(rows), batch):
        part = rows[first:first + batch]
        x = torch.stack([tokens[s:s + sequence] for s, _, _ in part])
        y = torch.stack([tokens[s + 1:s + sequence + 1] for s, _, _ in part])
        losses = model.Forward(c, parameters, x).token_loss(y).double()
        for i, (s, begin, end) in enumerate(part):
            nats += losses[i, begin - s:end - s].sum().item()
            count += end - begin
            size += table.bytes_of(tokens[begin:end], tokens[begin + 1:end + 1])
    return nats, count, size


def result(nats, count, size):
    return {"loss": nats / count, "bits_per_byte": nats / math.log(2) / size, "tokens": count, "bytes": size}


def flat(c, parameters, tokens, sequence, table):
    rows = [(s, s, s + sequence) for s in range(0, target_count(tokens, sequence), sequence)]
    return result(*score_windows(c, parameters, tokens, rows, sequence, table))


def sliding(c, parameters, tokens, sequence, stride, table):
    rows = windows(target_count(tokens, sequence), sequence, stride)
    return result(*score_windows(c, parameters, tokens, rows, sequence, table))


class TestTimeTraining:
    """Runs at once; keeps each chunk's score and rate, the window list and the parameters on the way."""

    def __init__(self, c, parameters, tokens, settings, table):
        s, length = settings, settings["sequence"]
        p = {name: value.clone() for name, value in parameters.items()}
        velocity = {name: torch.zeros_like(value) for name, value in p.items()}
        n, chunk = target_count(tokens, length), s["chunk"]
        count = -(-n // chunk)
        rows = windows(n, length, s["stride"])
        self.windows = [(row[1] // chunk, *row) for row in rows]
        self.chunks, self.after_first = [], None
        for i in range(count):
            mine = [row for row in rows if row[1] // chunk == i]
            nats, scored, size = score_windows(c, p, tokens, mine, length, table)
            rate = 0.0
            if mine and i + 1 < count:
                rate = s["rate"] * 0.5 * (1 + math.cos(math.pi * i / (count - 1)))
                self.adapt(c, p, velocity, tokens, i * chunk, min((i + 1) * chunk, n), rate, s)
            self.chunks.append({"nats": nats, "tokens": scored, "bytes": size, "rate": rate})
            if i == 0:
                self.after_first = {name: value.clone() for name, value in p.items()}
        self.after_all = p
        total = [sum(chunk[key] for chunk in self.chunks) for key in ("nats", "tokens", "bytes")]
        self.bits_per_byte = result(*total)["bits_per_byte"]

    @staticmethod
    def adapt(c, p, velocity, tokens, begin, end, rate, s):
        length = s["sequence"]
        starts = [begin + i * length for i in range((end - begin) // length)]
        for _ in range(s["epochs"]):
            for first in range(0, len(starts), s["batch"]):
                part = starts[first:first + s["batch"]]
                x = torch.stack([tokens[i:i + length] for i in part])
                y = torch.stack([tokens[i + 1:i + length + 1] for i in part])
                _, gradients = model.loss_and_gradients(c, p, x, y)
                norm = math.sqrt(sum(g.double().square().sum().item() for g in gradients.values()))
                scale = min(1.0, s["clip"] / (norm + 1e-6))
                for name, g in gradients.items():
                    velocity[name].mul_(s["momentum"]).add_(g * scale)
                    p[name].sub_(rate * velocity[name])
