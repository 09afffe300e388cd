import pytest
from rewriting import inp, row

from ppc.frontend.ir import ops
from ppc.passes.profile import PROFILES, ProfileError, find, label, matches, names, read


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def refused(tmp_path, text, *parts):
    with pytest.raises(ProfileError) as caught:
        read(written(tmp_path, text))
    message = str(caught.value)
    assert "\n" not in message
    for part in ("mine.toml", *parts):
        assert part in message, message


GELU = '[[replace]]\nop = "Gelu"\nwith = "relu"\n'


def test_an_entry_becomes_a_rule(tmp_path):
    profile = read(written(tmp_path, f'base = "exact"\n{GELU}layers = ["a.*", "b"]\ncalibrate = false\n'))
    assert profile.name == "mine.toml"
    (rule,) = profile.rules
    assert (rule.op, rule.substitution.name, rule.layers) == (ops.Gelu, "relu", ("a.*", "b"))
    assert rule.settings == {"calibrate": False}
    assert rule.where.endswith("mine.toml, line 2")


def test_without_a_base_it_is_exact_and_settings_have_defaults(tmp_path):
    profile = read(written(tmp_path, '[[replace]]\nop = "Softmax"\nwith = "relu_sum"\nepsilon = 1\n'))
    assert profile.rules[0].settings == {"epsilon": 1.0, "calibrate": True}
    assert read(written(tmp_path, "")).rules == ()


def test_base_friendly_comes_first_and_the_last_that_fits_counts(tmp_path):
    text = f'base = "friendly"\n[[replace]]\nop = "Gelu"\nwith = "exact"\nlayers = "layer.1.*"\n{GELU}'
    text += 'layers = "layer.1.wide"\n'
    profile = read(written(tmp_path, text))
    assert len(profile.rules) == len(PROFILES["friendly"].rules) + 2

    def chosen(name):
        return profile.rule(ops.Gelu(inp(2), name=name)).substitution

    assert chosen("layer.0.act").name == "relu"
    assert chosen("layer.1.act") is None
    assert chosen("layer.1.wide").name == "relu"


LADDER = '[[replace]]\nop = "Softmax"\nwith = ["relu_mean", "relu_sum"]\nepsilon = 0.5\n'


def taken(rule):
    return [each.name for each in rule.variants]


def test_a_list_of_variants_has_the_settings_of_all_and_stands_for_its_first(tmp_path):
    (rule,) = read(written(tmp_path, LADDER)).rules
    assert rule.substitution.name == "relu_mean"
    assert taken(rule) == ["relu_mean", "relu_sum"]
    assert rule.settings == {"epsilon": 0.5, "calibrate": True}


def test_a_place_in_every_list_at_once(tmp_path):
    text = LADDER + GELU + '[[replace]]\nop = "Silu"\nwith = "exact"'
    profile = read(written(tmp_path, text))
    assert profile.depth == 2
    assert [[taken(rule) for rule in profile.at(place).rules] for place in range(3)] == [
        [["relu_mean"], ["relu"], []],
        [["relu_sum"], ["relu"], []],
        [["relu_sum"], ["relu"], []],
    ]
    assert [rule.settings for rule in profile.at(1).rules] == [rule.settings for rule in profile.rules]
    assert PROFILES["exact"].depth == 0


def test_the_menu_has_an_entry_for_every_operator():
    assert {rule.op: taken(rule) for rule in PROFILES["menu"].rules} == {
        ops.Gelu: ["relu"],
        ops.Silu: ["relu"],
        ops.Softmax: ["relu_mean", "relu_sum"],
        ops.LayerNorm: ["affine", "centred_affine"],
        ops.RMSNorm: ["affine"],
    }


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bas = 1", ("line 1", "'bas'", "base, [[replace]] and [[eliminate]]")),
        ('base = "hostile"', ("line 1", "'hostile'", '"exact", "friendly"')),
        ("base = 3", ("line 1", "base = 3")),
        ("replace = 3", ("line 1", "[[replace]]")),
        ('[replace]\nop = "Gelu"', ("line 1", "[[replace]]")),
        ("\n[[replace]]\nwith = 'relu'", ("line 2", "without 'op'")),
        ("[[replace]]\nop = 'Gelu'", ("line 1", "without 'with'")),
        ("[[replace]]\nop = 'GELU'\nwith = 'relu'", ("line 2", "'GELU'", '"Gelu", "Silu", "Softmax"')),
        ("[[replace]]\nop = 3\nwith = 'relu'", ("line 2", "op = 3")),
        ("[[replace]]\nop = 'Gelu'\nwith = 'affine'", ("line 3", "'affine'", '"relu", "quadratic", "exact"')),
        ("[[replace]]\nop = 'Gelu'\nwith = []", ("line 3", "with = []", 'or several of "relu", "quadratic"')),
        ("[[replace]]\nop = 'Gelu'\nwith = ['relu', 'exact']", ("line 3", "'exact']", "or several of")),
        ("[[replace]]\nop = 'Gelu'\nwith = ['relu', 3]", ("line 3", "['relu', 3]")),
        ("[[replace]]\nop = 'Gelu'\nwith = ['relu', 'relu']", ("line 3", "names a variant twice")),
        (GELU + "layer = 'a'", ("line 4", "'layer'", '"op", "with", "layers", "calibrate"')),
        (GELU + "epsilon = 0.1", ("line 4", "'epsilon'", "Gelu with 'relu'")),
        (GELU + "layers = 3", ("line 4", "layers = 3")),
        (GELU + "layers = []", ("line 4", "layers = []")),
        (GELU + "layers = ['a', 3]", ("line 4", "layers = ['a', 3]")),
        (GELU + "calibrate = 1", ("line 4", "calibrate = 1", "true or false")),
        ("[[replace]]\nop='Softmax'\nwith='relu_sum'\nepsilon = 0", ("line 4", "a number above 0")),
        ("[[replace]]\nop='Softmax'\nwith='relu_sum'\nepsilon = inf", ("line 4", "a number above 0")),
        ("[[replace]]\nop='Softmax'\nwith='relu_sum'\nepsilon = true", ("line 4", "a number above 0")),
        (GELU + "\n" + GELU + "depth = 3", ("line 8", "'depth'")),
        ("base = ]", ("no TOML", "line 1")),
        ("eliminate = 3", ("line 1", "[[eliminate]]")),
        ("\n[[eliminate]]\nevery = 2", ("line 2", "without 'layers'")),
        ("[[eliminate]]\nlayers = 'a'\nkeep = 2", ("line 3", "'keep'", '"layers", "every"')),
        ("[[eliminate]]\nlayers = 'a'\nevery = 1", ("line 3", "every = 1", "2 or more")),
        ("[[eliminate]]\nlayers = 'a'\nevery = true", ("line 3", "every = True")),
        (GELU + "[[eliminate]]\nlayers = []\n" + GELU, ("line 5", "layers = []")),
    ],
)
def test_every_key_is_checked(tmp_path, text, parts):
    refused(tmp_path, text, *parts)


