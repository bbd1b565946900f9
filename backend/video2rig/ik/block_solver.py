# SPDX-License-Identifier: GPL-3.0-or-later
"""Normal equations of many sequences at once, on any torch device: block cyclic reduction in time.

A banded Cholesky factorisation walks through the frames one after the other, which leaves a GPU idle. Here whole
sets of frames that are not coupled with each other are eliminated together, so that T frames take log2(T) rounds
of batched factorisations and products. That is about five times the arithmetic of the band: on a CPU, or for a
single short sequence, the band is faster.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import cholesky_ex, solve_triangular
from torch.nn.functional import pad


def solve_block_pentadiagonal(hessian: Tensor, bands: Tensor, right_side: Tensor) -> tuple[Tensor, Tensor]:
    """Solve symmetric positive definite systems whose frames are coupled by diagonals over one and two frames.

    Every third frame is eliminated first: these are not coupled with each other, and to the four frames around them
    by diagonals alone. What remains is block tridiagonal in pairs of frames, for cyclic reduction (Heller 1976,
    "Some aspects of the cyclic reduction algorithm for block tridiagonal linear systems", SIAM J. Numer. Anal. 13).
    All of it is the Cholesky factorisation of the matrix in another order of its frames. It is therefore as stable,
    and it fails exactly where the matrix is not positive definite in the precision of its type. Other numbers of lags
    L, as third differences have them, are solved likewise: every (L + 1)th frame first, then blocks of L frames.

    Nothing is read back from the device: the caller waits for it when it looks at ``failed``. The memory it takes is
    some fifteen times the Hessian's. Float32 (with ``torch.set_float32_matmul_precision`` at "highest") is for
    systems whose frames see their unknowns: of 300 frames, 1e-6 to 1e-5 of the largest unknown is lost where the data
    outweighs the second differences, 1e-3 where they weigh 1e4 times as much, and where little but damping keeps an
    unknown from being singular it may fail.

    Args:
        hessian: [B, T, D, D] blocks of single frames, of B sequences; float32 or float64. Only their lower triangles
            count.
        bands: [B, L + 1, T, D], L >= 1 (2 for second differences), where ``bands[b, k, t, d]`` couples unknown d of
            frame t with that of frame t + k, as :meth:`Smoothness.hessian_bands` has them. ``bands[:, 0]`` is added to
            the diagonals; what would reach beyond the last frame is not looked at.
        right_side: [B, T, D, R].

    Returns:
        The solutions [B, T, D, R], and failed [B] bool: the matrix is not positive definite or something is not
        finite. The solution of such a sequence is NaN; the others are not touched by it.
    """
    batch, frames, size, sides = right_side.shape
    lags = bands.shape[1] - 1
    hessian, bands, right_side = _in_groups(hessian, bands, right_side)
    groups = hessian.shape[1]

    # The first frame of a group, e, is coupled with all after it in its group, and with those of the group before.
    after = torch.stack([bands[:, p, :, 0] for p in range(1, lags + 1)], 2)
    before = torch.stack([bands[:, lags + 1 - p, :-1, p] for p in range(1, lags + 1)], 2)
    before = pad(before, (0, 0, 0, 0, 1, 0))
    factor, info = cholesky_ex(hessian[:, :, 0])
    identity = torch.eye(size, dtype=hessian.dtype, device=hessian.device).expand(batch, groups, size, size)
    rows = solve_triangular(factor, torch.cat([identity, right_side[:, :, 0]], -1), upper=False)
    inverse_factor, reduced = rows.split([size, sides], -1)
    inverse = inverse_factor.mT @ inverse_factor

    def through_e(row: Tensor, column: Tensor) -> Tensor:
        """Return [B, G, L, D, L, D] = diag(row) inverse diag(column), of [B, G, L, D] each."""
        return row[..., None, None] * inverse[:, :, None, :, None, :] * column[:, :, None, None]

    blocks = through_e(after, after).neg_()
    blocks[:, :-1] -= through_e(before, before)[:, 1:]
    coupling = torch.zeros_like(blocks)
    coupling[:, :-1] = through_e(before, after)[:, 1:].neg_()
    for p in range(1, lags + 1):
        blocks[:, :, p - 1, :, p - 1] += hessian[:, :, p]
        for q in range(1, lags + 1):
            if p != q:
                blocks[:, :, p - 1, :, q - 1].diagonal(dim1=-2, dim2=-1).add_(bands[:, abs(p - q), :, min(p, q)])
            if q < p:
                coupling[:, :, p - 1, :, q - 1].diagonal(dim1=-2, dim2=-1).add_(bands[:, lags + 1 + q - p, :, p])
    side_of_e = (inverse_factor.mT @ reduced)[:, :, None]
    block_sides = right_side[:, :, 1:] - after[..., None] * side_of_e
    block_sides[:, :-1] -= (before[..., None] * side_of_e)[:, 1:]

    square = (batch, groups, lags * size, lags * size)
    solved, blocks_failed = _solve_block_tridiagonal(
        blocks.reshape(square), coupling.reshape(square), block_sides.reshape(batch, groups, lags * size, sides)
    )
    solved = solved.reshape(batch, groups, lags, size, sides)
    neighbours = (after[..., None] * solved).sum(2)
    neighbours[:, 1:] += (before[:, 1:, ..., None] * solved[:, :-1]).sum(2)
    eliminated = solve_triangular(factor.mT, reduced - inverse_factor @ neighbours, upper=True)

    solution = torch.cat([eliminated[:, :, None], solved], 2).flatten(1, 2)[:, :frames]
    failed = (info != 0).any(1) | blocks_failed
    for part in (hessian, bands, right_side, solution):  # an infinite diagonal would pass for a zero unknown
        failed |= ~part.isfinite().flatten(1).all(1)
    return solution.masked_fill(failed[:, None, None, None], torch.nan), failed


def _in_groups(hessian: Tensor, bands: Tensor, right_side: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return blocks [B, G, L + 1, D, D], couplings [B, L + 1 (lag), G, L + 1, D], right sides [B, G, L + 1, D, R].

    ``bands[:, 0]`` is in the blocks. What the last group lacks becomes frames of their own with the identity for a
    matrix.
    """
    frames, group = hessian.shape[1], bands.shape[1]
    missing = -frames % group
    hessian = pad(hessian, (0, 0, 0, 0, 0, missing))
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    diagonal[:, :frames] += bands[:, 0]
    diagonal[:, frames:].fill_(1.0)
    bands = pad(bands, (0, 0, 0, missing))
    for lag in range(group):
        bands[:, lag, max(frames - lag, 0) :].zero_()
    right_side = pad(right_side, (0, 0, 0, 0, 0, missing))
    return hessian.unflatten(1, (-1, group)), bands.unflatten(2, (-1, group)), right_side.unflatten(1, (-1, group))


