"""Secrets in a text."""

from mutation import Mutation

MUTATIONS = (
    Mutation(
        "secret-in-repr",
        "a record of masks prints none",
        "runtime/protocols/matmul.py",
        "@dataclass(frozen=True, repr=False)\nclass LinearMade:",
        "@dataclass(frozen=True)\nclass LinearMade:",
        (
            "tests/security/test_no_secret_text.py::test_no_record_of_secrets_prints_its_fields",
            "tests/security/test_no_secret_text.py::test_no_object_of_a_run_prints_a_secret",
        ),
    ),
    Mutation(
        "share-in-repr",
        "printing a share shows no secret",
        "runtime/base/share.py",
        '        return f"Share({self.num}, {self.shape}, <secret>)"\n',
        '        return f"Share({self.num}, {self.shape}, {self.data})"\n',
        ("tests/runtime/protocols/test_protocols.py::test_printing_a_share_shows_no_secret",),
    ),
)
