"""`ppc compile --generate`, `ppc generate` and `ppc run` as a user has them, and how they end."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import Running, called, ppc, serving
from decoder import MOST, PROMPT, PROMPTS, tokenizer

from ppc import compile_generation

TEXT = " ".join(f"w{each}" for each in PROMPT)


@pytest.fixture(scope="module")
def folder(decoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    decoder.compiled.save(folder / "plan.bin", folder / "plan.weights")
    tokenizer(folder / "tokenizer.json")
    return folder


def asked(folder, *more, text=TEXT):
    return ("generate", folder / "plan.bin", "--text", text, "--tokenizer", folder / "tokenizer.json", *more)


def spelt(ids) -> str:
    return " ".join(f"w{each}" for each in ids)


def test_compile_then_generate_with_two_processes(decoder, tmp_path):
    plan = tmp_path / "plan.bin"
    made = ppc(
        "compile", decoder.model, "-o", plan, "--generate", "--max-tokens", MOST, "--prompt-len",
        ",".join(map(str, PROMPTS)),
    )  # fmt: skip
    assert made.status == 0, made.err
    compile_generation(decoder.model, prompts=PROMPTS, most=MOST).save(tmp_path / "again.bin", tmp_path / "w")
    assert plan.read_bytes() == (tmp_path / "again.bin").read_bytes()
    assert [line.split(":")[0] for line in made.out.splitlines()[2:]] == [
        "a prompt of up to 4", "a prompt of up to 8", "a token after up to 14",
    ]  # fmt: skip
    tokenizer(tmp_path / "tokenizer.json")
    with serving(plan, "--once") as (server, address):
        client = ppc(*asked(tmp_path, "--role", "client", "--connect", address, "--max-tokens", 4, "--costs"))
        assert client.status == 0, client.err
        assert client.out == spelt(decoder.greedy(PROMPT, 4)) + "\n"
        assert client.err.count("token ") >= 4
        assert "each further one" in client.err
        assert server.end().status == 0


def test_a_document_of_every_token(decoder, folder):
    with serving(folder / "plan.bin", "--once") as (server, address):
        done = ppc(*asked(folder, "--connect", address, "--max-tokens", 3, "--json"))
        assert server.end().status == 0
    said = done.json
    assert said["text"] == spelt(decoder.greedy(PROMPT, 3))
    assert said["prompt"] == len(PROMPT)
    assert [each["id"] for each in said["tokens"]] == decoder.greedy(PROMPT, 3)
    first, *rest = said["tokens"]
    assert first["setup"] > 0
    assert rest[0]["offline"] > 2 * rest[1]["offline"] > 0  # it makes what the next ones need
    assert rest[0]["online"] > rest[1]["online"] > 0  # and opens the prompt's rows


def test_several_clients_one_after_the_other(decoder, folder):
    with serving(folder / "plan.bin") as (server, address):
        for _ in range(2):
            done = ppc(*asked(folder, "--connect", address, "--max-tokens", 2))
            assert done.out == spelt(decoder.greedy(PROMPT, 2)) + "\n"
        assert server.process.poll() is None
        os.killpg(server.process.pid, signal.SIGINT)
        assert server.end().status == 130


def test_prepared_tokens_pay_nothing_offline(decoder, folder):
    with serving_to_prepare(folder, "--count", 2) as (server, address):
        prepared = ppc("prepare", folder / "plan.bin", "--role", "client", "--connect", address, "--count", 2)
        assert prepared.status == server.end().status == 0
    with serving(folder / "plan.bin", "--once") as (server, address):
        done = ppc(*asked(folder, "--connect", address, "--max-tokens", 4, "--json"))
        assert server.end().status == 0
    assert [each["id"] for each in done.json["tokens"]] == decoder.greedy(PROMPT, 4)
    _, *offline = [each["offline"] for each in done.json["tokens"]]
    assert max(offline) < 10_000  # the handshake alone


@contextmanager
def serving_to_prepare(folder, *more):
    server = Running("prepare", folder / "plan.bin", "--role", "server", "--listen", "127.0.0.1:0", *more)
    try:
        yield server, server.said(r"on (127\.0\.0\.1:\d+)")[1]
    finally:
        server.kill()


def test_a_prompt_and_its_tokens_are_prepared_together(decoder, folder, tmp_path):
    """For all programs that a generation takes, each of its own length, and none is left over."""
    stores = [("--store", tmp_path / role) for role in ("server", "client")]
    with serving_to_prepare(folder, "--tokens", 4, *stores[0]) as (server, address):
        prepared = ppc(
            "prepare", folder / "plan.bin", "--role", "client", "--connect", address, "--tokens", 4,
            "--prompt-len", len(PROMPT), *stores[1], "--json",
        )  # fmt: skip
        assert prepared.status == server.end().status == 0, prepared.err
    assert [len(each["material"]) for each in prepared.json["report"]["inferences"]] == [1, 1]
    assert "for a prompt of up to 8" in prepared.err
    assert "for a token after up to 14" in prepared.err
    with serving(folder / "plan.bin", "--once", *stores[0]) as (server, address):
        done = ppc(*asked(folder, "--connect", address, "--max-tokens", 4, *stores[1], "--json"))
        assert server.end().status == 0
    assert [each["id"] for each in done.json["tokens"]] == decoder.greedy(PROMPT, 4)
    assert all(each["offline"] < 10_000 for each in done.json["tokens"])  # handshakes alone
    assert [list(at.iterdir()) for _, at in stores] == [[], []]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--tokens", 9), "9 tokens after a prompt of 8 are more than the 8"),
        (("--tokens", 2, "--prompt-len", 9), "the prompt has 9 tokens, the plan holds 8"),
        (("--tokens", 2, "--count", 2), "what --count says of one; give one of them"),
        (("--tokens", 2, "--seq-len", 8), "--seq-len is one; give one of them"),
        (("--prompt-len", 8), "--prompt-len goes with --tokens"),
    ],
)
def test_what_cannot_be_prepared_is_one_line(folder, more, why):
    called("prepare", folder / "plan.bin", "--role", "client", *more).failed(2, why)


@pytest.mark.parametrize("role", ["client", "server"])
def test_tokens_of_a_plan_of_another_kind(small, tmp_path, role):
    small.compiled.save(tmp_path / "plan.bin", tmp_path / "plan.weights")
    done = called("prepare", tmp_path / "plan.bin", "--role", role, "--tokens", 2)
    done.failed(2, "compile the model with --generate")


def test_in_the_clear_without_a_server(decoder, folder):
    done = called(*asked(folder, "--simulate"))
    assert done.status == 0, done.err
    assert done.out == spelt(decoder.greedy(PROMPT, MOST)) + "\n"


def test_a_stop_token_ends_it_unsaid(decoder, folder):
    said = decoder.greedy(PROMPT, MOST)
    done = called(*asked(folder, "--simulate", "--stop", f"w{said[3]}"))
    assert done.out == spelt(said[: said.index(said[3])]) + "\n"


BRIEF = "{{ messages | map(attribute='content') | join(' ') }}"
"""A template for which the tokenizer has words."""


def chatting(folder, *more):
    return ("generate", folder / "plan.bin", "--tokenizer", folder, "--simulate", *more)


def test_a_chat_is_answered_as_its_template_writes_it(decoder, folder):
    (folder / "brief.jinja").write_text(BRIEF)
    first, *rest = TEXT.split()
    told = ("--system", first, "--chat", " ".join(rest), "--chat-template", folder / "brief.jinja")
    done = called(*chatting(folder, *told, "--json"))
    assert done.status == 0, done.err
    assert done.json["text"] == spelt(decoder.greedy(PROMPT, MOST))


def test_it_ends_where_the_models_files_say(decoder, folder, tmp_path):
    said = decoder.greedy(PROMPT, MOST)
    tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "chat_template.jinja").write_text(BRIEF)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [95, said[2]]}))
    done = called("generate", folder / "plan.bin", "--tokenizer", tmp_path, "--simulate", "--chat", TEXT)
    assert done.out == spelt(said[: said.index(said[2])]) + "\n"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ((), "give either --text TEXT"),
        (("--text", "w1", "--chat", "w2"), "--chat is answered; give one of them"),
        (("--text", "w1", "--system", "w2"), "--system goes with --chat"),
        (("--text", "w1", "--chat-template", "x"), "--chat-template goes with --chat"),
        (("--chat", " "), "the user says nothing"),
        (("--chat", "w1"), "has no chat template"),
        (("--chat", "w1", "--chat-template", "nowhere"), "nowhere: cannot be read"),
    ],
)
def test_what_is_no_chat_is_one_line(folder, more, why):
    called(*chatting(folder, *more)).failed(2, why)


def test_draws_by_a_seed(folder):
    hot = ("--simulate", "--temperature", 3, "--max-tokens", 6, "--seed")
    one, again, other = (called(*asked(folder, *hot, seed)).out for seed in (1, 1, 2))
    assert one == again != other


def test_ctrl_c_at_the_client_ends_it_and_the_server_goes_on(decoder, folder):
    with serving(folder / "plan.bin", *SLOW) as (_, address):
        done = interrupted(folder, address, signal.SIGINT)
        assert done.status == 130
        assert "Traceback" not in done.err
        served = ppc(*asked(folder, "--connect", address, "--max-tokens", 2, *SLOW))
        assert served.out == spelt(decoder.greedy(PROMPT, 2)) + "\n"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_ends_ends_the_client_in_seconds(folder, end):
    with serving(folder / "plan.bin") as (server, address):
        client = Running(*asked(folder, "--connect", address, "--max-tokens", MOST, "--costs"))
        client.said("token 2")
        os.killpg(server.process.pid, end)
        done = client.end(timeout=10)
        assert done.status == 5
        assert "Traceback" not in done.err
        assert [line for line in done.err.splitlines() if line.startswith("ppc: ")]


SLOW = ("--shape", "100Mbit,5ms")
"""A network on which a token takes a second, so that it is interrupted within one."""


def interrupted(folder, address, end, *more):
    """A client that is ended by ``end`` in the middle of its third token."""
    client = Running(*asked(folder, "--connect", address, "--max-tokens", MOST, "--costs", *SLOW, *more))
    client.said("token 2")
    time.sleep(0.3)
    os.killpg(client.process.pid, end)
    return client.end(timeout=10)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_client_that_ends_ends_a_server_that_has_no_other_in_seconds(folder, end):
    with serving(folder / "plan.bin", "--once", *SLOW) as (server, address):
        interrupted(folder, address, end)
        done = server.end(timeout=10)
        assert done.status == 5
        assert "Traceback" not in done.err
        assert [line for line in done.err.splitlines() if line.startswith("ppc: ")]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_what_was_prepared_for_a_client_that_ends_is_left_to_the_next(decoder, folder, tmp_path, end):
    """All but what it had taken, at both sides alike: masks of rows that it has opened are of no more use."""
    stores = [("--store", tmp_path / role) for role in ("server", "client")]
    with serving_to_prepare(folder, "--count", 3 * MOST, *stores[0]) as (server, address):
        where = ("--connect", address, "--count", 2 * MOST, *stores[1])
        assert ppc("prepare", folder / "plan.bin", "--role", "client", *where).status == 0
        assert server.end().status == 0
    with serving(folder / "plan.bin", *SLOW, *stores[0]) as (_, address):
        interrupted(folder, address, end, *stores[1])
        left = [{path.stem for path in at.iterdir()} for _, at in stores]
        assert len(left[0]) == 1
        assert left[0] == left[1]
        served = ppc(*asked(folder, "--connect", address, "--max-tokens", 3, *SLOW, *stores[1], "--json"))
        assert [each["id"] for each in served.json["tokens"]] == decoder.greedy(PROMPT, 3)
        assert max(each["offline"] for each in served.json["tokens"][1:]) < 10_000
    assert [list(at.iterdir()) for _, at in stores] == [[], []]


@pytest.mark.parametrize(
    ("more", "status", "why"),
    [
        (("--role", "server"), 2, "`ppc run PLAN --role server`"),
        (("--max-tokens", 99), 2, "99 tokens after a prompt of 6 are more than the 8"),
        (("--stop", "<stop>"), 2, "no token '<stop>'"),
        (("--temperature", "-1"), 2, "temperature"),
        (("--top-p", "0"), 2, "top-p"),
        (("--simulate", "--weights", "nowhere"), 2, "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(folder, more, status, why):
    called(*asked(folder, *more)).failed(status, why)


def test_a_prompt_that_is_too_long(folder):
    called(*asked(folder, text=TEXT + " " + TEXT)).failed(2, "12 tokens, the plan holds 8")


def test_a_plan_of_another_kind(small, folder, tmp_path):
    small.compiled.save(tmp_path / "plan.bin", tmp_path / "plan.weights")
    words = asked(folder)
    called(words[0], tmp_path / "plan.bin", *words[2:]).failed(2, "compile the model with --generate")
    called("run", folder / "plan.bin", "--role", "client", *words[2:]).failed(2, "use `ppc generate`")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--max-tokens", 4), "go with --generate"),
        (("--generate",), "go with --generate"),
        (("--generate", "--max-tokens", 4, "--seq-len", 8), "by --prompt-len"),
        (("--generate", "--max-tokens", 4, "--prompt-len", "x"), "--prompt-len wants a length"),
        (("--generate", "--max-tokens", 4, "--output", "a", "--output", "b"), "one output"),
    ],
)
def test_options_of_compile_that_do_not_fit(decoder, tmp_path, more, why):
    called("compile", decoder.model, "-o", tmp_path / "plan.bin", *more).failed(2, why)
