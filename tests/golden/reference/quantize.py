"""Hessians, GPTQ and the export of the golden README, in any floating type."""
import torch

from . import model


def row_steps(w, top):
    return w.abs().amax(1).clamp_min(1e-12) / top


def round_rows(w, top):
    """Codes int8 and steps of plain rounding."""
    steps = row_steps(w, top)
    return torch.round(w / steps[:, None]).clamp(-top, top).to(torch.int8), steps


def gptq(w, hessian, top, block, ties=None):
    """-> (damping that worked or None, codes, steps, decoded). `ties` collects distances to the next rounding tie."""
    h = hessian.clone()
    diagonal = h.diagonal()
    diagonal[diagonal == 0] = 1
    mean = diagonal.mean().item()
    order = torch.argsort(diagonal, descending=True, stable=True)
    h = h[order][:, order]
    for damping in (0.01, 0.1, 1.0):
        damped = h.clone()
        damped.diagonal().add_(max(damping * mean, 1e-6))
        lower, info = torch.linalg.cholesky_ex(damped)
        if info.item() == 0:
            upper, info = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if info.item() == 0:
                break
    else:
        return None, None, None, w.clone()
    rest, steps = w[:, order].clone(), row_steps(w, top)
    codes = torch.zeros(w.shape, dtype=torch.int8)
    columns = w.shape[1]
    for start in range(0, columns, block):
        end = min(start + block, columns)
        errors = torch.zeros((w.shape[0], end - start), dtype=w.dtype)
        for j in range(start, end):
            ratio = rest[:, j] / steps
            if ties is not None:
                inside = ratio.abs() < top + 0.5
                ties.append((0.5 - (ratio - torch.round(ratio)).abs())[inside].min().item() if inside.any() else 1.0)
            code = torch.round(ratio).clamp(-top, top)
            codes[:, j] = code.to(torch.int8)
            error = (rest[:, j] - code * steps) / upper[j, j]
            rest[:, j + 1:end] -= error[:, None] * upper[j, j + 1:end]
            errors[:, j - start] = error
        rest[:, end:] -= errors @ upper[start:end, end:]
    original = torch.empty_like(codes)
    original[:, order] = codes
    return damping, original, steps, original.to(w.dtype) * steps[:, None]


@torch.no_grad()
def model_hessians(c, parameters, batches):
    sums = {}
    for batch in batches:
        forward = model.Forward(c, parameters, batch[:, :-1])
        for name, x in forward.inputs.items():
            x = x.reshape(-1, x.shape[-1])
            sums[name] = sums.get(name, 0) + x.T @ x
    return {name: value / len(batches) for name, value in sums.items()}


class Export:
    """Codes, float16 steps and kept values of a model, and what a reader decodes from them."""

    def __init__(self, c, parameters, top_matrix, top_embedding, keep_float_elements):
        self.codes, self.steps, self.kept, self.decoded = {}, {}, {}, {}
        for name, _, role in model.parameter_list(c):
            value = parameters[name]
            if role == "vector":
                self.kept[name], self.decoded[name] = "float32", value.clone()
            elif value.numel() > keep_float_elements:
                codes, steps = round_rows(value, top_matrix if role == "matrix" else top_embedding)
                self.codes[name], self.steps[name] = codes, steps.to(torch.float16)
                self.decoded[name] = codes.to(value.dtype) * self.steps[name].to(value.dtype)[:, None]
            else:
                self.kept[name], self.decoded[name] = "float16", value.to(torch.float16).to(value.dtype)


def gptq_model(c, parameters, batches, top, block):
    """-> (hessians, {name: codes}, parameters with every matrix replaced by GPTQ's decoded weight)."""
    hessians = model_hessians(c, parameters, batches)
    codes, decoded = {}, dict(parameters)
    for name, hessian in hessians.items():
        _, codes[name], _, decoded[name] = gptq(parameters[name], hessian, top, block)
    return hessians, codes, decoded


def objective(hessian, weight, decoded):
    error = (decoded - weight).double()
    return ((error @ hessian.double()) * error).sum().item()


def power_law_spectrum(raw):
    u, s, vt = torch.linalg.svd(raw, full_matrices=False)
    return (u * (s[0] / torch.arange(1, s.numel() + 1, dtype=raw.dtype).sqrt())) @ vt


def byte_shuffle(data, stride):
    padded = data + bytes(-len(data) % stride)
    return b"".join(padded[i::stride] for i in range(stride))
