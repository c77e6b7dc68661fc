"""The checks of scores, test-time training, quantized models and of the run as a whole."""
import torch

from . import model, optimize, quantize, score, text
from .make_model_checks import moved


def score_checks(inputs, label, table):
    c, s, tokens = inputs.c, inputs.settings, inputs.validation
    both = (inputs.parameters, inputs.double())
    check = inputs.check("eval_flat", "eval_flat", sequence=c.sequence, tokenizer=label)
    check.inputs["tokens"] = "validation/tokens"
    write_scores(check, [score.flat(c, p, tokens, c.sequence, table) for p in both])
    check = inputs.check("eval_sliding", "eval_sliding", sequence=c.sequence, tokenizer=label, stride=s["stride"])
    check.inputs["tokens"] = "validation/tokens"
    write_scores(check, [score.sliding(c, p, tokens, c.sequence, s["stride"], table) for p in both])
    n = score.target_count(tokens, c.sequence)
    check.exact("windows", torch.tensor(score.windows(n, c.sequence, s["stride"])).int())
    length = c.sequence
    cases = [(5 * length, 3), (4 * length + 7, length), (length, 2), (length - 1, 2), (203, 5), (0, 1)]
    cases = [{"targets": n, "sequence": c.sequence, "stride": stride} for n, stride in cases]
    check = inputs.bundle.check("windows", "windows", cases=cases)
    for i, case in enumerate(cases):
        check.exact(f"case_{i}", torch.tensor(score.windows(**case)).reshape(-1, 3).int())
    ttt_check(inputs, label, table)
    quantized_checks(inputs)


def write_scores(check, results):
    check.exact("tokens", results[0]["tokens"]).exact("bytes", results[0]["bytes"])
    for key in ("loss", "bits_per_byte"):
        check.near(key, results[0][key], [results[1][key]])


def ttt_check(inputs, label, table):
    c, tokens = inputs.c, inputs.validation
    settings = {"sequence": c.sequence} | inputs.settings["ttt"] | {"tokenizer": label, "fake_quant": False, "world": 1}
    check = inputs.check("ttt", "ttt", **settings)
    check.inputs["tokens"] = "validation/tokens"
    runs = [score.TestTimeTraining(c, p, tokens, settings, table) for p in (inputs.parameters, inputs.double())]
    for i, chunk in enumerate(runs[0].chunks):
        check.exact(f"chunk_{i}/tokens", chunk["tokens"]).exact(f"chunk_{i}/bytes", chunk["bytes"])
        check.near(f"chunk_{i}/rate", chunk["rate"], [], tolerance={"max": 1e-9})
        check.near(f"chunk_{i}/nats", chunk["nats"], [runs[1].chunks[i]["nats"]], "nats")
    check.exact("windows", torch.tensor(runs[0].windows).int())
    for name in inputs.chosen(0):
        role = inputs.roles[name]
        check.near(f"after_chunk_0/{name}", runs[0].after_first[name], [runs[1].after_first[name]], "first " + role)
    for name in inputs.chosen(1):
        role = inputs.roles[name]
        check.near(f"after_all/{name}", runs[0].after_all[name], [runs[1].after_all[name]], "all " + role)
    check.near("bits_per_byte", runs[0].bits_per_byte, [runs[1].bits_per_byte], "nats")


def mean_loss(inputs, parameters):
    with torch.no_grad():
        return model.Forward(inputs.c, parameters, inputs.tokens).token_loss(inputs.targets).mean().item()