def test_an_entry_written_inline_has_no_line_of_its_own_but_is_refused(tmp_path):
    refused(tmp_path, 'replace = [{op = "Gelu", with = "gelu"}]', '"relu", "quadratic", "exact"')


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ProfileError, match=r"none\.toml: cannot be read"):
        find(str(tmp_path / "none.toml"))
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="no TOML"):
        read(path)


def test_profiles_by_name():
    assert find("exact").rules == ()
    assert {rule.op for rule in find("friendly").rules} == {
        ops.Gelu, ops.Silu, ops.Softmax, ops.LayerNorm, ops.RMSNorm,
    }  # fmt: skip
    with pytest.raises(
        ProfileError, match=r"no profile 'hostile'; there are exact, friendly, menu, and files"
    ):
        find("hostile")
    assert ProfileError.exit_status == 2


@pytest.mark.parametrize(
    ("glob", "name", "fits"),
    [
        ("*", "anything", True),
        ("encoder.layer.[0-3]*", "encoder.layer.2.intermediate.act", True),
        ("encoder.layer.[0-3]*", "/bert/encoder/layer.2/intermediate/act/Mul_1_output_0", True),
        ("encoder.layer.[0-3].*", "/bert/encoder/layer.12/act/Mul_1_output_0", False),
        ("encoder/layer.[0-3]/*", "bert.encoder.layer.1.act", True),
        ("encoder.layer.[0-3]*", "encoder.layer.4.act", False),
        ("layer.1", "encoder.layer.1.act", False),
        ("coder.layer.1*", "encoder.layer.1.act", False),
        ("*.attention.*", "/bert/encoder/layer.4/attention/Softmax_output_0", True),
        ("Softmax_1?", "Softmax_13", True),
        ("softmax_1?", "Softmax_13", False),
    ],
)
def test_globs(glob, name, fits):
    assert matches(glob, name) is fits


def test_an_op_goes_by_its_result_and_its_weights():
    gamma = row(1, 1).named("bert.layer.0.norm.weight")
    beta = row(0, 0).named("bert.layer.0.norm.bias")
    norm = ops.LayerNorm(inp(3, 2), gamma, beta, eps=1e-5, name="onnx::Shape_4")
    assert names(norm) == ["onnx::Shape_4", "bert.layer.0.norm.weight", "bert.layer.0.norm.bias"]
    assert label(norm) == "bert.layer.0.norm.weight"


def test_where_names_tell_nothing_the_nearest_weights_do():
    weight = ops.Const(row(1, 2, 3).value.reshape(3, 1), True, name="bert.layer.3.dense.weight")
    far = ops.Const(row(1, 2).value.reshape(2, 1).repeat(3, 1), True, name="bert.layer.2.dense.weight")
    wide = ops.MatMul(ops.Relu(ops.MatMul(inp(5, 2), far)), weight)
    act = ops.Gelu(ops.Add(wide, row(1)), name="gelu_3")
    assert names(act) == ["gelu_3", "bert.layer.3.dense.weight"]
    assert label(act) == "bert.layer.3.dense.weight"
    assert label(ops.Gelu(inp(2))) == "(unnamed)"
    assert find("friendly").rule(ops.Gelu(inp(2))) is not None
    assert label(ops.Gelu(inp(2), name="gelu")) == "gelu"


def test_tokens_are_left_out_by_layers(tmp_path):
    more = '[[eliminate]]\nlayers = ["a", "b"]\nevery = 3'
    profile = read(written(tmp_path, f'base = "menu"\n[[eliminate]]\nlayers = "layer.2.*"\n{GELU}{more}'))
    first, second = profile.eliminations
    assert (first.layers, first.every, second.layers, second.every) == (("layer.2.*",), 2, ("a", "b"), 3)
    assert first.where.endswith("mine.toml, line 2")
    assert second.where.endswith("mine.toml, line 7")
    assert first.fits(ops.Softmax(inp(2, 2), name="/layer.2/attention/Softmax"))
    assert not first.fits(ops.Softmax(inp(2, 2), name="/layer.1/attention/Softmax"))
    assert find("menu").eliminations == ()
