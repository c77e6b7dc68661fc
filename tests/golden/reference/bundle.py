"""Writes a bundle: tensors.safetensors, bundle.json, and the tolerances by the golden README's rule.

A check's outputs are given in float32 together with recomputations (in float64, or from moved weights); per group the
largest deviation relative to an array's largest magnitude and to its root mean square, at least 2.4e-7, times 8 (3 for
bfloat16), times the array's own magnitude is its tolerance.
"""
import hashlib
import json
import os
import struct

import torch

LEAST = 2.4e-7
EXACT = {"exact": True}
TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32", torch.int16: "I16",
         torch.int8: "I8", torch.uint8: "U8"}


def two_digits(x):
    return float(f"{x:.1e}") if x else 0.0


class Check:
    def __init__(self, bundle, identifier, kind, about, settings):
        self.bundle, self.id, self.kind, self.about, self.settings = bundle, identifier, kind, about, settings
        self.inputs, self.expect, self.measured = {}, {}, {}
        self.pending = []  # (name, value, recomputed list, group, factor, sample)

    def input(self, name, tensor=None, key=None):
        """A tensor of this check's own, or `key` of one that is in the bundle already."""
        if tensor is not None:
            key = self.bundle.add(key or f"{self.id}/{name}", tensor)
        self.inputs[name] = key
        return self

    def whole(self, name, value):
        """Exact, and every element is stored."""
        self.expect[name] = self.stored(name, value, sample=False) | {"tolerance": EXACT}
        return self

    def exact(self, name, value):
        if isinstance(value, torch.Tensor):
            if value.dtype == torch.int64:
                value = value.to(torch.int32)
            self.expect[name] = self.stored(name, value, sample=not value.is_floating_point()) | {"tolerance": EXACT}
        else:
            self.expect[name] = {"value": value, "tolerance": EXACT}
        return self

    def fraction(self, name, value, recomputed):
        shares = [(value != other).double().mean().item() for other in recomputed]
        self.measured[name] = max(shares)
        f = max(2 * max(shares), 2.5 / value.numel(), 0.005)
        tolerance = {"differing_fraction": two_digits(f)}
        self.expect[name] = self.stored(name, value, sample=False) | {"tolerance": tolerance}
        return self

    def near(self, name, value, recomputed, group="values", factor=8, tolerance=None):
        """`recomputed`: other computations of `value`. With `tolerance` that one is taken as it is."""
        self.pending.append((name, value, recomputed, group, factor, tolerance))
        return self

    def stored(self, name, value, sample=True):
        limit = self.bundle.sample_limit
        key = f"{self.id}/{name}"
        if not sample or value.numel() <= limit:
            return {"tensor": self.bundle.add(key, value)}
        step = value.numel() // limit | 1
        flat, wide = value.flatten(), value.double()
        picked = flat[::step].contiguous()
        out = {"sample": self.bundle.add(key, picked), "shape": list(value.shape), "step": step, "count": len(picked)}
        total, squares = wide.sum().item(), wide.square().sum().item()
        if not value.is_floating_point():
            total, squares = int(value.long().sum()), int(value.long().square().sum())
        return out | {"sum": total, "sum_squares": squares}

    def close(self):
        groups = {}
        for name, value, recomputed, group, _, _ in self.pending:
            a = torch.as_tensor(value, dtype=torch.float64)
            for other in recomputed:
                d = torch.as_tensor(other, dtype=torch.float64) - a
                worst = groups.setdefault(group, [LEAST, LEAST])
                if a.numel() and a.abs().max() > 0:
                    worst[0] = max(worst[0], (d.abs().max() / a.abs().max()).item())
                    worst[1] = max(worst[1], (d.square().mean().sqrt() / a.square().mean().sqrt()).item())
        for name, value, recomputed, group, factor, tolerance in self.pending:
            array = isinstance(value, torch.Tensor)
            a = torch.as_tensor(value, dtype=torch.float64)
            if tolerance is None:
                worst = groups[group]
                largest = a.abs().max().item() if a.numel() else 0.0
                tolerance = {"max": two_digits(factor * worst[0] * largest)}
                if array:
                    rms = a.square().mean().sqrt().item() if a.numel() else 0.0
                    tolerance["rms"] = two_digits(factor * worst[1] * rms)
            self.expect[name] = (self.stored(name, value) if array else {"value": value}) | {"tolerance": tolerance}
        self.measured |= {g: {"max": two_digits(w[0]), "rms": two_digits(w[1])} for g, w in groups.items()}

    def json(self):
        out = {"id": self.id, "kind": self.kind, "about": self.about, "settings": self.settings,
               "inputs": self.inputs, "expect": self.expect}
        return out | ({"measured": self.measured} if self.measured else {})


class Bundle:
    def __init__(self, folder, name, sample_limit=40):
        self.folder, self.name, self.sample_limit = folder, name, sample_limit
        self.tensors, self.checks, self.tokenizers, self.head = {}, [], {}, {}
        os.makedirs(folder, exist_ok=True)

    def add(self, key, tensor):
        tensor = tensor.detach().clone().contiguous()
        if tensor.dtype in (torch.int64, torch.bool):
            tensor = tensor.to(torch.int32 if tensor.dtype == torch.int64 else torch.uint8)
        if key in self.tensors:
            raise ValueError(f"tensor {key} is in the bundle already")
        self.tensors[key] = tensor
        return key

    def check(self, identifier, kind, about="", **settings):
        self.checks.append(Check(self, identifier, kind, about, settings))
        return self.checks[-1]

    def tokenizer(self, label, vocab):
        with open(os.path.join(self.folder, label + ".model"), "rb") as data:
            digest = hashlib.sha256(data.read()).hexdigest()
        self.tokenizers[label] = {"vocab": vocab, "sha256": digest, "in_bundle": True}

    def write(self):
        for check in self.checks:
            check.close()
        header, offset, blobs = {}, 0, []
        for key in sorted(self.tensors):
            tensor = self.tensors[key]
            data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
            header[key] = {"dtype": TYPES[tensor.dtype], "shape": list(tensor.shape),
                           "data_offsets": [offset, offset + len(data)]}
            offset += len(data)
            blobs.append(data)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(os.path.join(self.folder, "tensors.safetensors"), "wb") as out:
            out.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
        checks = [check.json() for check in self.checks]
        whole = {"format": "golden", "version": 1, "name": self.name, **self.head, "tokenizers": self.tokenizers}
        body = json.dumps(whole, ensure_ascii=False)[:-1]
        lines = ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in checks)
        with open(os.path.join(self.folder, "bundle.json"), "w", encoding="utf-8") as out:
            out.write(body + ', "checks": [\n' + lines + "\n]}\n")