class _Eliminated(NamedTuple):
    """What back-substitution needs of B sequences' blocks that were eliminated together, K of each.

    Attributes:
        factor: [B, K, N, N] their Cholesky factors.
        previous, following: [B, K, N, N] their coupling with the blocks before and after them, and
        right_side: [B, K, N, R], all three multiplied by the inverse factors.
        failed: [B] bool, not positive definite.
    """

    factor: Tensor
    previous: Tensor
    following: Tensor
    right_side: Tensor
    failed: Tensor


def _solve_block_tridiagonal(diagonal: Tensor, coupling: Tensor, right_side: Tensor) -> tuple[Tensor, Tensor]:
    """Solve symmetric positive definite block tridiagonal systems by cyclic reduction.

    Args:
        diagonal: [B, M, N, N]. coupling: [B, M, N, N], rows of block i and columns of block i + 1; the last is zero.
        right_side: [B, M, N, R].

    Returns:
        The solutions [B, M, N, R], and failed [B] bool: not positive definite.
    """
    levels: list[_Eliminated] = []
    while diagonal.shape[1] > 1:
        eliminated, diagonal, coupling, right_side = _eliminate_odd_blocks(diagonal, coupling, right_side)
        levels.append(eliminated)
    factor, info = cholesky_ex(diagonal)
    solution = solve_triangular(factor.mT, solve_triangular(factor, right_side, upper=False), upper=True)
    failed = (info != 0).any(1)
    for eliminated in reversed(levels):
        solution = _insert_odd_blocks(eliminated, solution)
        failed = failed | eliminated.failed
    return solution, failed


def _eliminate_odd_blocks(
    diagonal: Tensor, coupling: Tensor, right_side: Tensor
) -> tuple[_Eliminated, Tensor, Tensor, Tensor]:
    """Eliminate blocks 1, 3, 5 ... and return them, and the system of the others, which they couple."""
    blocks, size, sides = right_side.shape[1:]
    odd = blocks // 2
    between = blocks - odd - 1  # odd blocks that have a block after them too
    factor, info = cholesky_ex(diagonal[:, 1::2])
    neighbours = torch.cat([coupling[:, 0 : 2 * odd : 2].mT, coupling[:, 1::2], right_side[:, 1::2]], -1)
    rows = solve_triangular(factor, neighbours, upper=False)
    previous, following, reduced = rows.split([size, size, sides], -1)
    eliminated = _Eliminated(factor, previous, following, reduced, (info != 0).any(1))

    diagonal, right_side = diagonal[:, 0::2].clone(), right_side[:, 0::2].clone()
    coupling = torch.zeros_like(diagonal)
    products = previous.mT @ rows
    diagonal[:, :odd] -= products[..., :size]
    coupling[:, :odd] -= products[..., size : 2 * size]
    right_side[:, :odd] -= products[..., 2 * size :]
    products = following[:, :between].mT @ rows[:, :between, :, size:]
    diagonal[:, 1:] -= products[..., :size]
    right_side[:, 1:] -= products[..., size:]
    return eliminated, diagonal, coupling, right_side


def _insert_odd_blocks(eliminated: _Eliminated, even: Tensor) -> Tensor:
    """Return the solution [B, M, N, R] of all blocks, given that of blocks 0, 2, 4 ..."""
    odd = eliminated.factor.shape[1]
    between = even.shape[1] - 1
    reduced = eliminated.right_side - eliminated.previous @ even[:, :odd]
    reduced[:, :between] -= eliminated.following[:, :between] @ even[:, 1:]
    solution = even.new_empty(even.shape[0], even.shape[1] + odd, *even.shape[2:])
    solution[:, 0::2] = even
    solution[:, 1::2] = solve_triangular(eliminated.factor.mT, reduced, upper=True)
    return solution
