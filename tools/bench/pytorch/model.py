"""The reference's architecture in plain PyTorch: the yardstick of caddie's speed. Written as one would write it in PyTorch,
with fused library calls where there are any; neither tuned by hand nor a port of caddie's kernels.

Shapes are those of `caddie bench` (core/bench/shapes.cpp).
"""

import torch
import torch.nn.functional as F
from torch import nn

SHAPES = {
    "quick": dict(vocabulary=1024, width=192, layers=6, heads=6, kv_heads=3, xsa_last=2, sequence=256,
                  tokens_per_step=8192, micro_batches=1),
    "small": dict(vocabulary=4096, width=256, layers=8, heads=8, kv_heads=4, xsa_last=3, sequence=512,
                  tokens_per_step=8192, micro_batches=1),
    "reference": dict(vocabulary=4096, width=512, layers=10, heads=8, kv_heads=4, xsa_last=4, sequence=2048,
                      tokens_per_step=786432, micro_batches=8),
}
EPSILON = torch.finfo(torch.float32).eps


def norm(x):
    return F.rms_norm(x, (x.shape[-1],), eps=EPSILON)


class FakeQuantized(torch.autograd.Function):
    """Per-row absmax rounding, straight through."""

    @staticmethod
    def forward(ctx, weight, top):
        step = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / top
        return (weight / step).round().clamp(-top, top) * step

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


class Linear(nn.Linear):
    def __init__(self, inputs, outputs, bits):
        super().__init__(inputs, outputs, bias=False)
        self.top = 2 ** (bits - 1) - 1

    def forward(self, x):
        weight = FakeQuantized.apply(self.weight, self.top) if self.training else self.weight
        return F.linear(x, weight.to(x.dtype))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1)


class Attention(nn.Module):
    def __init__(self, c, exclusive):
        super().__init__()
        self.heads, self.kv_heads, self.head = c["heads"], c["kv_heads"], c["width"] // c["heads"]
        self.exclusive = exclusive
        self.query = Linear(c["width"], c["width"], 6)
        self.key = Linear(c["width"], self.kv_heads * self.head, 6)
        self.value = Linear(c["width"], self.kv_heads * self.head, 6)
        self.output = Linear(c["width"], c["width"], 6)
        self.gain = nn.Parameter(torch.full((self.heads,), 1.5))

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        q = self.query(x).view(b, t, self.heads, self.head).transpose(1, 2)
        k = self.key(x).view(b, t, self.kv_heads, self.head).transpose(1, 2)
        v = self.value(x).view(b, t, self.kv_heads, self.head).transpose(1, 2)
        q, k = rotate(norm(q), cos, sin), rotate(norm(k), cos, sin)
        q = q * self.gain.to(q.dtype)[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        if self.exclusive:
            u = F.normalize(v, dim=-1).repeat_interleave(self.heads // self.kv_heads, dim=1)
            y = y - (y * u).sum(dim=-1, keepdim=True) * u
        return self.output(y.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, c, exclusive):
        super().__init__()
        width, hidden = c["width"], int(3.5 * c["width"])
        self.attention = Attention(c, exclusive)
        self.up, self.down = Linear(width, hidden, 5), Linear(hidden, width, 5)
        self.attention_scale, self.mlp_scale = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))
        self.mix = nn.Parameter(torch.stack((torch.ones(width), torch.zeros(width))))

    def forward(self, x, x0, cos, sin):
        mix = self.mix.to(x.dtype)
        x = mix[0] * x + mix[1] * x0
        x = x + self.attention_scale.to(x.dtype) * self.attention(norm(x), cos, sin)
        hidden = F.leaky_relu(self.up(norm(x)), 0.5).square()
        return x + self.mlp_scale.to(x.dtype) * self.down(hidden)


class Model(nn.Module):
    def __init__(self, c, dtype):
        super().__init__()
        self.dtype, self.encoders, layers = dtype, c["layers"] // 2, c["layers"]
        self.embedding = nn.Embedding(c["vocabulary"], c["width"])
        nn.init.normal_(self.embedding.weight, std=0.005)
        self.blocks = nn.ModuleList(Block(c, i >= layers - c["xsa_last"]) for i in range(layers))
        self.skip = nn.Parameter(torch.ones(self.encoders, c["width"]))
        head = c["width"] // c["heads"]
        frequency = 1.0 / 10000 ** (torch.arange(0, head, 2).float() / head)
        angle = torch.outer(torch.arange(c["sequence"]).float(), frequency)
        self.register_buffer("cos", angle.cos().to(dtype))
        self.register_buffer("sin", angle.sin().to(dtype))

    def logits(self, tokens):
        weight = self.embedding.weight.to(self.dtype)
        x = x0 = norm(F.embedding(tokens, weight))
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        kept = []
        for i, block in enumerate(self.blocks):
            if i >= self.encoders and kept:
                x = x + self.skip[i - (len(self.blocks) - self.encoders)].to(x.dtype) * kept.pop()
            x = block(x, x0, cos, sin)
            if i < self.encoders:
                kept.append(x)
        return 30 * torch.tanh(F.linear(norm(x), weight) / 30)

    def forward(self, tokens, targets):
        return F.cross_entropy(self.logits(tokens).float().flatten(0, 1), targets.flatten())

    def nats(self, tokens, targets):
        """Of each target, [B, T]."""
        logits = self.logits(tokens).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
