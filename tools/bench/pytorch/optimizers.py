"""Muon, AdamW, the averages and their step in plain PyTorch, one matrix after the other."""

import torch

# The reference iterates in bfloat16. A CPU without instructions for it would emulate them: it iterates in float32, which is
# several times faster there.
FAST_BFLOAT16 = torch.cuda.is_available() or "avx512_bf16" in open("/proc/cpuinfo").read()


def newton_schulz(g, steps=5, a=3.4445, b=-4.7750, c=2.0315):
    x = g.bfloat16() if FAST_BFLOAT16 else g.float()
    x = x / (x.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr=0.025, momentum=0.95, weight_decay=0.04):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                m = state["momentum"]
                m.mul_(group["momentum"]).add_(p.grad)
                update = newton_schulz(p.grad.add(m, alpha=group["momentum"]))
                update = update * max(1, p.shape[0] / p.shape[1]) ** 0.5
                p.add_(update.to(p.dtype), alpha=-group["lr"])
                p.mul_(1 - group["weight_decay"] * group["lr"])


class Optimizers:
    """The groups of the reference, a moving average of the weights, and their mean over every fifth step."""

    def __init__(self, model):
        matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and n.startswith("blocks.") and "mix" not in n]
        taken = {id(p) for p in matrices} | {id(model.embedding.weight)}
        others = [p for p in model.parameters() if id(p) not in taken]
        fused = dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.04, fused=True)
        self.all = [Muon(matrices), torch.optim.AdamW([model.embedding.weight], lr=0.035, **fused),
                    torch.optim.AdamW(others, lr=0.025, **fused)]
        self.parameters = [p.detach() for p in model.parameters()]
        self.average = [p.clone() for p in self.parameters]
        self.sum, self.steps = [torch.zeros_like(p) for p in self.parameters], 0

    @torch.no_grad()
    def step(self):
        for optimizer in self.all:
            optimizer.step()
        torch._foreach_lerp_(self.average, self.parameters, 1 - 0.997)
        self.steps += 1
        if self.steps % 5 == 0:
            torch._foreach_add_(self.sum, self.parameters)
