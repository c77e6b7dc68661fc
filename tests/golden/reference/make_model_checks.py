"""The checks of the model and of training."""
import torch

from . import model, optimize, text


def moved(parameters, seed):
    """Every weight moved by one unit in the last place, up or down."""
    generator = torch.Generator().manual_seed(seed)
    towards = lambda p: torch.where(torch.rand(p.shape, generator=generator) < 0.5, torch.inf, -torch.inf)
    return {name: torch.nextafter(p, towards(p)) for name, p in parameters.items()}


class Inputs:
    """What several checks share: parameters, batches and token streams."""

    def __init__(self, bundle, c, settings, processor, generator):
        self.bundle, self.c, self.settings, self.generator = bundle, c, settings, generator
        self.parameters = model.initial_parameters(c, generator)
        for name, value in self.parameters.items():
            bundle.add(f"initial/{name}", value)
        self.roles = {name: role for name, _, role in model.parameter_list(c)}
        stream = []
        for line in text.make_text(settings["seed"] + 2, 4000):
            stream += [1] + processor.encode(line)
        stream = torch.tensor(stream)
        random = torch.randint(0, c.vocab, stream.shape, generator=generator)
        self.stream = torch.where(torch.rand(stream.shape, generator=generator) < 0.15, random, stream)
        self.position = 0
        bundle.head = {
            "config": {
                "vocab": c.vocab, "width": c.width, "blocks": c.blocks, "heads": c.heads, "kv_heads": c.kv_heads,
                "mlp_ratio": c.mlp_ratio, "xsa_last": c.xsa_last, "sequence": c.sequence,
                "logit_softcap": c.logit_softcap, "rope_base": c.rope_base, "query_gain_init": c.query_gain_init,
                "mlp_hidden": c.mlp_hidden,
                "fake_quant_bits": {"attention": c.attention_bits, "mlp": c.mlp_bits},
                "norm_epsilon": model.NORM_EPSILON,
                "skips": [dict(zip(("block", "row", "source"), skip)) for skip in c.skips]},
            "about": "Numbers of tests/golden/reference on a small configuration.",
            "parameters": [{"name": n, "shape": list(s), "role": r} for n, s, r in model.parameter_list(c)]}
        x = self.take(settings["batch"] * (c.sequence + 1)).view(settings["batch"], -1)
        self.tokens, self.targets = x[:, :-1].contiguous(), x[:, 1:].contiguous()
        bundle.add("batch/tokens", self.tokens)
        bundle.add("batch/targets", self.targets)
        bundle.add("validation/tokens", self.take(settings["validation_tokens"]))
        self.validation = bundle.tensors["validation/tokens"].long()

    def take(self, count):
        self.position += count
        return self.stream[self.position - count:self.position].clone()

    def check(self, identifier, kind, about="", with_batch=False, **settings):
        check = self.bundle.check(identifier, kind, about, **settings)
        check.inputs["parameters"] = "initial/"
        if with_batch:
            check.inputs |= {"tokens": "batch/tokens", "targets": "batch/targets"}
        return check

    def double(self):
        return {name: value.double() for name, value in self.parameters.items()}

    def chosen(self, count=2):
        """A part of the parameters, to keep a bundle small: the global ones, the first and the last blocks'."""
        blocks = {f"blocks.{i}." for i in (0, self.c.blocks - 1)[:count]}
        everything = self.bundle.sample_limit > 100
        if count == 0 and not everything:
            last = f"blocks.{self.c.blocks - 1}.attention."
            return ["embedding.weight"] + [n for n in self.parameters if n.startswith(last)]
        return [n for n in self.parameters if everything or "blocks" not in n or any(n.startswith(b) for b in blocks)]


