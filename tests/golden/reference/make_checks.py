"""The checks of a bundle: what is computed twice and how it is written down. Formulas are in the other modules."""
import os
import random

import torch

from . import model, optimize, quantize, text
from .make_model_checks import Inputs, model_checks, train_checks
from .make_score_checks import pipeline_check, score_checks

TEXTS = [
    "", " ", "Kapu tolena, 123 bo.", "  two  spaces,\ttab\nnew line\n",
    "na\u00efve caf\u00e9 \u2013 \u20ac20 \u00bd \ufb01",
    "\u65e5\u672c\u8a9e \u0440\u0443\u0441\u0441\u043a\u0438\u0439",
    "emoji \U0001f600\U0001f469\u200d\U0001f680 end", "a", "\u2581already marked\u2581", "ALLCAPS camelCase snake_case"]


def all_checks(bundle, c, settings, label, processor):
    generator = torch.Generator().manual_seed(settings["seed"])
    table = text.ByteTable(processor)
    tokenizer_checks(bundle, settings, label, processor, table)
    data_checks(bundle, c, settings)
    op_checks(bundle, c, settings, generator)
    optimizer_checks(bundle, settings, generator)
    inputs = Inputs(bundle, c, settings, processor, generator)
    model_checks(inputs)
    runs = train_checks(inputs)
    average_checks(bundle, c, settings, inputs, runs["train"])
    gptq_checks(bundle, settings, generator)
    score_checks(inputs, label, table)
    pipeline_check(inputs, label, table)


def tokenizer_checks(bundle, settings, label, processor, table):
    check = bundle.check(f"byte_table/{label}", "byte_table", tokenizer=label)
    check.exact("bytes", torch.tensor(table.bytes, dtype=torch.int16))
    check.exact("leading_space", torch.tensor(table.leading_space, dtype=torch.uint8))
    check.exact("boundary", torch.tensor(table.boundary, dtype=torch.uint8))
    texts = TEXTS + [" ".join(text.make_text(settings["seed"] + 1, 3))]
    pieces = [processor.encode(t) for t in texts]
    check = bundle.check(f"encode/{label}", "encode", tokenizer=label, texts=texts)
    check.exact("ids", torch.tensor([i for ids in pieces for i in ids], dtype=torch.int32))
    check.exact("counts", torch.tensor([len(ids) for ids in pieces], dtype=torch.int32))
    sizes = [table.bytes_of(torch.tensor([1] + ids[:-1]), torch.tensor(ids)) if ids else 0 for ids in pieces]
    check.exact("bytes", torch.tensor(sizes, dtype=torch.int32))


def data_checks(bundle, c, settings):
    rng = random.Random(settings["seed"])
    folder = os.path.join(bundle.folder, "shards")
    verdicts, good, shards = text.write_shards(folder, rng, c.vocab, settings["loader_shards"])
    s = settings["loader"]
    check = bundle.check("loader", "loader", files="shards/loader_train_*.bin", **s)
    for i, shard in enumerate(shards):
        check.input(f"shard_{i}", torch.tensor(shard, dtype=torch.int32))
    ring = [token for shard in text.read_shards(os.path.join(folder, "loader_train_*.bin")) for token in shard]
    inputs, targets = text.ring_batches(ring, **s)
    check.whole("inputs", inputs.int()).whole("targets", targets.int())
    check = bundle.check("shards", "shards", folder="shards")
    for name, (accepted, tokens) in sorted(verdicts.items()):
        check.exact(name, {"accepted": accepted, "tokens": tokens})
    check.exact("valid_tokens", torch.tensor(good, dtype=torch.int32))


