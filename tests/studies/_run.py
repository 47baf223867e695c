"""A process of a study, for tests: ``python -m tests.studies._run STUDY FOLDER``."""

import sys

import torch

from lightning_xai.studies import Study


def values_of(study, folder, told=lambda _: None):
    """Return every value of a study, with all digits: of its comparison, its networks, its analysis, its verdicts."""
    result = Study.load(study).run(folder, lease=60.0, progress=False, told=told)
    networks = [(one.name, dict(one.scores)) for one in result.findings.networks.values()]
    analyses = [one.rows for one in result.findings.analyses.values()]
    return f"{result.findings.parts['main'].to_csv()}{networks}{analyses}{result.claims.rows}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = values_of(sys.argv[1], sys.argv[2], told=lambda line: print(line, flush=True))
    print(f"found {found}", flush=True)
