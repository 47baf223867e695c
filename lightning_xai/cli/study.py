"""``lightning-xai study``: a paper's tables, figures and claims, on networks and images that are at hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_xai.cli.compare import device_named
from lightning_xai.cli.printing import print_table
from lightning_xai.comparison.storage.lease import SECONDS
from lightning_xai.studies.declaration import list_studies
from lightning_xai.studies.study import Study
from lightning_xai.studies.training.trained_networks import TrainedNetworks

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def parser() -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from jsonargparse import ArgumentParser

    made = ArgumentParser(description="Run a paper's study: tables, figures, claims. See docs/studies.md.")
    made.add_argument("name", type=str, help=f"{', '.join(list_studies())}, or a folder with a study.yaml.")
    made.add_argument("--scale", type=str, default="small", help="small (minutes, offline), medium (overnight), paper.")
    made.add_argument("--data", type=str | None, help="Folder of the paper's data, for the scale paper.")
    made.add_argument("--download", action="store_true", help="Let data and weights be downloaded.")
    made.add_argument("--limit", type=int | None, help="At most so many images of each data.")
    made.add_argument("--seeds", type=int | None, help="So many trainings of each network.")
    made.add_argument("--only", type=list[str], default=[], help="Tables, figures or claims, and what they need.")
    made.add_argument("--output", type=str | None, help="Folder of all files; xai_studies/<name>/<scale> if left out.")
    made.add_argument(
        "--networks",
        type=str | None,
        help="Folder of trained networks, which studies share; <output>/networks if left out.",
    )
    made.add_argument("--device", type=str, default="auto", help="auto takes a GPU if there is one.")
    made.add_argument("--lease", type=float, default=SECONDS, help="Seconds until a dead process's work is taken over.")
    made.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
    return made


def prepared(arguments: Namespace) -> Callable[[], int]:
    """Return what runs the study, or tells what it would do; the declaration is checked before."""
    study = Study.load(
        arguments.name,
        arguments.scale,
        data=arguments.data,
        download=arguments.download,
        limit=arguments.limit,
        seeds=arguments.seeds,
        only=arguments.only,
    )
    output = Path(arguments.output or Path("xai_studies") / study.name / study.scale)
    networks = Path(arguments.networks or output / "networks")
    if arguments.dry_run:
        return partial(_forecast, study, output, networks)
    return partial(_run, study, output, networks, device_named(arguments.device), arguments.lease)


def _run(study: Study, output: Path, networks: Path, device: str, lease: float) -> int:
    """Run the study, print what it says, write everything; return 1 if something failed, else 0."""
    result = study.run(
        output, networks=networks, device=device, lease=lease, told=lambda line: sys.stderr.write(f"{line}\n")
    )
    print_table(result)
    sys.stdout.write(f"{result.write(output)}\n")
    for error in result.errors:
        sys.stderr.write(f"lightning-xai: error: {error}\n")
    return 1 if result.errors else 0


def _forecast(study: Study, output: Path, networks: Path) -> int:
    """Say which networks are left to train, and what the comparisons whose networks are there cost."""
    kept = TrainedNetworks(networks)
    for name, part in study.parts.items():
        left = kept.left_of([one.recipe for one in part.trained()])
        if left:
            comparison_cells = len(list(part.trained())) + len(part.models)
            sys.stdout.write(f"{name}: {len(left)} networks to train first, {comparison_cells} networks to explain.\n")
        else:
            for comparison in part.comparisons(kept, output):
                sys.stdout.write(f"{name}: {comparison.forecast()}\n")
    return 0