def op_checks(bundle, c, settings, generator):
    normal = lambda *shape: torch.randn(shape, generator=generator)
    length, head, base = 2 * c.sequence, c.head, c.rope_base
    check = bundle.check("rope", "rope", base=base, length=length, head=head)
    values = normal(1, 2, length, head) if bundle.sample_limit > 100 else normal(1, 2, length, head).half().float()
    check.input("values", values)
    low, high = (model.rope_tables(length, head, base, t) for t in (torch.float32, torch.float64))
    check.near("cos", low[0], [high[0]]).near("sin", low[1], [high[1]])
    check.near("rotated", model.rotate(values, *low), [model.rotate(values.double(), *high)], "rotated")
    check = bundle.check("rope_bfloat16", "rope_bfloat16", base=base, length=300, head=head, optional=True)
    tables = model.rope_tables_bfloat16(300, head, base)
    wide = model.rope_tables_bfloat16(300, head, base, rounded=False)
    check.near("cos", tables[0], [wide[0]], factor=3).near("sin", tables[1], [wide[1]], factor=3)

    weight = normal(9, 21)
    weight[0] = 0
    weight[1] *= 1e-6
    weight[2] *= 1e-20
    weight[3] = torch.arange(21) - 10.0  # exact ties for some widths
    weight[4] = (torch.arange(21) - 10.0) * 0.75
    check = bundle.check("fake_quant", "fake_quant", bits=[3, 4, 6, 7]).input("weight", weight)
    for bits in (3, 4, 6, 7):
        rounded = model.fake_quantize(weight, bits)
        check.whole(f"bits_{bits}", rounded)

    s = {"steps": 4, "coefficients": [3.2, -4.4, 1.9], "epsilon": settings["epsilon"]}
    check = bundle.check("newton_schulz", "newton_schulz", **s)
    for i, g in enumerate((normal(20, 9) * 1e-3, normal(8, 19), normal(11, 11) * 30, normal(3, 1), normal(1, 5))):
        check.input(f"g{i}", g)
        high = optimize.newton_schulz(g.double(), **s)
        check.near(f"float32/g{i}", optimize.newton_schulz(g, **s), [high], "float32")
        check.near(f"bfloat16/g{i}", optimize.newton_schulz(g, **s, bfloat16=True), [high], "bfloat16", factor=3)

    check = bundle.check("embedding_init", "embedding_init")
    for i, shape in enumerate(((20, 8), (9, 9), (21, 5))):
        raw = normal(*shape) * 0.004
        check.input(f"raw_{i}", raw)
        check.near(f"result_{i}", quantize.power_law_spectrum(raw), [quantize.power_law_spectrum(raw.double())])

    stride = settings["shuffle_stride"]
    check = bundle.check("byte_shuffle", "byte_shuffle", stride=stride)
    for n in sorted({1, stride - 1, stride, 3 * stride + 1, 50}):
        data = torch.randint(0, 256, (n,), generator=generator, dtype=torch.uint8)
        shuffled = quantize.byte_shuffle(bytes(data.tolist()), stride)
        check.input(f"in_{n}", data).whole(f"out_{n}", torch.tensor(list(shuffled), dtype=torch.uint8))

    check = bundle.check("hessian", "hessian", batches=3)
    batches = [normal(rows, 9) for rows in (10, 25, 7)]
    for i, x in enumerate(batches):
        check.input(f"activations_{i}", x)
    sums = [sum(x.to(t).T @ x.to(t) for x in batches) / 3 for t in (torch.float32, torch.float64)]
    check.near("hessian", sums[0], [sums[1]])


def optimizer_checks(bundle, settings, generator):
    normal = lambda *shape: torch.randn(shape, generator=generator)
    s = settings["muon"]
    check = bundle.check("muon", "muon", **s)
    steps = len(s["rate_factors"])
    for i, shape in enumerate(((14, 6), (6, 14), (9, 9))):
        p, gradients = normal(*shape) * 0.2, normal(steps, *shape) * 0.03
        check.input(f"p{i}", p).input(f"gradients_{i}", gradients)
        for precision in ("float32", "bfloat16"):
            runs = []
            for t in (torch.float32, torch.float64):
                value, buffer, after = p.to(t, copy=True), torch.zeros(shape, dtype=t), []
                for k in range(steps):
                    optimize.muon_step(value, buffer, gradients[k].to(t), s["rate"] * s["rate_factors"][k],
                                       s["momenta"][k], s["weight_decay"], s["newton_schulz_steps"],
                                       precision == "bfloat16" and t == torch.float32)
                    after.append(value.clone())
                runs.append((after, buffer))
            factor = 8 if precision == "float32" else 3
            for k in range(steps):
                check.near(f"{precision}/step_{k + 1}/p{i}", runs[0][0][k], [runs[1][0][k]], precision, factor)
            check.near(f"{precision}/buffer/p{i}", runs[0][1], [runs[1][1]], precision + " buffer")
    s = settings["adamw"]
    check = bundle.check("adamw", "adamw", **s)
    steps = len(s["rate_factors"])
    p, gradients = normal(15, 5), normal(steps, 15, 5) * 10.0 ** (normal(15, 5) * 2 - 2)
    gradients[:, 0] = 0
    check.input("p", p).input("gradients", gradients)
    options = {key: s[key] for key in ("beta1", "beta2", "epsilon", "weight_decay")}
    for precision, storage, factor in (("float32", torch.float32, 8), ("bfloat16", torch.bfloat16, 3)):
        value, wide = p.to(storage, copy=True), p.double()
        adam = optimize.AdamW(p, **options, storage=storage)
        exact = optimize.AdamW(wide, **options, wide=torch.float64)
        for k in range(steps):
            adam.step(value, gradients[k], s["rate"] * s["rate_factors"][k])
            exact.step(wide, gradients[k].double(), s["rate"] * s["rate_factors"][k])
            check.near(f"{precision}/step_{k + 1}", value.clone(), [wide.clone()], precision, factor)
    s = {"first": 0.81, "last": 0.97, "over": 40, "steps": [0, 1, 13, 39, 40, 41, 1000]}
    check = bundle.check("momentum", "momentum", **s)
    for i, step in enumerate(s["steps"]):
        check.near(f"momentum_{i}", optimize.momentum_at(step, s["first"], s["last"], s["over"]), [],
                   tolerance={"max": 1e-9})


