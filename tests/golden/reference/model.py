"""The language model of the golden README, written plainly in PyTorch for any floating type.

It is the second opinion for the program's own model: nothing here is shared with it, and nothing is fast.
"""
import math
from dataclasses import dataclass

import torch

NORM_EPSILON = 2.0**-23


@dataclass(frozen=True)
class Config:
    vocab: int
    width: int
    blocks: int
    heads: int
    kv_heads: int
    mlp_ratio: float
    xsa_last: int
    sequence: int
    logit_softcap: float
    rope_base: float
    query_gain_init: float
    attention_bits: int
    mlp_bits: int

    @property
    def head(self):
        return self.width // self.heads

    @property
    def mlp_hidden(self):
        return math.floor(self.mlp_ratio * self.width)

    @property
    def skips(self):
        """(block, row, source): before `block`, skip.weight[row] times the output of block `source` is added."""
        encoders, first = self.blocks // 2, (self.blocks + 1) // 2
        return [
            (block, block - first, 2 * first - 1 - block)
            for block in range(encoders, self.blocks)
            if block >= first and 0 <= 2 * first - 1 - block < encoders
        ]


def parameter_list(c):
    """[(name, shape, role)] in the order of the golden README."""
    out = [("skip.weight", (c.blocks // 2, c.width), "vector"), ("embedding.weight", (c.vocab, c.width), "embedding")]
    for i in range(c.blocks):
        b, kv = f"blocks.{i}.", c.kv_heads * c.head
        out += [
            (b + "attention_scale", (c.width,), "vector"),
            (b + "mlp_scale", (c.width,), "vector"),
            (b + "residual_mix", (2, c.width), "vector"),
            (b + "attention.query_gain", (c.heads,), "vector"),
            (b + "attention.query.weight", (c.width, c.width), "matrix"),
            (b + "attention.key.weight", (kv, c.width), "matrix"),
            (b + "attention.value.weight", (kv, c.width), "matrix"),
            (b + "attention.output.weight", (c.width, c.width), "matrix"),
            (b + "mlp.up.weight", (c.mlp_hidden, c.width), "matrix"),
            (b + "mlp.down.weight", (c.width, c.mlp_hidden), "matrix"),
        ]
    return out


def initial_parameters(c, generator):
    """No initialization: nothing is zero, one or alike, so that every term shows in every value."""
    def normal(shape, mean, deviation):
        return mean + deviation * torch.randn(shape, generator=generator, dtype=torch.float64)

    values = {}
    for name, shape, role in parameter_list(c):
        if role == "matrix":
            values[name] = normal(shape, 0.0, shape[1] ** -0.5)
        elif role == "embedding":
            values[name] = normal(shape, 0.0, 0.5)
            values[name][::17] *= 1e-4  # tiny rows: here the epsilon of the norm matters
        elif name.endswith("residual_mix"):
            values[name] = torch.stack([normal(shape[1:], 0.95, 0.1), normal(shape[1:], 0.2, 0.1)])
        elif name.endswith("query_gain"):
            values[name] = normal(shape, c.query_gain_init, 0.2)
        else:
            values[name] = normal(shape, 0.8, 0.2)
    return {name: value.float() for name, value in values.items()}


def rms_norm(x):
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + NORM_EPSILON)


def rope_tables(length, head, base, dtype):
    inverse = 1.0 / (base ** (torch.arange(0, head, 2, dtype=dtype) / head))
    angles = torch.outer(torch.arange(length, dtype=dtype), inverse)
    return angles.cos(), angles.sin()


def rope_tables_bfloat16(length, head, base, rounded=True):
    """Frequencies, positions and angles each rounded to bfloat16, as in a model that was cast as a whole."""
    low = lambda x: x.bfloat16()
    inverse = low(1.0 / (base ** (torch.arange(0, head, 2, dtype=torch.float32) / head)))
    angles = low(low(torch.arange(length, dtype=torch.float32)).float()[:, None] * inverse.float()[None, :])
    if not rounded:
        return angles.double().cos(), angles.double().sin()
    return low(angles.float().cos()), low(angles.float().sin())


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], -1)


def fake_quantize(weight, bits):
    """In float32 whatever the type of `weight`; the gradient is the identity."""
    with torch.no_grad():
        w, top = weight.detach().float(), float(2 ** (bits - 1) - 1)
        step = w.abs().amax(1, keepdim=True).clamp_min(1e-12) / top
        rounded = (torch.round(w / step).clamp(-top, top) * step).to(weight.dtype)
    return weight + (rounded - weight).detach() if weight.requires_grad else rounded


