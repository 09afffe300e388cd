"""Options that would be passed over unseen are refused, before anything is read."""

from __future__ import annotations

import pytest
from command import called

SERVER = ("--listen", "--weights")
CLIENT = ("--connect", "--tls-ca")
ASKING = ("--input", "--text", "--text-pair", "--text-file", "--tokenizer", "--labels", "--out")


@pytest.mark.parametrize(
    ("verb", "role", "owner", "option"),
    [
        *[(verb, "client", "server", each) for verb in ("run", "prepare") for each in SERVER],
        *[(verb, "server", "client", each) for verb in ("run", "prepare") for each in CLIENT],
        *[("run", "server", "client", each) for each in ASKING],
        ("prepare", "server", "client", "--seq-len"),
        ("prepare", "server", "client", "--prompt-len"),
    ],
)
def test_what_belongs_to_the_other_side(verb, role, owner, option):
    done = called(verb, "none.bin", "--role", role, option, "x")
    done.failed(2, f"{option} belongs to the {owner}, and this side is the {role}")


def test_a_flag_of_the_other_side():
    called("run", "none.bin", "--role", "client", "--once").failed(2, "--once belongs to the server")


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("compile", "m.onnx", "-o", "p.bin", "--seq-len", 32, "--seq-len", 16), "--seq-len"),
        (("compile", "m.onnx", "-o", "p.bin", "-o", "q.bin"), "--out"),
        (("compile", "m.onnx", "-o", "p.bin", "--out", "q.bin"), "--out"),
        (("compile", "m.onnx", "--network", "lan", "--network=wan"), "--network"),
        (("check", "m.onnx", "--seq-len", 8, "--seq-len", 8), "--seq-len"),
        (("simulate", "p.bin", "--input", "a", "--input", "b"), "--input"),
        (("run", "p.bin", "--role", "client", "--role", "server"), "--role"),
        (("run", "p.bin", "--role", "client", "--tokenizer", "a", "--tokenizer", "b"), "--tokenizer"),
        (("prepare", "p.bin", "--role", "client", "--count", 1, "--count", 2), "--count"),
        (("inspect", "p.bin", "--html", "a", "--html", "b"), "--html"),
    ],
)
def test_an_option_that_is_no_list_is_given_once(command, option):
    called(*command).failed(2, f"{option} is given 2 times, and can be given once")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("compile", "m.onnx", "--emit-onnx", "e.onnx", "--margin", 3), "--margin goes with --out"),
        (("compile", "m.onnx", "--emit-onnx", "e.onnx", "--no-guard"), "--no-guard goes with --out"),
        (("inspect", "p.bin", "--simulation", "s.json"), "--simulation goes with --html"),
        (("simulate", "p.bin", "--text-pair", "w1"), "--text-pair goes with --text"),
        (("compile", "m.onnx", "-o", "p", "--no-guard", "--guard", "one"), "give one of them"),
        (("run", "p.bin", "--role", "server", "--fresh", "--store", "s"), "give one of them"),
        (
            (
                "tune",
                "m",
                "--data",
                "d",
                "--valid",
                "v",
                "-o",
                "t",
                "--seq-len",
                8,
                "--steps",
                3,
                "--epochs",
                1,
            ),
            "give one of them",
        ),
    ],
)
def test_options_that_would_be_passed_over(command, words):
    called(*command).failed(2, words)
