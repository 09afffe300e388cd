"""Oblivious transfer, semi-honest, 128 bits: base, IKNP, silent; protocols use `pool.Pool`."""
