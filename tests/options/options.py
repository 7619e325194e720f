"""What the services of a release take for their configuration, by their own definitions.

    options.py catalogue           every option, as `cellboot check` reads it
    options.py judge DIR           judges each DIR/*/SERVICE.conf: names and values
    options.py complaints SERVICE FILE...
                                   the same for files of one service, without a count

Run by the Python of a virtual environment that has the release (the pins beside this file).
"""

import collections
import concurrent.futures
import copy
import json
import logging
import os
import pathlib
import subprocess
import sys

from keystoneauth1 import loading
from oslo_config import cfg, generator, validator

OSLO = ("oslo.log", "oslo.policy", "oslo.middleware")
TALKING = (
    *OSLO, "keystonemiddleware.auth_token", "oslo.cache", "oslo.concurrency", "oslo.db",
    "oslo.db.concurrency", "oslo.messaging", "oslo.reports", "oslo.service.periodic_task",
    "oslo.service.service", "oslo.service.sslutils", "oslo.service.wsgi",
)
# By the names of `[override.SERVICE]`: what each service's own sample configuration is made from.
NAMESPACES = {
    "keystone": (*TALKING, "keystone", "osprofiler"),
    "glance": (
        *TALKING, "castellan.config", "glance", "glance.api", "glance.cache", "glance.multi_store",
        "glance.store", "oslo.limit", "oslo.versionedobjects", "osprofiler",
    ),
    "placement": (*OSLO, "keystonemiddleware.auth_token", "placement.conf"),
    "nova": (
        *TALKING, "castellan.config", "nova.conf", "os_brick", "os_vif", "oslo.limit",
        "oslo.privsep", "oslo.versionedobjects", "osprofiler",
    ),
    "neutron": (
        *TALKING, "designate.auth", "ironic.auth", "neutron", "neutron.agent", "neutron.base.agent",
        "neutron.db", "neutron.experimental", "neutron.extensions", "nova.auth", "oslo.privsep",
        "placement.auth",
    ),
    "ml2": ("neutron.ml2", "oslo.log"),
    "openvswitch_agent": ("neutron.agent", "neutron.ml2.ovs.agent", "oslo.log", "oslo.privsep"),
    "l3_agent": ("neutron.az.agent", "neutron.base.agent", "neutron.l3.agent", "oslo.log"),
    "dhcp_agent": ("neutron.az.agent", "neutron.base.agent", "neutron.dhcp.agent", "oslo.log"),
    "metadata_agent": ("neutron.metadata.agent", "oslo.cache", "oslo.log"),
}
# Sections whose names a configuration makes up: of which they are another.
COPIES = {("glance", "file"): "glance_store"}
BIN = pathlib.Path(sys.executable).parent


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [BIN / name, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def namespaces(service: str) -> list[str]:
    return [f"--namespace={name}" for name in NAMESPACES[service]]


def described(service: str) -> dict:
    done = tool("oslo-config-generator", "--format", "json", *namespaces(service))
    if done.returncode != 0:
        sys.exit(f"oslo-config-generator, {service}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def catalogue() -> None:
    """A line for each section: service, section, its options; `old>section.new` was renamed."""
    for service in NAMESPACES:
        told = described(service)
        sections = collections.defaultdict(set)
        for section, group in told["options"].items():
            for option in group["opts"]:
                sections[section].add(option["dest"].replace("-", "_"))
        for section, renamed in told["deprecated_options"].items():
            for option in renamed:
                name = option["name"].replace("-", "_")
                if name not in sections[section]:
                    target = f"{option['replacement_group']}.{option['replacement_name']}"
                    sections[section].add(f"{name}>{target.replace('-', '_')}")
        for (owner, copy), original in COPIES.items():
            if owner == service:
                sections[copy] = sections[original]
        if "keystonemiddleware.auth_token" in NAMESPACES[service]:
            # The login's own options depend on its type, so that no list has them.
            login = loading.get_auth_plugin_conf_options("password")
            sections["keystone_authtoken"] |= {option.dest.replace("-", "_") for option in login}
        for section in sorted(sections):
            if sections[section]:
                print(service, section, *sorted(sections[section]))


def misfits(service: str, file: pathlib.Path) -> list[str]:
    """Values that are not of their option's type or not among its choices, options on their way out."""
    conf = cfg.ConfigOpts()
    known = []
    for _, groups in generator._list_opts(NAMESPACES[service]):
        for group, options in groups:
            name = getattr(group, "name", group)
            name = None if name == "DEFAULT" else name
            for option in options:
                option = copy.copy(option)
                # What must be given is given where it is used.
                option.required = False
                try:
                    conf.register_opt(option, group=name)
                except cfg.DuplicateOptError:
                    continue
                known.append((name or "DEFAULT", option))
    given = {}
    cfg.ConfigParser(str(file), given).parse()
    conf([], project="judged", default_config_files=[str(file)], default_config_dirs=[])
    wrong = []
    for section, option in known:
        name = option.dest
        if name not in given.get(section, {}):
            continue
        if option.deprecated_for_removal:
            wrong.append(f"{file}: {section}/{name}: is deprecated\n")
        try:
            conf[name] if section == "DEFAULT" else conf[section][name]
        except (cfg.ConfigFileValueError, cfg.NoSuchOptError) as error:
            wrong.append(f"{file}: {section}/{name}: {error}\n")
    return wrong


class Heard(logging.Handler):
    """Keeps what oslo-config-validator says against a file."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # What it says about the lists of options is no fault of the file.
        if not record.name.startswith(("oslo_config.generator", "stevedore")):
            self.lines.append(f"{record.levelname}: {record.getMessage()}")


def validated(service: str, file: pathlib.Path) -> list[str]:
    """What oslo-config-validator says against a file."""
    dynamic = [f"--exclude-group={group}" for owner, group in COPIES if owner == service]
    sys.argv[1:] = [*namespaces(service), *dynamic, "--fatal-warnings", f"--input-file={file}"]
    heard = Heard()
    logging.root.addHandler(heard)
    failed = validator.main()
    logging.root.removeHandler(heard)
    if failed and not heard.lines:
        heard.lines = [f"oslo-config-validator ended with {failed}"]
    return [f"{file}: {line}\n" for line in heard.lines]


def complaints(service: str, files: list[str]) -> list[str]:
    """All that is wrong with files of one service, by a process of its own: what defines options keeps
    them in one place for all, and takes longer to load than to judge."""
    done = tool("python", __file__, "complaints", service, *files)
    failed = [f"{service}: {done.stderr.strip()}"] if done.returncode != 0 else []
    return done.stdout.splitlines() + failed


def judge(directory: pathlib.Path) -> None:
    """Each text once: the files of most sites differ in few. As many processes as processors."""
    files = collections.defaultdict(dict)
    for file in sorted(directory.glob("*/*")):
        service = file.name.split(".")[0]
        files[service].setdefault(file.read_bytes(), file)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [
            pool.submit(complaints, service, list(map(str, texts.values())))
            for service, texts in files.items()
        ]
        wrong = [line for run in runs for line in run.result()]
    for line in wrong:
        print(line)
    judged = sum(map(len, files.values()))
    print(f"{judged} files judged, {len(wrong)} complaints")
    sys.exit(bool(wrong) or not judged)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["catalogue"]:
            catalogue()
        case ["judge", path]:
            judge(pathlib.Path(path))
        case ["complaints", service, *files]:
            for file in map(pathlib.Path, files):
                print(*validated(service, file), *misfits(service, file), sep="", end="")
        case _:
            sys.exit(__doc__)
