"""Oblivious transfer, semi-honest, 128 bits: base, then IKNP, then silent; `pool.Pool` is what protocols use."""
