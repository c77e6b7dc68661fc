#!/usr/bin/env python3
"""kill -9 at random moments, runner and children, during a sweep of ten small runs; then the sweep is resumed, and its
result must be an undisturbed sweep's: no run twice, no torn file. Standard library only.
  python3 tools/dev/kill_sweep.py build/bin/caddie [moments] [seed]"""
import json, os, random, signal, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SWEEP = """sweep: ten
base: {base}
seeds: [1, 2]
overrides: {{train.stop.steps: 60}}
variants:
  base: {{}}
  round: {{quantize.tensors[match=matrix].use: round}}
  four_bits: {{quantize.tensors[match=matrix].bits: 4}}
  store: {{compress.use: store}}
  slow: {{optimizers[match=matrix].learning_rate: 0.01}}
"""


class Place:
    def __init__(self, program, folder):
        self.program, self.folder = program, Path(folder)
        self.runs = self.folder / "runs"
        self.file = self.folder / "ten.yaml"
        text = SWEEP.format(base=ROOT / "tests/integration/tiny.yaml")
        for word in ("quantize.tensors[match=matrix].use", "quantize.tensors[match=matrix].bits",
                     "optimizers[match=matrix].learning_rate"):
            text = text.replace(word, f'"{word}"')
        self.file.write_text(text)
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", CADDIE_SLOTS=str(self.folder / "slots"))

    def start(self, *words):
        command = [self.program, "sweep", *words, "--runs", str(self.runs), "--cache", str(self.folder / "cache"), "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)

    def result(self, *words):
        process = self.start(*words)
        out, err = process.communicate(timeout=600)
        if process.returncode != 0:
            sys.exit(f"{words}: exit {process.returncode}\n{err}")
        return json.loads(out.strip().splitlines()[-1])

    def sweep(self):
        found = [p for p in (self.runs / "sweeps").glob("2*") if (p / "plan.json").exists()]
        return found[0] if found else None

    def children(self):
        """Processes of jobs that run now, by the locks that they hold."""
        pids = []
        for lock in (self.sweep() / "locks").glob("*_s*.lock") if self.sweep() else []:
            text = lock.read_text().strip()
            if text and os.path.exists(f"/proc/{text}/exe") and "ten" in Path(f"/proc/{text}/cmdline").read_text():
                pids.append(int(text))
        return pids


def comparable(result):
    rows = [{k: run[k] for k in ("name", "seed", "status", "metrics")} for run in result["runs"]]
    return {"runs": rows, "stages": result["stages"]}


def check_files(place):
    for path in place.runs.rglob("*.json"):
        json.loads(path.read_text())
    left = [p for p in place.runs.rglob("*.tmp.*")]
    folders = [p for p in place.runs.iterdir() if p.name != "sweeps"]
    assert len(folders) == 10, f"{len(folders)} run folders for 10 jobs"
    trained = list((place.folder / "cache" / "train").glob("??/*/entry.json"))
    assert len(trained) == 4, f"{len(trained)} trainings for 2 recipes and 2 seeds"
    return len(left)


def main():
    program = str(Path(sys.argv[1]).resolve())
    moments = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    with tempfile.TemporaryDirectory() as folder:
        began = time.time()
        expected = comparable(Place(program, folder).result("run", str(Path(folder) / "ten.yaml")))
        length = time.time() - began
    print(f"undisturbed: {length:.1f} s, {expected['stages']}")
    killed = {"runner": 0, "run": 0, "late": 0}
    left = 0
    done = 0
    while done < moments:
        with tempfile.TemporaryDirectory() as folder:
            place = Place(program, folder)
            words = ["run", str(place.file)]
            for _ in range(min(4, moments - done)):
                process = place.start(*words)
                time.sleep(rng.uniform(0.05, 0.3 * length))
                victims = place.children()
                if process.poll() is not None:  # it was over before the moment came, which does not count
                    killed["late"] += 1
                    process.communicate()
                    break
                done += 1
                if victims and rng.random() < 0.5:
                    os.kill(rng.choice(victims), signal.SIGKILL)
                    killed["run"] += 1
                    if rng.random() < 0.5:
                        process.kill()
                        killed["runner"] += 1
                else:
                    process.kill()
                    killed["runner"] += 1
                if process.poll() is None and process.returncode is None and rng.random() < 0.5:
                    time.sleep(rng.uniform(0, 0.3))
                    process.kill()
                process.communicate()
                words = ["resume"] if place.sweep() else words
            result = comparable(place.result(*words))
            if result != expected:
                sys.exit(f"another result:\n{json.dumps(result)}\n{json.dumps(expected)}")
            left += check_files(place)
            print(f"{done}/{moments} moments, killed so far {killed}: the same result")
    print(f"all the same; {left} temporary files of killed processes were left")


if __name__ == "__main__":
    main()
