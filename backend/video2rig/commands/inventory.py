# SPDX-License-Identifier: GPL-3.0-or-later
"""`models`, `fetch` and `doctor`: which detectors and weights are here, and whether all is well."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from ..settings import DEVICES


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    models = commands.add_parser("models", help="list the detectors, or add the weights of one")
    actions = models.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="what there is: keypoints, licence, size, accuracy, where the weights are")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(run=_list_models)
    adding = actions.add_parser("add", help="take a file of weights that is not fetched, and show its licence")
    adding.add_argument("name", metavar="DETECTOR", help="as `models list` names it")
    adding.add_argument("file", type=Path, metavar="FILE", help="the file, or the .zip that holds it")
    adding.set_defaults(run=_add_model)

    fetch = commands.add_parser("fetch", help="fetch a detector's weights, and show their licence")
    fetch.add_argument("name", metavar="DETECTOR", help="as `models list` names it")
    fetch.set_defaults(run=_fetch)

    doctor = commands.add_parser("doctor", help="tell what is installed, and what is wrong")
    doctor.add_argument("--json", action="store_true")
    doctor.add_argument("--device", choices=DEVICES, default="auto", help="where the networks should run")
    doctor.set_defaults(run=_doctor)


def _list_models(options: argparse.Namespace) -> int:
    from ..detection import catalogue

    lines = catalogue.status()
    as_json = [line.to_json() for line in lines]
    print(json.dumps(as_json, indent=2) if options.json else catalogue.format_status(lines))
    return 0


def _add_model(options: argparse.Namespace) -> int:
    from ..detection import catalogue

    print("\n".join(catalogue.licences(options.name)))
    print(f"added: {catalogue.add(options.name, options.file)}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from ..detection import catalogue

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print("\n".join(catalogue.licences(options.name)))
    for name, path in catalogue.fetch(options.name).items():
        print(f"{name}: {path}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from ..doctor import format_report, report

    facts = report(options.device)
    print(json.dumps(facts, indent=2) if options.json else format_report(facts))
    return 1 if facts["problems"] else 0
