"""The two roles of every protocol."""

from __future__ import annotations

from enum import Enum


class Role(str, Enum):
    SERVER = "server"
    CLIENT = "client"

    @property
    def other(self) -> Role:
        return CLIENT if self is SERVER else SERVER


SERVER, CLIENT = Role.SERVER, Role.CLIENT
