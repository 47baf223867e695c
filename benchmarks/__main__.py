"""Run the benchmarks: `python -m benchmarks [--quick] [--only NAME ...] [--out FILE] [--device cpu] [--threads 1]`."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.result import Result
from benchmarks.setting import Setting
from lightning_xai.cli.allocator import keep_freed_memory

NAMES = (
    "cam_cost",
    "cam_samples_cost",
    "gradient_cost",
    "curve_cost",
    "forward_sizes",
    "cheaper_forwards",
    "curve_memory",
    "memory",
    "curve_error",
    "sampling_error",
    "channel_error",
    "skill_error",
    "perturbation_cost",
    "suite_cost",
    "probe_cost",
    "preserved_cost",
    "monitor_cost",
    "epoch_share",
    "metric_throughput",
    "comparison",
    "equal_error",
    "equal_error_vit",
    "false_stops",
    "shortcut_alarm",
    "false_alarms",
    "report_cost",
)
_WIDTH = 160  # a table that is cut where output goes to a file is of no use


def main() -> None:
    options = _options()
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    setting = Setting(torch.device(options.device), options.quick)
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(setting.described())
    results: dict[str, Result] = {}
    for name in options.only or NAMES:
        results[name] = importlib.import_module(f"benchmarks.{name}").run(setting)
        console.print(results[name].table())
        if options.out is not None:  # after each one, so that a run cut short leaves what it found
            _write(options.out, setting, results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What explaining costs.")
    parser.add_argument("--quick", action="store_true", help="fewest repeats, small sizes: shows that all of it runs")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU; with one, CPU time is work only")
    return parser.parse_args()


def _write(path: Path, setting: Setting, results: dict[str, Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {name: result.plain() for name, result in results.items()}
    path.write_text(json.dumps({"environment": setting.described(), "results": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
