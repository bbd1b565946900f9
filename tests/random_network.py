# SPDX-License-Identifier: GPL-3.0-or-later
"""A small regression network with random weights, for what must hold whatever was learnt."""

from __future__ import annotations

import torch

from video2rig.human import default_human
from video2rig.regression.network import Shape, TemporalNetwork


def random_network(shape: Shape | None = None, seed: int = 0) -> TemporalNetwork:
    """A network none of whose layers is silent, as those of a new network are."""
    shape = Shape(width=16, dilations=(1, 3)) if shape is None else shape
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = TemporalNetwork(default_human(), shape)
        for parameter in network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return network.eval()
