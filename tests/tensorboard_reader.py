"""Reads a run's event files with TensorBoard's own reader and compares every tag and value with the run's CSV files.

    pip install tensorboard
    cargo run --release -- train --steps 8000 --out run
    python tests/tensorboard_reader.py run [SUMMARY_DIRECTORY]

The summary directory is `tensorboard` in the run directory unless the run had a --summary-dir of its own.
"""

import collections
import csv
import pathlib
import sys

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def expected_scalars(run):
    """agent -> tag -> [(step, value)], from the CSV files."""
    tags = collections.defaultdict(lambda: collections.defaultdict(list))
    for name in ("metrics.csv", "evaluations.csv", "episodes.csv"):
        for row in rows(run / name):
            of_agent = tags[int(row["agent"])]
            for column, cell in row.items():
                if "/" in column and column != "charts/qmax" and cell:
                    of_agent[column].append((int(row["step"]), float(cell)))
            if name == "episodes.csv":
                of_agent["Reward"].append((int(row["episode"]), float(row["charts/episodic_return"])))
                of_agent["Qmax Value"].append((int(row["episode"]), float(row["charts/qmax"])))
    return tags


def check_agent(directory, expected):
    events = EventAccumulator(str(directory), size_guidance=dict.fromkeys(("scalars", "histograms", "tensors"), 0))
    events.Reload()
    tags = events.Tags()
    assert set(tags["scalars"]) == set(expected), sorted(set(tags["scalars"]) ^ set(expected))
    compared = 0
    for tag, points in expected.items():
        read = [(event.step, np.float32(event.value)) for event in events.Scalars(tag)]
        written = [(step, np.float32(value)) for step, value in points]
        assert read == written, f"{directory} {tag}: {read[:3]} in the event file, {written[:3]} in the CSV"
        compared += len(read)
    weights = [tag for tag in tags["histograms"] if tag.startswith("weights/")]
    actions = [tag for tag in tags["histograms"] if tag.startswith("actions/")]
    # an interrupted run may have saved its agents, but evaluated none
    assert weights and (actions or "eval/episodic_return" not in expected), tags["histograms"]
    for tag in weights + actions:
        for event in events.Histograms(tag):
            histogram = event.histogram_value
            assert sum(histogram.bucket) == histogram.num > 0, tag
            assert histogram.min <= histogram.max <= histogram.bucket_limit[-1], tag
    (text,) = events.Tensors("hyperparameters")
    table = tensor_util.make_ndarray(text.tensor_proto).item().decode()
    settings = [line for line in table.splitlines() if line.startswith("|")]
    assert "|gamma|" in table and len(settings) > 20, table
    return compared, len(expected), len(weights), len(actions), len(settings) - 2


def main():
    run = pathlib.Path(sys.argv[1])
    summaries = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else run / "tensorboard"
    expected = expected_scalars(run)
    assert expected, f"{run} has no rows"
    for agent in sorted(expected):
        directory = summaries / f"agent-{agent:04}"
        compared, scalars, weights, actions, settings = check_agent(directory, expected[agent])
        print(
            f"{directory}: {compared} values of {scalars} scalar tags equal the CSV files; "
            f"histograms of {weights} tensors and {actions} action(s); {settings} settings"
        )


if __name__ == "__main__":
    main()