def quantized_checks(inputs):
    c, s = inputs.c, inputs.settings
    calibration = [inputs.take(rows * 15).view(rows, 15) for rows in (4, 2)]
    keys = {f"calibration_{i}": inputs.bundle.add(f"calibration/{i}", x) for i, x in enumerate(calibration)}
    check = inputs.check("model_hessians", "model_hessians", batches=len(calibration))
    check.inputs |= keys
    low, high = (quantize.model_hessians(c, p, calibration) for p in (inputs.parameters, inputs.double()))
    for name in (n for n in inputs.chosen(1) if inputs.roles[n] == "matrix"):
        check.near(name, low[name], [high[name]], "hessian")
        check.near(name + "/diagonal", low[name].diagonal(), [high[name].diagonal()], "hessian")

    keep, bits = s["keep_float_elements"], s["export_bits"]
    tops = [2 ** (bits[role] - 1) - 1 for role in ("matrix", "embedding")]
    export = quantize.Export(c, inputs.parameters, *tops, keep)
    check = inputs.check("export", "export", with_batch=True, bits=bits, keep_float_elements=keep)
    for name in inputs.chosen():
        if name in export.codes:
            check.exact(f"codes/{name}", export.codes[name])
            check.exact(f"steps/{name}", export.steps[name])
            decoded = export.decoded[name]
            check.near(f"decoded/{name}", decoded, [decoded.double()], "decoded")
        else:
            check.exact(f"kept/{name}", export.kept[name])
            if export.kept[name] == "float16" and name.startswith("blocks.0"):
                value = inputs.parameters[name].half()
                check.whole(f"values/{name}", value)
    check.near("loss", mean_loss(inputs, export.decoded),
               [mean_loss(inputs, {n: v.double() for n, v in export.decoded.items()})], "loss")

    top = 2 ** (s["gptq_bits"] - 1) - 1
    check = inputs.check("gptq_model", "gptq_model", with_batch=True, top=top, bits=s["gptq_bits"],
                         block=s["gptq_block"], keep_float_elements=keep)
    check.inputs |= keys
    runs = []
    for p in (inputs.parameters, inputs.double(), *(moved(inputs.parameters, k) for k in range(3))):
        hessians, codes, decoded = quantize.gptq_model(c, p, calibration, top, s["gptq_block"])
        exported = quantize.Export(c, decoded, top, 127, keep).decoded
        goals = {n: quantize.objective(hessians[n], p[n], decoded[n]) for n in hessians}
        runs.append((codes, goals, mean_loss(inputs, exported)))
    first, others = runs[0], runs[1:]
    names = list(first[0])
    for name in (names[0], names[1], names[-1]):
        check.fraction(f"codes/{name}", first[0][name], [o[0][name] for o in others])
    for name in (n for n in names if n in inputs.chosen()):
        check.near(f"objective/{name}", first[1][name], [o[1][name] for o in others], "objective")
    check.near("loss", first[2], [o[2] for o in others], "loss")
    unquantized = [mean_loss(inputs, p) for p in (inputs.parameters, inputs.double())]
    check.near("loss_unquantized", unquantized[0], unquantized[1:], "exact_loss")


def pipeline_check(inputs, label, table):
    c, s = inputs.c, inputs.settings
    micro = 4
    training = s["train"] | {"micro_steps": micro, "tokens_per_step": micro * c.sequence, "fake_quant": True,
                             "newton_schulz": "float32", "warm_up_steps_undone": 2}
    ttt = {"sequence": c.sequence, **s["ttt"], "tokenizer": label, "fake_quant": False, "world": 1}
    top, keep = 2 ** (s["gptq_bits"] - 1) - 1, s["keep_float_elements"]
    check = inputs.check("pipeline", "pipeline", **training, sequence=c.sequence, stride=s["stride"], top=top,
                         keep_float_elements=keep, ttt=ttt, tokenizer=label)
    steps = len(training["rate_factors"])
    stream = inputs.take(steps * micro * (c.sequence + 1) - 10)  # the last takes run over the ring's end
    check.input("train_tokens", stream)
    check.inputs["validation_tokens"] = "validation/tokens"
    calibration = [inputs.take(rows * 13).view(rows, 13) for rows in (3, 2)]
    for i, x in enumerate(calibration):
        check.input(f"calibration_{i}", x)
    x, y = text.ring_batches(stream.tolist(), 1, micro, micro * c.sequence, c.sequence, steps)
    batches = lambda step: [(x[step, m, 0], y[step, m, 0]) for m in range(micro)]
    runs = []
    for p in (inputs.parameters, inputs.double(), *(moved(inputs.parameters, k) for k in range(3))):
        run = optimize.Training(c, p, training, batches)
        final = run.average.final()
        _, _, decoded = quantize.gptq_model(c, final, calibration, top, 128)
        weights = quantize.Export(c, decoded, top, 127, keep).decoded
        flat = lambda q: score.flat(c, q, inputs.validation, c.sequence, table)
        runs.append((run.losses, {
            "val_before": flat(p), "val_last_step": flat(run.after[-1]), "round_trip": flat(weights),
            "sliding": score.sliding(c, weights, inputs.validation, c.sequence, s["stride"], table),
            "ttt": {"bits_per_byte":
                    score.TestTimeTraining(c, weights, inputs.validation, ttt, table).bits_per_byte}}))
    first, others = runs[0], runs[1:]
    for k in range(steps):
        check.near(f"train_loss/step_{k + 1}", first[0][k], [o[0][k] for o in others], "first" if k == 0 else "train")
    for part, values in first[1].items():
        for key in ("loss", "bits_per_byte"):
            if key in values:
                group = "before" if part == "val_before" else "scores"
                check.near(f"{part}/{key}", values[key], [o[1][part][key] for o in others], group)
