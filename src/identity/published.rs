//! Private keys that everybody has: test data and examples that packages of the distribution
//! carry. Each by the print of its text, so that no other key can hide under its path.

/// Where keys are published, and their prints.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "cloudinit/config/cc_ssh.py: example in its documentation",
        &["5d436455aeb7f628"],
    ),
    (
        "future/backports/test: Python's TLS tests",
        &[
            "12aa00bc8b64c33e",
            "7b792135eeed65fb",
            "7d6476b038736efd",
            "bf7b7c04341d1615",
        ],
    ),
    (
        "horizon/tests/jasmine/instances.legacy-spec.js: test data",
        &["0452fa6b63ed571a", "ff224cef4edb9a20"],
    ),
    ("neutron/tests/var: test data", &["c9a37d0acbd0b936"]),
    (
        "nova/tests/unit: test data",
        &[
            "571c5732be625c91",
            "8ae3f5017ae1c713",
            "92a522dde98b099f",
            "b1eb76f5321d6b22",
            "e6a8349897eeb1ef",
        ],
    ),
    (
        "ovmf/PkKek-1-snakeoil.key: its name says it",
        &["bcc21dffbc32d385"],
    ),
    (
        "slapdtest/certs: python-ldap's tests",
        &["2662233e73ab87f1", "77faa9599f21752a"],
    ),
    (
        "libgnutls.so.30: self-tests of its algorithms",
        &[
            "0abce0c5fd3b863e",
            "24a2416c5abbb673",
            "30db3ea6d728b88c",
            "518a21fe5a8a54f8",
            "6d03bbf47115fad0",
            "a5e3d5adee3720b0",
            "baa3e9648a6352b9",
            "bf552d2ff30b20f0",
            "c780c483da21d367",
            "cadf1e62661d5d21",
        ],
    ),
];