def exclude_self(y, v):
    """y, v [B, H, T, h]: what lies along the own value is taken out."""
    u = v / v.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return y - (y * u).sum(-1, keepdim=True) * u


class Forward:
    """One forward pass over tokens [B, T]; keeps every block's output and every linear map's input."""

    def __init__(self, c, parameters, tokens, fake_quant=False):
        self.c, self.p, self.fake_quant = c, parameters, fake_quant
        self.inputs, self.blocks = {}, []
        dtype = parameters["embedding.weight"].dtype
        length = tokens.shape[1]
        self.cos, self.sin = rope_tables(length, c.head, c.rope_base, dtype)
        self.mask = torch.full((length, length), -math.inf, dtype=dtype).triu(1)
        skips = {block: (row, source) for block, row, source in c.skips}
        x = x0 = rms_norm(parameters["embedding.weight"][tokens.long()])
        for i in range(c.blocks):
            if i in skips:
                row, source = skips[i]
                x = x + parameters["skip.weight"][row] * self.blocks[source]
            x = self.block(i, x, x0)
            self.blocks.append(x)
        z = rms_norm(x) @ parameters["embedding.weight"].T
        self.logits = c.logit_softcap * torch.tanh(z / c.logit_softcap)

    def linear(self, name, x):
        self.inputs[name] = x.detach()
        weight = self.p[name]
        if self.fake_quant:
            weight = fake_quantize(weight, self.c.attention_bits if ".attention." in name else self.c.mlp_bits)
        return x @ weight.T

    def block(self, i, x, x0):
        b = f"blocks.{i}."
        mix = self.p[b + "residual_mix"]
        x = mix[0] * x + mix[1] * x0
        x = x + self.p[b + "attention_scale"] * self.attention(i, rms_norm(x))
        up = self.linear(b + "mlp.up.weight", rms_norm(x))
        hidden = torch.where(up > 0, up, 0.5 * up).square()
        return x + self.p[b + "mlp_scale"] * self.linear(b + "mlp.down.weight", hidden)

    def attention(self, i, x):
        c, b = self.c, f"blocks.{i}.attention."
        batch, length, _ = x.shape

        def heads(name, count):
            return self.linear(b + name, x).view(batch, length, count, c.head).transpose(1, 2)

        q, k, v = heads("query.weight", c.heads), heads("key.weight", c.kv_heads), heads("value.weight", c.kv_heads)
        q = rotate(rms_norm(q), self.cos, self.sin) * self.p[b + "query_gain"][:, None, None]
        k = rotate(rms_norm(k), self.cos, self.sin)
        k, v = (t.repeat_interleave(c.heads // c.kv_heads, 1) for t in (k, v))
        scores = q @ k.transpose(-1, -2) * c.head**-0.5 + self.mask
        y = torch.softmax(scores, -1) @ v
        if i >= c.blocks - c.xsa_last:
            y = exclude_self(y, v)
        return self.linear(b + "output.weight", y.transpose(1, 2).reshape(batch, length, c.width))

    def token_loss(self, targets):
        return torch.logsumexp(self.logits, -1) - self.logits.gather(-1, targets.long()[..., None])[..., 0]


def loss_and_gradients(c, parameters, tokens, targets, fake_quant=False):
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parameters.items()}
    loss = Forward(c, leaves, tokens, fake_quant).token_loss(targets).mean()
    loss.backward()
    zero = lambda p: torch.zeros_like(p) if p.grad is None else p.grad
    return loss.item(), {name: zero(p) for name, p in leaves.items()}


@torch.no_grad()
def greedy(c, parameters, prompts, new_tokens):
    """Argmax continuation without a cache: everything is computed anew for each token."""
    tokens, chosen, margins = prompts.long(), [], []
    for _ in range(new_tokens):
        logits = Forward(c, parameters, tokens).logits[:, -1]
        best = logits.topk(2, -1).values
        chosen.append(logits.argmax(-1))
        margins.append(best[:, 0] - best[:, 1])
        tokens = torch.cat([tokens, chosen[-1][:, None]], 1)
    return torch.stack(chosen, 1), torch.stack(margins, 1), logits
