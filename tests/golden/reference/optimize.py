"""Muon, AdamW, the training loop, averages and schedules of the golden README, in any floating type."""
import math

import torch

from . import model


def newton_schulz(g, steps, coefficients, epsilon, bfloat16=False):
    """With `bfloat16` every operation's result is rounded (products accumulate wide), the result is bfloat16."""
    a, b, c = coefficients
    x = g.bfloat16() if bfloat16 else g
    x = x / (x.norm() + epsilon)
    transposed = x.shape[0] > x.shape[1]
    if transposed:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if transposed else x


COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def muon_step(p, buffer, g, rate, momentum, weight_decay, steps, bfloat16, nesterov=True):
    """Changes p and buffer in place."""
    buffer.mul_(momentum).add_(g)
    u = newton_schulz(g + momentum * buffer if nesterov else buffer, steps, COEFFICIENTS, 1e-7, bfloat16)
    u = u * max(1.0, p.shape[0] / p.shape[1]) ** 0.5
    p.sub_(rate * u.to(p.dtype)).mul_(1 - rate * weight_decay)


class AdamW:
    """`storage` is the type in which the parameter and both moments rest; `wide` that of the arithmetic."""

    def __init__(self, like, beta1, beta2, epsilon, weight_decay, storage=None, wide=torch.float32):
        self.beta1, self.beta2, self.epsilon, self.weight_decay, self.count = beta1, beta2, epsilon, weight_decay, 0
        self.storage, self.wide = storage or like.dtype, wide
        self.m = torch.zeros_like(like, dtype=self.storage)
        self.v = torch.zeros_like(like, dtype=self.storage)

    def step(self, p, g, rate):
        self.count += 1
        g, w = g.to(self.storage).to(self.wide), p.to(self.storage).to(self.wide)
        m = self.beta1 * self.m.to(self.wide) + (1 - self.beta1) * g
        v = self.beta2 * self.v.to(self.wide) + (1 - self.beta2) * g * g
        w = w * (1 - rate * self.weight_decay)
        bias1, bias2 = 1 - self.beta1**self.count, 1 - self.beta2**self.count
        w = w - rate / bias1 * m / (v.sqrt() / math.sqrt(bias2) + self.epsilon)
        self.m, self.v = m.to(self.storage), v.to(self.storage)
        p.copy_(w.to(self.storage).to(p.dtype))


def momentum_at(step, first, last, over):
    return first + min(step / over, 1.0) * (last - first)


def schedule(elapsed, seconds, warmdown):
    left = max(seconds - elapsed, 0.0) / seconds
    return 1.0 if left >= warmdown else left / warmdown


def schedule_by_steps(step, total, warmdown):
    """At `total` and beyond it is 1 again, as in the reference: no step of a run is there."""
    return (total - step) / max(warmdown, 1) if total - warmdown <= step < total else 1.0


class Average:
    def __init__(self, start, decay, every, below):
        self.decay, self.every, self.below, self.count = decay, every, below, 0
        self.ema = {name: value.clone() for name, value in start.items()}
        self.swa = {name: torch.zeros_like(value) for name, value in start.items()}

    def update(self, values, step, factor):
        joins = factor < self.below and (step + 1) % self.every == 0
        self.count += joins
        for name, value in values.items():
            self.ema[name].mul_(self.decay).add_(value, alpha=1 - self.decay)
            if joins:
                self.swa[name].add_((value - self.swa[name]) / self.count)

    def final(self):
        if not self.count:
            return self.ema
        return {name: self.ema[name] / 2 + self.swa[name] / 2 for name in self.ema}


class Training:
    """Runs at once; keeps the losses, the parameters after each step, Muon's buffers and the averages."""

    def __init__(self, c, parameters, settings, micro_batches):
        """micro_batches(step) -> [(tokens, targets)] of that step."""
        self.losses, self.after = [], []
        p = {name: value.clone() for name, value in parameters.items()}
        roles = {name: role for name, _, role in model.parameter_list(c)}
        s, muon, adamw = settings, settings["muon"], settings["adamw"]
        self.buffers = {name: torch.zeros_like(p[name]) for name, role in roles.items() if role == "matrix"}
        adams = {name: AdamW(p[name], wide=p[name].dtype, **adamw) for name, role in roles.items() if role != "matrix"}
        self.average = Average(p, s["ema"], s["swa_every"], s["swa_below"])
        for step, factor in enumerate(s["rate_factors"]):
            total, losses = None, []
            batches = micro_batches(step)
            for tokens, targets in batches:
                loss, gradients = model.loss_and_gradients(c, p, tokens, targets, s["fake_quant"])
                losses.append(loss)
                total = gradients if total is None else {n: total[n] + gradients[n] for n in gradients}
            momentum = momentum_at(step, muon["momentum_first"], muon["momentum_last"], muon["momentum_steps"])
            for name, role in roles.items():
                g = total[name] / len(batches)
                if role == "matrix":
                    muon_step(p[name], self.buffers[name], g, muon["rate"] * factor, momentum, muon["weight_decay"],
                              muon["newton_schulz_steps"], s["newton_schulz"] == "bfloat16", muon["nesterov"])
                else:
                    rate = s["embedding_rate"] if role == "embedding" else s["vector_rate"]
                    adams[name].step(p[name], g, rate * factor)
            self.average.update(p, step, factor)
            self.losses.append(sum(losses) / len(losses))
            self.after.append({name: value.clone() for name, value in p.items()})