def average_checks(bundle, c, settings, inputs, run):
    s = settings["train"]
    check = bundle.check("average", "average", ema=s["ema"], swa_every=s["swa_every"], swa_below=s["swa_below"],
                         rate_factors=s["rate_factors"])
    names = [name for name, _, role in model.parameter_list(c) if role == "vector"][:4]
    states = {name: torch.stack([after[name] for after in run.after]) for name in names}
    averages = []
    for t in (torch.float32, torch.float64):
        start = {n: inputs.parameters[n].to(t) for n in names}
        average = optimize.Average(start, s["ema"], s["swa_every"], s["swa_below"])
        for k, factor in enumerate(s["rate_factors"]):
            average.update({n: states[n][k].to(t) for n in names}, k, factor)
        averages.append(average)
    for name in names:
        check.input(f"start/{name}", key=f"initial/{name}").input(f"states/{name}", states[name])
        check.near(f"ema/{name}", averages[0].ema[name], [averages[1].ema[name]])
        if averages[0].count:
            check.near(f"swa/{name}", averages[0].swa[name], [averages[1].swa[name]])
        check.near(f"final/{name}", averages[0].final()[name], [averages[1].final()[name]])
    s = {"seconds": 300.0, "warmdown": 0.4, "elapsed_seconds": [0.0, 179.9, 180.0, 180.5, 240.0, 299.99, 300.0, 312.0],
         "steps": [0, 50, 51, 52, 80, 99, 100, 104]}
    check = bundle.check("schedule", "schedule", **s)
    for i, elapsed in enumerate(s["elapsed_seconds"]):
        check.near(f"factor_{i}", optimize.schedule(elapsed, s["seconds"], s["warmdown"]), [], tolerance={"max": 1e-9})
    s = {"steps_total": 70, "warmdown_steps": 31, "steps": [0, 38, 39, 40, 55, 69, 70]}
    check = bundle.check("schedule_by_steps", "schedule_by_steps", **s)
    for i, step in enumerate(s["steps"]):
        check.near(f"factor_{i}", optimize.schedule_by_steps(step, s["steps_total"], s["warmdown_steps"]), [],
                   tolerance={"max": 1e-9})


def gptq_case(generator, rows, columns, kind):
    """A weight and a Hessian; `kind` says how difficult the Hessian is."""
    x = torch.randn((3 * columns, columns), generator=generator, dtype=torch.float64)
    x = x @ torch.randn((columns, columns), generator=generator, dtype=torch.float64) * columns**-0.5
    x = x * torch.exp(torch.randn(columns, generator=generator, dtype=torch.float64))
    if kind == "dead":
        x[:, 1::5] = 0
    hessian = (x.T @ x / 4).float()
    if kind in ("retry", "hopeless"):
        # Indefinite: the smallest eigenvalue lies below what 1 % (or 100 %) of the mean diagonal lifts above zero.
        mean, eye = hessian.diagonal().mean(), torch.eye(columns)
        smallest = torch.linalg.eigvalsh(hessian.double())[0].float()
        lift = 0.05 if kind == "retry" else 2.5
        v = torch.randn(columns, generator=generator)
        v = v / v.norm()
        if kind == "retry":
            hessian = hessian - (smallest + lift * mean) * eye
        else:
            hessian = hessian - (v @ hessian @ v + lift * mean) * torch.outer(v, v)
        hessian = (hessian + hessian.T) / 2
    weight = torch.randn((rows, columns), generator=generator) * columns**-0.5
    return weight, hessian


def gptq_checks(bundle, settings, generator):
    bits, block = settings["gptq_bits"], settings["gptq_block"]
    cases = (("square", 8, 12, bits), ("odd", 3, 29, bits), ("dead", 6, 17, bits), ("retry", 7, 9, bits),
             ("hopeless", 4, 6, bits), ("wide", 2, 23, 6 if bits < 6 else 5), ("single", 4, 1, bits))
    for name, rows, columns, width in cases:
        top = 2 ** (width - 1) - 1
        for _ in range(200):  # until no value comes near a rounding tie
            weight, hessian = gptq_case(generator, rows, columns, name)
            ties = []
            damping, codes, steps, decoded = quantize.gptq(weight.double(), hessian.double(), top, block, ties)
            near, *_ = low = quantize.gptq(weight, hessian, top, block)
            wanted = {"retry": 0.1, "hopeless": None}.get(name, 0.01)
            if damping == near == wanted and (wanted is None or (min(ties) > 3e-4 and torch.equal(codes, low[1]))):
                break
        else:
            raise SystemExit(f"gptq/{name}: no case without ties was found")
        check = bundle.check(f"gptq/{name}", "gptq", top=top, bits=width, block=block)
        check.input("weight", weight).input("hessian", hessian).exact("damping", damping)
        if damping is not None:
            check.whole("codes", low[1])
            check.whole("steps", low[2])
            again, again_steps = quantize.round_rows(low[3], top)
            check.whole("export_codes", again)
            check.whole("export_steps", again_steps.half())
        check.whole("decoded", low[3])
