# SPDX-License-Identifier: GPL-3.0-or-later
"""The innermost product of factorisations on CPUs: a tile of ROWS times COLUMNS numbers that stays in registers.

A loop in Python's syntax leaves a tile's sums in memory, and takes twice the time.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

ROWS, COLUMNS = 4, 8  # numba's cache of what calls these does not notice when they change: remove it then

_ARRAY, _INDEX = types.Array(types.float64, 1, "C"), types.intp
_TILE_ROW = ir.VectorType(ir.DoubleType(), COLUMNS)
_TOGETHER = ("contract",)  # a product and a difference may be one instruction, where the processor has it


def _subtract_products(typing_context, u, u_at, u_step, v, v_at, v_step, tile, tile_at, tile_step, count):
    """Return the signature, and what writes the instructions."""
    signature = types.void(_ARRAY, _INDEX, _INDEX, _ARRAY, _INDEX, _INDEX, _ARRAY, _INDEX, _INDEX, _INDEX)

    def generate(context, builder, signature, arguments):
        *places, count = arguments
        data = [context.make_array(_ARRAY)(context, builder, places[k]).data for k in (0, 3, 6)]
        (u_at, u_step), (v_at, v_step), (tile_at, tile_step) = (places[k : k + 2] for k in (1, 4, 7))
        zero, one = (ir.Constant(count.type, number) for number in (0, 1))

        def row_at(array, index):
            return builder.bitcast(builder.gep(array, [index]), _TILE_ROW.as_pointer())

        rows = []
        for _ in range(ROWS):
            rows.append(row_at(data[2], tile_at))
            tile_at = builder.add(tile_at, tile_step)
        given = [builder.load(row, align=8) for row in rows]
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("products", "done"))
        builder.cbranch(builder.icmp_signed(">", count, zero), loop, after)

        builder.position_at_end(loop)
        number, u_now, v_now = (builder.phi(count.type) for _ in range(3))
        sums = [builder.phi(_TILE_ROW) for _ in range(ROWS)]
        across, left = builder.load(row_at(data[1], v_now), align=8), builder.gep(data[0], [u_now])
        less = []
        for q in range(ROWS):
            factor = _spread(builder, builder.load(builder.gep(left, [ir.Constant(count.type, q)])))
            less.append(builder.fsub(sums[q], builder.fmul(across, factor, flags=_TOGETHER), flags=_TOGETHER))
        following = builder.add(number, one)
        for value, first, then in (
            (number, zero, following),
            (u_now, u_at, builder.add(u_now, u_step)),
            (v_now, v_at, builder.add(v_now, v_step)),
            *zip(sums, given, less, strict=True),
        ):
            value.add_incoming(first, before)
            value.add_incoming(then, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)

        builder.position_at_end(after)
        left_over = [builder.phi(_TILE_ROW) for _ in range(ROWS)]
        for row, value, first, then in zip(rows, left_over, given, less, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(then, loop)
            builder.store(value, row, align=8)
        return context.get_dummy_value()

    return signature, generate


subtract_products: Callable[..., None] = intrinsic(_subtract_products)
"""Subtract U^T V from a tile: U [count, ROWS], V [count, COLUMNS] and the tile [ROWS, COLUMNS] lie in flat arrays.

Each is given by its array, where in it the first number is, and how far rows are apart; nothing is checked. Compiled
functions call it with (u, u_at, u_step, v, v_at, v_step, tile, tile_at, tile_step, count).
"""


def _spread(builder, number):
    """A row of a tile with the same number everywhere."""
    nothing, first = ir.Constant(_TILE_ROW, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS)
    return builder.shuffle_vector(builder.insert_element(nothing, number, first), nothing, everywhere)
