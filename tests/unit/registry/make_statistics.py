"""Makes statistics_values.json: tests and powers by SciPy, on generated seed studies. Needs numpy and scipy.

    python3 tests/unit/registry/make_statistics.py > tests/unit/registry/statistics_values.json
"""
import json

import numpy as np
import scipy
from scipy import stats


def floats(values):
    return [float(v) for v in values]


def study(rng, n_baseline, n_candidate, shift, spread, shared):
    """Scores near 1.1 bits a byte; paired ones share a part of their noise."""
    noise = rng.normal(0, spread * shared, max(n_baseline, n_candidate))
    baseline = 1.12 + noise[:n_baseline] + rng.normal(0, spread, n_baseline)
    candidate = 1.12 + shift + noise[:n_candidate] + rng.normal(0, spread * rng.uniform(0.3, 2), n_candidate)
    return baseline, candidate


def of(result, interval):
    return {"p": float(result.pvalue), "t": float(result.statistic), "freedom": float(result.df),
            "low": float(interval.low), "high": float(interval.high)}


def main():
    rng = np.random.default_rng(20260401)
    cases = []
    for i in range(40):
        n = int(rng.integers(2, 12))
        m = n if i % 2 == 0 else int(rng.integers(2, 12))
        shift = float(rng.choice([0, -0.0003, -0.002, 0.01, -0.1]))
        confidence = float(rng.choice([0.9, 0.95, 0.99]))
        a, b = study(rng, n, m, shift, float(rng.choice([1e-4, 1e-3, 1e-2])), float(rng.choice([0, 1, 5])))
        case = {"baseline": floats(a), "candidate": floats(b), "confidence": confidence}
        welch = stats.ttest_ind(b, a, equal_var=False)
        case["welch"] = of(welch, welch.confidence_interval(confidence))
        case["welch"]["p_below"] = float(stats.ttest_ind(b, a - 0.002, equal_var=False, alternative="less").pvalue)
        if n == m:
            paired = stats.ttest_rel(b, a)
            case["paired"] = of(paired, paired.confidence_interval(confidence))
            case["paired"]["p_below"] = float(stats.ttest_rel(b, a - 0.002, alternative="less").pvalue)
        cases.append(case)

    powers = []
    for ratio in (0.2, 0.5, 1.0, 2.0, 4.0):
        for n in (2, 3, 5, 11, 40):
            for paired in (True, False):
                for one_sided in (True, False):
                    freedom = n - 1 if paired else 2 * n - 2
                    shift = ratio * np.sqrt(n if paired else n / 2)
                    bound = stats.t.isf(0.01 if one_sided else 0.005, freedom)
                    power = stats.nct.sf(bound, freedom, shift)
                    if not one_sided:
                        power += stats.nct.cdf(-bound, freedom, shift)
                    if not np.isfinite(power):
                        continue  # SciPy's series gives up for a far tail
                    powers.append({"difference": ratio * 0.001, "deviation": 0.001, "n": n, "alpha": 0.01,
                                   "paired": paired, "one_sided": one_sided, "power": float(power)})

    p = floats(rng.uniform(0, 0.2, 9))
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate((len(p) - np.arange(len(p))) * np.array(p)[order]))
    print(json.dumps({"scipy": scipy.__version__, "cases": cases, "powers": powers,
                      "holm": {"p": p, "corrected": floats(corrected)}}, indent=1))


main()