def model_checks(inputs):
    c, tokens, targets = inputs.c, inputs.tokens, inputs.targets
    for identifier, fake in (("forward", False), ("forward_qat", True)):
        check = inputs.check(identifier, "forward", with_batch=True, fake_quant=fake)
        with torch.no_grad():
            runs = [model.Forward(c, p, tokens, fake) for p in (inputs.parameters, inputs.double())]
            losses = [run.token_loss(targets) for run in runs]
        for i in range(c.blocks):
            check.near(f"block_{i}", runs[0].blocks[i], [runs[1].blocks[i]], "blocks")
        check.near("logits", runs[0].logits, [runs[1].logits], "logits")
        check.near("token_loss", losses[0], [losses[1]], "loss")
        check.near("mean_loss", losses[0].mean().item(), [losses[1].mean().item()], "loss")
    for identifier, fake in (("gradients", False), ("gradients_qat", True)):
        check = inputs.check(identifier, "gradients", with_batch=True, fake_quant=fake)
        runs = [model.loss_and_gradients(c, p, tokens, targets, fake)[1] for p in (inputs.parameters, inputs.double())]
        for name in inputs.chosen(1 if fake else 2):
            check.near(name, runs[0][name], [runs[1][name]], inputs.roles[name])
    prompts = inputs.take(5 * inputs.settings["prompt"]).view(5, -1)
    check = inputs.check("greedy", "greedy", new_tokens=inputs.settings["new_tokens"])
    check.input("prompts", prompts)
    runs = [model.greedy(c, p, prompts, inputs.settings["new_tokens"]) for p in (inputs.parameters, inputs.double())]
    if not torch.equal(runs[0][0], runs[1][0]) or runs[0][1].min() < 1e-4:
        raise SystemExit("greedy: a choice is too narrow, take another seed")
    check.exact("tokens", runs[0][0]).near("margin", runs[0][1], [runs[1][1]])
    check.near("last_logits", runs[0][2], [runs[1][2]], "logits")


def train_checks(inputs):
    c, s = inputs.c, inputs.settings
    steps, micro, batch = len(s["train"]["rate_factors"]), s["micro_steps"], max(s["batch"] - 1, 1)
    x = inputs.take(steps * micro * batch * (c.sequence + 1)).view(steps, micro, batch, -1)
    tokens = inputs.bundle.add("train/tokens", x[..., :-1])
    targets = inputs.bundle.add("train/targets", x[..., 1:])
    batches = lambda step: [(x[step, m, :, :-1], x[step, m, :, 1:]) for m in range(micro)]
    runs = {}
    for identifier, fake, precision in (("train", False, "float32"), ("train_qat", True, "float32"),
                                        ("train_qat_bfloat16", True, "bfloat16")):
        settings = s["train"] | {"fake_quant": fake, "newton_schulz": precision}
        check = inputs.check(identifier, "train", **settings)
        check.inputs |= {"tokens": tokens, "targets": targets}
        run = optimize.Training(c, inputs.parameters, settings, batches)
        others = [optimize.Training(c, inputs.double(), settings | {"newton_schulz": "float32"}, batches)]
        if fake:
            others += [optimize.Training(c, moved(inputs.parameters, k), settings, batches) for k in range(3)]
        factor = 8 if precision == "float32" else 3
        write_training(inputs, check, run, others, factor)
        runs[identifier] = run
    return runs


def write_training(inputs, check, run, others, factor):
    if check.id != "train_qat_bfloat16":
        check.exact("swa_count", run.average.count)
    last = len(run.losses)
    for k in range(last):
        group = "first loss" if k == 0 else "loss"
        check.near(f"loss/step_{k + 1}", run.losses[k], [o.losses[k] for o in others], group, factor)
    names = inputs.chosen(1 if check.id == "train" else 0)
    for k in sorted({1, last}):
        for name in names:
            check.near(f"parameters/step_{k}/{name}", run.after[k - 1][name], [o.after[k - 1][name] for o in others],
                       f"step {k} {inputs.roles[name]}", factor)
    for name in names:
        role = inputs.roles[name]
        if role == "matrix":
            check.near(f"muon_buffer/{name}", run.buffers[name], [o.buffers[name] for o in others], "buffer", factor)
        if check.id == "train":
            check.near(f"ema/{name}", run.average.ema[name], [o.average.ema[name] for o in others], "ema " + role)
            if run.average.count:
                check.near(f"swa/{name}", run.average.swa[name], [o.average.swa[name] for o in others], "swa " + role)
        check.near(f"final/{name}", run.average.final()[name], [o.average.final()[name] for o in others],
                   "final " + role, factor)
