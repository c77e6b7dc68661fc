"""The parts of `caddie bench` in plain PyTorch, measured the same way and printed with the same keys.

    python tools/bench/pytorch/bench.py train --shape quick --precision float32 [--compile] [--steps 10] [--threads N]

Parts: train, eval, sliding, ttt, generate, gptq. Prints one JSON line.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from model import SHAPES, Linear, Model
from optimizers import Optimizers

STRIDE = 64


def seconds_since_process_start():
    ticks = float(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19])
    return float(open("/proc/uptime").read().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


class Bench:
    def __init__(self, arguments):
        self.a, self.c = arguments, dict(SHAPES[arguments.shape])
        if arguments.tokens_per_step:
            self.c["tokens_per_step"] = arguments.tokens_per_step
        self.device = torch.device(arguments.device)
        torch.manual_seed(1)
        dtype = torch.bfloat16 if arguments.precision == "bfloat16" else torch.float32
        self.model = Model(self.c, dtype).to(self.device)
        self.call = torch.compile(self.model) if arguments.compile else self.model
        self.nats = torch.compile(self.model.nats) if arguments.compile else self.model.nats

    def tokens(self, *shape):
        return torch.randint(self.c["vocabulary"], shape, device=self.device)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def time(self, call, repeats, warm=1):
        """Seconds of each call."""
        seconds = []
        for i in range(repeats + warm):
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            if i >= warm:
                seconds.append(time.perf_counter() - start)
        return seconds

    def result(self, seconds, tokens=None, **more):
        median = statistics.median(seconds)
        low, _, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [median] * 3
        peak = (torch.cuda.max_memory_allocated() if self.device.type == "cuda"
                else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        out = {"bench": self.a.part, "shape": self.a.shape, "device": self.a.device, "precision": self.a.precision,
               "compiled": self.a.compile, "attention": self.a.attention,
               "threads": torch.get_num_threads(), "torch": torch.__version__,
               "step_ms_median": 1000 * median, "step_ms_low": 1000 * low, "step_ms_high": 1000 * high,
               "samples": len(seconds), "peak_memory_bytes": peak}
        if self.device.type == "cuda":
            out["gpu"] = torch.cuda.get_device_name(self.device)
        if tokens:
            out["tokens_per_second"] = tokens / median
        return out | more

    def train(self):
        c, optimizers = self.c, Optimizers(self.model)
        rows = c["tokens_per_step"] // c["micro_batches"] // c["sequence"]
        inputs, targets = self.tokens(rows, c["sequence"]), self.tokens(rows, c["sequence"])
        began = time.perf_counter()
        first = []

        def step():
            for _ in range(c["micro_batches"]):
                (self.call(inputs, targets) / c["micro_batches"]).backward()
            optimizers.step()
            for p in self.model.parameters():
                p.grad.zero_()
            if not first:
                self.wait()
                first.extend((time.perf_counter() - began, seconds_since_process_start()))

        seconds = self.time(step, self.a.steps or 10, warm=2)
        for p in self.model.parameters():
            p.grad.normal_()
        updates = self.time(optimizers.step, 10)
        return self.result(seconds, c["tokens_per_step"], first_step_seconds=first[0], first_step_with_start_seconds=first[1],
                           optimizer_ms_median=1000 * statistics.median(updates))

    def batches(self, count):
        rows = max(1, (65536 if self.device.type == "cuda" else 8192) // self.c["sequence"])
        return [min(rows, count - i) for i in range(0, count, rows)]

    @torch.no_grad()
    def eval(self):
        self.model.eval()
        t = self.c["sequence"]
        count = 512 if self.device.type == "cuda" else 128
        work = [(self.tokens(n, t), self.tokens(n, t)) for n in self.batches(count)]
        seconds = self.time(lambda: sum(self.nats(x, y).double().sum().item() for x, y in work), self.a.steps or 5)
        return self.result(seconds, count * t)

    def score_windows(self, windows):
        """Every window whole, its last STRIDE targets scored, as the reference does it."""
        t, total = self.c["sequence"], 0.0
        work = []
        for n in self.batches(windows):
            work.append((self.tokens(n, t), self.tokens(n, t)))

        def run():
            nonlocal total
            with torch.no_grad():
                for x, y in work:
                    total += self.nats(x, y)[:, -STRIDE:].double().sum().item()

        return run

    def sliding(self):
        self.model.eval()
        t = self.c["sequence"]
        targets = t * (32 if self.device.type == "cuda" else 8)
        windows = (targets - t) // STRIDE + 1
        return self.result(self.time(self.score_windows(windows), self.a.steps or 5), targets)

    def ttt(self):
        self.model.eval()
        t, epochs = self.c["sequence"], 20
        chunk = 131072 if self.device.type == "cuda" else min(131072, 16 * t)
        score = statistics.median(self.time(self.score_windows(chunk // STRIDE), self.a.steps or 3))
        rows = chunk // t
        inputs, targets = self.tokens(rows, t), self.tokens(rows, t)
        sgd = torch.optim.SGD(self.model.parameters(), lr=0.003, momentum=0.9)

        def adapt():
            for _ in range(epochs):
                for i in range(0, rows, 32):
                    sgd.zero_grad()
                    self.call(inputs[i:i + 32], targets[i:i + 32]).backward()
                    torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                    sgd.step()

        adapting = statistics.median(self.time(adapt, self.a.steps or 3))
        return self.result([score + adapting], chunk, score_ms_median=1000 * score, adapt_ms_median=1000 * adapting,
                           chunk=chunk, epochs=epochs)

    @torch.no_grad()
    def generate(self):
        """Calibration sequences without a key/value cache, one token after the other."""
        self.model.eval()
        sequences, length = 16, min(512, self.c["sequence"])

        def run():
            tokens = self.tokens(sequences, 1)
            for _ in range(length - 1):
                p = self.model.logits(tokens)[:, -1].float().softmax(-1)
                tokens = torch.cat((tokens, torch.multinomial(p, 1)), dim=1)

        # A GPU's first call chooses kernels for each of the lengths, which takes longer than they do.
        return self.result(self.time(run, self.a.steps or 1, warm=1 if self.device.type == "cuda" else 0), sequences * length)

    @torch.no_grad()
    def gptq(self):
        """Hessians of all linear maps over 16 sequences, then GPTQ of each matrix: columns in a loop, blocks of 128."""
        self.model.eval()
        length, hessians, hooks = min(512, self.c["sequence"]), {}, []
        linears = [m for m in self.model.modules() if isinstance(m, Linear)]
        for linear in linears:
            def hook(module, inputs):
                x = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
                hessians[module] = hessians.get(module, 0) + x.T @ x
            hooks.append(linear.register_forward_pre_hook(hook))
        tokens = self.tokens(16, length)
        times = []
        for _ in range((self.a.steps or 3) + 1):
            hessians.clear()
            self.wait()
            start = time.perf_counter()
            for row in tokens:
                self.model.logits(row[None, :-1])
            self.wait()
            middle = time.perf_counter()
            for linear in linears:
                quantize(linear.weight.float(), hessians[linear] / 16, 15)
            self.wait()
            times.append((middle - start, time.perf_counter() - middle))
        for hook in hooks:
            hook.remove()
        times = times[1:]
        return self.result([a + b for a, b in times], hessians_ms_median=1000 * statistics.median(a for a, _ in times),
                           quantize_ms_median=1000 * statistics.median(b for _, b in times), matrices=len(linears))


def quantize(weight, hessian, top, block=128):
    diagonal = hessian.diagonal()
    dead = diagonal == 0
    hessian[dead, dead] = 1
    hessian.diagonal().add_(0.01 * diagonal.mean())
    order = hessian.diagonal().argsort(descending=True)
    weight, hessian = weight[:, order].clone(), hessian[order][:, order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    upper = torch.linalg.cholesky(inverse, upper=True)
    step = weight.abs().amax(1).clamp_min(1e-12) / top
    codes = torch.empty_like(weight)
    for begin in range(0, weight.shape[1], block):
        end = min(begin + block, weight.shape[1])
        errors = torch.empty_like(weight[:, begin:end])
        for i in range(begin, end):
            codes[:, i] = (weight[:, i] / step).round().clamp(-top, top)
            errors[:, i - begin] = (weight[:, i] - codes[:, i] * step) / upper[i, i]
            weight[:, i:end] -= errors[:, i - begin, None] * upper[i, i:end]
        weight[:, end:] -= errors @ upper[begin:end, end:]
    return codes[:, order.argsort()], step


def attention(arguments):
    """The fastest attention a GPU has for fixed lengths. It plans for each length anew, so generation does without."""
    arguments.attention = "default"
    if arguments.device != "cuda" or arguments.part == "generate":
        return contextlib.nullcontext()
    arguments.attention = "cuDNN"
    return sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("train", "eval", "sliding", "ttt", "generate", "gptq"))
    parser.add_argument("--shape", choices=SHAPES, default="quick")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=0, help="steps or repeats; 0: the part's own number")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--tokens-per-step", type=int, default=0)
    parser.add_argument("--matmul", choices=("highest", "high", "medium"), default="medium")
    parser.add_argument("--json", action="store_true", help="accepted: the output is JSON anyway")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_float32_matmul_precision(arguments.matmul)
    with attention(arguments):
        print(json.dumps(getattr(Bench(arguments), arguments.part)()))


if __name__ == "__main__":
    main()
