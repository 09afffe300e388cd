"""The protocols, one file each: the formula, its messages in order, its offline and its online half.

Every protocol `f` has `f_offline(p, ...)`, which makes its material before any input exists, and
`f(p, ..., made)`. Both run at both roles and, with a priced party, at neither.
"""
