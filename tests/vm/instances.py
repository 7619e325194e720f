"""Instances on the computes of a lab, looked at from the host by a client that is not ours.

Prints `ok NAME` for each thing that holds. Ends with 1 at the first that does not, saying what was
seen and what the instances said last. All that it makes has one name in front: what an earlier run
left is removed first. Uses openstacksdk, requests and the image that guest.py builds.
"""

import argparse
import base64
import hashlib
import ipaddress
import json
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import time
import uuid
from urllib.parse import parse_qs, urlsplit

import requests

# Nothing is written beside the sources.
sys.dont_write_bytecode = True
import guest
from cloud import PATIENCE, Wrong, connect, expect, run

NAME = "cellboot-instances"
# An instance is emulated inside a machine that is emulated.
JOINED = 900
ACTIVE = 1800
SPEAKS = 1800
REACHED = 900
REMOVED = 900
# Between two questions; each costs the controller some of the time that is waited for.
PAUSE = 5
# Addresses for documentation: no site's own network has them.
INSIDE = "198.51.100.0/24"
# The provider network of a site as `cellboot init` writes it, and the controller's bridge to it.
PHYSICAL_NETWORK = "provider"
OUTSIDE = "203.0.113.0/24"
OUTSIDE_GATEWAY = "203.0.113.1"
OUTSIDE_POOL = {"start": "203.0.113.101", "end": "203.0.113.250"}
BRIDGE = "br-provider"
PORT = 7
# What a resource provider must have to take an instance.
RESOURCES = ("VCPU", "MEMORY_MB", "DISK_GB")
# What RFC 6455 adds to a client's key.
WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
RFB = b"RFB 003.008\n"

# User data. Its lines on the console begin like the guest's own, with the words that were run.
SCRIPT = r"""
newline='
'
reach() {
	until said=$("$@" 2>&1); do
		read -r uptime _ </proc/uptime
		if [ "${uptime%.*}" -ge 1500 ]; then
			echo "guest: $* failed: ${said##*"$newline"}"
			return
		fi
		sleep 2
	done
	echo "guest: $* ${said##*"$newline"}"
}
pings() { ping -c 1 -W 20 "$1"; }
asks() { timeout 20 nc "$1" 7 </dev/null | grep .; }
"""


class NotYet(Exception):
    """What a probe sees as long as it has to be asked again."""


def so_far(holds, seen):
    if not holds:
        raise NotYet(seen)


def until(what, patience, probe):
    """What the probe gives, once it does not say NotYet any more."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return probe()
        except NotYet as seen:
            if time.monotonic() > deadline:
                raise Wrong(f"no {what} in {patience} s: {seen}") from None
        time.sleep(PAUSE)


class Scene:
    """What is asked for, and what was made for it."""

    def __init__(self, arguments):
        self.guest = arguments.guest
        self.computes = arguments.computes
        self.console = arguments.console
        self.ssh = arguments.controller_ssh
        self.full = arguments.full
        self.seconds = {}
        self.began = {}
        # resource providers by identifier; ports, addresses and servers by host
        self.providers = {}
        self.ports = {}
        self.addresses = {}
        self.servers = {}
        self.network = self.subnet = self.outside = self.outside_subnet = None
        self.group = self.opening = self.floating = None

    def on_controller(self, line):
        """Status and output of a line for the controller's shell."""
        done = subprocess.run(
            [*self.ssh, line], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        said = done.stdout + done.stderr
        # 255 is what ssh itself ends with, and no line here does.
        expect(done.returncode != 255, f"no way into the controller: {said.strip()}")
        return done.returncode, said.strip()

    def outside_gateway(self):
        prefix = ipaddress.ip_network(self.outside_subnet.cidr).prefixlen
        return f"{self.outside_subnet.gateway_ip}/{prefix}"

    def measured(self, what, host):
        self.seconds.setdefault(f"{what} {host}", round(time.monotonic() - self.began[host], 1))


def named(host):
    return f"{NAME}-{host}"


def ours(listing):
    return [item for item in listing if (item.name or "").startswith(NAME)]


def console(cloud, server):
    output = cloud.compute.get_server_console_output(server)["output"]
    return [line.strip() for line in output.splitlines() if line.strip()]


def heard(cloud, scene, host, what):
    """What a guest said about this; a guest that gave it up is wrong."""
    begins = f"guest: {what} "

    def probe():
        lines = console(cloud, scene.servers[host])
        for line in lines:
            if line.startswith(begins + "failed: "):
                raise Wrong(f"{line!r} on {host}")
            if line.startswith(begins):
                return line.removeprefix(begins)
            if "Kernel panic" in line:
                raise Wrong(f"{line!r} on {host}")
        raise NotYet(f"the console on {host} ends with {lines[-1:]}")

    return until(f"{begins!r} from the instance on {host}", SPEAKS, probe)


def computes_joined(cloud, scene):
    wanted = set(scene.computes)

    def probe():
        services = {
            service.host: (service.state, service.status)
            for service in cloud.compute.services(binary="nova-compute")
        }
        so_far(services == dict.fromkeys(wanted, ("up", "enabled")), f"nova-compute {services}")
        # The node where the routers are has an agent too.
        routing = {agent.host for agent in cloud.network.agents(binary="neutron-l3-agent")}
        agents = {
            agent.host: agent.is_alive
            for agent in cloud.network.agents(binary="neutron-openvswitch-agent")
        }
        so_far(agents == dict.fromkeys(wanted | routing, True), f"switch agents {agents}")
        hypervisors = {
            hypervisor.id: (hypervisor.service_details or {}).get("host")
            for hypervisor in cloud.compute.hypervisors(details=True)
        }
        so_far(sorted(hypervisors.values()) == sorted(wanted), f"hypervisors {hypervisors}")
        providers = {provider.id: provider for provider in cloud.placement.resource_providers()}
        so_far(set(providers) == set(hypervisors), f"resource providers {set(providers)}")
        for identifier, provider in providers.items():
            found = cloud.placement.resource_provider_inventories(provider)
            totals = {inventory.resource_class: inventory.total for inventory in found}
            so_far(
                all(totals.get(resource) for resource in RESOURCES),
                f"an inventory of {totals} on {hypervisors[identifier]}",
            )
        return providers

    scene.providers = until(f"cell of {sorted(wanted)}", JOINED, probe)


def make_image(cloud, scene):
    """The disk's image, which leads to the kernel; the guest uses nothing of the disk."""

    def upload(name, form, container, content, **properties):
        # Nothing else has the name, so nobody need look.
        return cloud.image.create_image(
            name=f"{NAME}-{name}",
            data=content,
            disk_format=form,
            container_format=container,
            allow_duplicates=True,
            **properties,
        )

    began = time.monotonic()
    kernel = upload("kernel", "aki", "aki", (scene.guest / "vmlinuz").read_bytes())
    ramdisk = upload("ramdisk", "ari", "ari", (scene.guest / "initramfs").read_bytes())
    disk = upload(
        "disk",
        "raw",
        "bare",
        bytes(1024 * 1024),
        kernel_id=kernel.id,
        ramdisk_id=ramdisk.id,
        os_command_line=guest.COMMAND_LINE,
    )
    scene.seconds["images"] = round(time.monotonic() - began, 1)
    return disk


def make_outside(cloud):
    """The network that is outside: the site's own if somebody made it, else one for this run."""
    for network in cloud.network.networks(is_router_external=True):
        return network
    network = cloud.network.create_network(
        name=f"{NAME}-outside",
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network=PHYSICAL_NETWORK,
    )
    cloud.network.create_subnet(
        name=f"{NAME}-outside",
        network_id=network.id,
        ip_version=4,
        cidr=OUTSIDE,
        gateway_ip=OUTSIDE_GATEWAY,
        allocation_pools=[OUTSIDE_POOL],
        is_dhcp_enabled=False,
    )
    return network


def open_port(cloud, scene):
    scene.opening = cloud.network.create_security_group_rule(
        security_group_id=scene.group.id,
        direction="ingress",
        ether_type="IPv4",
        protocol="tcp",
        port_range_min=PORT,
        port_range_max=PORT,
    )


def make_network(cloud, scene):
    network = cloud.network
    scene.network = network.create_network(name=NAME)
    scene.subnet = network.create_subnet(
        name=NAME, network_id=scene.network.id, ip_version=4, cidr=INSIDE
    )
    # The agent gives a network up for good whose first address server takes five minutes to start:
    # it is not made to wait for the processor beside the router's agent and instances.
    def served():
        ports = network.ports(network_id=scene.network.id, device_owner="network:dhcp")
        states = [port.status for port in ports]
        so_far(states == ["ACTIVE"], f"DHCP ports {states}")

    until("DHCP port that is ACTIVE", ACTIVE, served)

    scene.outside = make_outside(cloud)
    scene.outside_subnet = next(network.subnets(network_id=scene.outside.id, ip_version=4))
    router = network.create_router(
        name=NAME, external_gateway_info={"network_id": scene.outside.id}
    )
    network.add_interface_to_router(router, subnet=scene.subnet)
    scene.group = network.create_security_group(name=NAME)
    network.create_security_group_rule(
        security_group_id=scene.group.id, direction="ingress", ether_type="IPv4", protocol="icmp"
    )
    open_port(cloud, scene)
    # Before any instance, so that each can be told where the others are.
    for host in scene.computes:
        port = network.create_port(
            name=named(host), network_id=scene.network.id, security_group_ids=[scene.group.id]
        )
        scene.ports[host] = port
        scene.addresses[host] = port.fixed_ips[0]["ip_address"]


def user_data(scene, host):
    """Asks the other guests, and both ends of the router."""
    lines = []
    for other in scene.computes:
        if other != host:
            address = scene.addresses[other]
            lines += [f"reach pings {address}", f"reach asks {address}"]
    for gateway in (scene.subnet.gateway_ip, scene.outside_subnet.gateway_ip):
        lines.append(f"reach pings {gateway}")
    script = SCRIPT + "\n".join(lines) + "\n"
    return {"user_data": base64.b64encode(script.encode()).decode()}


def instance_active(cloud, scene):
    remove(cloud)
    image = make_image(cloud, scene)
    flavor = cloud.compute.create_flavor(name=NAME, vcpus=1, ram=guest.MEMORY, disk=1)
    make_network(cloud, scene)
    if scene.full:
        # Somebody who answers outside.
        gateway = scene.outside_gateway()
        line = f"ip address replace {gateway} dev {BRIDGE} && ip link set {BRIDGE} up"
        status, said = scene.on_controller(line)
        expect(status == 0, f"{line}: {said}")
    for host in scene.computes:
        scene.began[host] = time.monotonic()
        scene.servers[host] = cloud.compute.create_server(
            name=named(host),
            image_id=image.id,
            flavor_id=flavor.id,
            networks=[{"port": scene.ports[host].id}],
            availability_zone=f"nova:{host}",
            **(user_data(scene, host) if scene.full else {}),
        )

    def probe():
        states = {}
        for host, server in scene.servers.items():
            now = cloud.compute.get_server(server)
            if now.status == "ERROR":
                fault = (now.fault or {}).get("message", "and does not say why")
                raise Wrong(f"the instance on {host} in ERROR: {fault}")
            if now.status == "ACTIVE":
                scene.measured("active", host)
                # It might have been put elsewhere.
                expect(now.compute_host == host, f"the instance for {host} on {now.compute_host}")
            states[host] = (now.status, now.task_state)
        so_far(all(status == "ACTIVE" for status, _ in states.values()), f"{states}")

    until("instances that are ACTIVE", ACTIVE, probe)


def instance_address(cloud, scene):
    prefix = ipaddress.ip_network(scene.subnet.cidr).prefixlen
    for host in scene.computes:
        seen = heard(cloud, scene, host, "address")
        scene.measured("address", host)
        address, gateway = scene.addresses[host], scene.subnet.gateway_ip
        wanted = f"{address}/{prefix} mtu {scene.network.mtu} gateway {gateway}"
        expect(seen == wanted, f"{seen!r} and not {wanted!r} on {host}")


def instance_metadata(cloud, scene):
    for host, server in scene.servers.items():
        seen = heard(cloud, scene, host, "metadata")
        scene.measured("metadata", host)
        wanted = f"uuid={server.id} name={named(host)}"
        expect(seen == wanted, f"{seen!r} and not {wanted!r} on {host}")


def websocket(base, path):
    """What a WebSocket says first, and nothing where it is refused."""
    where = urlsplit(base)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {where.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: binary",
    ]
    digest = hashlib.sha1((key + WEBSOCKET).encode()).digest()
    words = b""
    try:
        with (
            socket.create_connection((where.hostname, where.port), timeout=PATIENCE) as door,
            door.makefile("rb") as stream,
        ):
            door.sendall("\r\n".join([*lines, "", ""]).encode())
            status = stream.readline()
            headers = list(iter(lambda: stream.readline().strip(), b""))
            if b" 101 " not in status:
                return words
            accepted = b"Sec-WebSocket-Accept: " + base64.b64encode(digest)
            expect(accepted in headers, f"a handshake of {headers}")
            while len(words) < len(RFB):
                head = stream.read(2)
                # 8 is a frame that closes.
                if len(head) < 2 or head[0] & 15 == 8:
                    break
                length = head[1] & 127
                if length == 126:
                    length = int.from_bytes(stream.read(2), "big")
                words += stream.read(length)
    except ConnectionError:
        pass
    return words


def instance_console(cloud, scene):
    for host, server in scene.servers.items():
        remote = cloud.compute.create_server_remote_console(server, protocol="vnc", type="novnc")
        url = urlsplit(remote.url)
        # noVNC's page opens a WebSocket at the path that it is given.
        path = parse_qs(url.query).get("path", [""])[0]
        expect(url.port == 6080 and path.startswith("?token="), f"a console at {remote.url}")
        page = f"{scene.console}{url.path.removeprefix('/')}?{url.query}"
        answer = requests.get(page, timeout=PATIENCE)
        expect(answer.status_code == 200 and "noVNC" in answer.text, f"{answer.status_code}")
        words = websocket(scene.console, "/" + path)
        expect(words == RFB, f"a console of {host} that begins with {words!r}")
    words = websocket(scene.console, f"/?token={uuid.uuid4()}")
    expect(words == b"", f"{words!r} for a token that nobody gave")


def across_hosts(cloud, scene):
    for host in scene.computes:
        for other in scene.computes:
            if other == host:
                continue
            address = scene.addresses[other]
            heard(cloud, scene, host, f"pings {address}")
            seen = heard(cloud, scene, host, f"asks {address}")
            wanted = f"guest: hello from {named(other)}"
            expect(seen == wanted, f"{seen!r} from {other}, asked on {host}")


def through_router(cloud, scene):
    for host in scene.computes:
        for gateway in (scene.subnet.gateway_ip, scene.outside_subnet.gateway_ip):
            heard(cloud, scene, host, f"pings {gateway}")


def ask(scene):
    """What the first instance answers to the controller at its floating address."""
    place = f"/dev/tcp/{scene.floating.floating_ip_address}/{PORT}"
    return scene.on_controller(f"timeout 20 bash -c 'exec 3<>{place} && cat <&3'")


def until_answered(scene):
    wanted = f"guest: hello from {named(scene.computes[0])}"

    def probe():
        _, said = ask(scene)
        so_far(said == wanted, f"{said!r}")

    until(f"{wanted!r} at {scene.floating.floating_ip_address}", REACHED, probe)


def floating_ip(cloud, scene):
    scene.floating = cloud.network.create_ip(
        floating_network_id=scene.outside.id,
        port_id=scene.ports[scene.computes[0]].id,
        # It has no name.
        description=NAME,
    )
    until_answered(scene)


def security_group(cloud, scene):
    address = scene.floating.floating_ip_address
    cloud.network.delete_security_group_rule(scene.opening)

    def closed():
        status, said = ask(scene)
        so_far(status != 0 and "hello" not in said, f"{said!r}")

    def pinged():
        status, said = scene.on_controller(f"ping -c 1 -W 20 {address}")
        so_far(status == 0, f"{said!r}")

    until(f"end of the answers of port {PORT} at {address}", REACHED, closed)
    # It is the rule, and not the way there.
    until(f"ping of {address} while port {PORT} is closed", REACHED, pinged)
    open_port(cloud, scene)
    until_answered(scene)


def remove(cloud):
    """Removes everything of the name, each thing after what holds it."""
    compute, network = cloud.compute, cloud.network
    for server in ours(compute.servers(details=False)):
        compute.delete_server(server)

    def gone():
        left = [(item.name, item.status, item.task_state) for item in ours(compute.servers())]
        so_far(not left, f"{left}")

    until("end of the instances", REMOVED, gone)
    for address in network.ips(description=NAME):
        network.delete_ip(address)
    for router in ours(network.routers()):
        owner = "network:router_interface"
        for port in network.ports(device_id=router.id, device_owner=owner):
            network.remove_interface_from_router(router, port=port)
        network.delete_router(router)
    for port in ours(network.ports()):
        network.delete_port(port)
    for item in ours(network.networks()):
        network.delete_network(item)
    for group in ours(network.security_groups()):
        network.delete_security_group(group)
    for flavor in ours(compute.flavors()):
        compute.delete_flavor(flavor)
    for image in ours(cloud.image.images()):
        cloud.image.delete_image(image)


def nothing_left(cloud, scene):
    remove(cloud)
    network = cloud.network
    listings = {
        "servers": cloud.compute.servers(details=False),
        "flavors": cloud.compute.flavors(),
        "images": cloud.image.images(),
        "networks": network.networks(),
        "subnets": network.subnets(),
        "routers": network.routers(),
        "security groups": network.security_groups(),
    }
    left = {kind: [item.name for item in ours(listing)] for kind, listing in listings.items()}
    left["floating addresses"] = list(network.ips(description=NAME))
    # Whatever they are called: Nova makes some without a name.
    instances = {server.id for server in scene.servers.values()}
    left["ports"] = [
        port.id
        for port in network.ports()
        if port.device_id in instances or port.network_id == scene.network.id
    ]
    left = {kind: items for kind, items in left.items() if items}
    expect(not left, f"{left}")

    def unused():
        for provider in scene.providers.values():
            usages = cloud.placement.fetch_resource_provider_usages(provider).usages
            so_far(not any(usages.values()), f"{usages} of {provider.name}")

    until("resource providers that nobody uses", REMOVED, unused)


SHORT = [
    computes_joined,
    instance_active,
    instance_address,
    instance_metadata,
    instance_console,
]
# What takes several computes, and a way into the controller.
LONG = [
    across_hosts,
    through_router,
    floating_ip,
    security_group,
]


def tell_consoles(cloud, scene):
    for host, server in scene.servers.items():
        try:
            lines = console(cloud, server)[-20:]
        except Exception as error:  # what went wrong before is what matters
            lines = [f"{type(error).__name__}: {error}"]
        print(f"-- the end of the console on {host}", *lines, sep="\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guest", required=True, type=pathlib.Path, help="what guest.py filled")
    parser.add_argument(
        "--computes",
        required=True,
        metavar="NAME[,NAME...]",
        type=lambda text: text.split(","),
        help="all that the cell has; an instance is made on each",
    )
    parser.add_argument(
        "--console", required=True, help="noVNC's address on this host, with a slash at the end"
    )
    parser.add_argument(
        "--controller-ssh",
        metavar="COMMAND",
        type=shlex.split,
        help="what runs a line that follows as root on the controller",
    )
    parser.add_argument("--timings", type=pathlib.Path, help="a file for the seconds that it took")
    parser.add_argument("--full", action="store_true", help="also what takes several computes")
    arguments = parser.parse_args()
    if arguments.full and (len(arguments.computes) < 2 or not arguments.controller_ssh):
        parser.error("--full needs two computes and --controller-ssh")

    scene = Scene(arguments)
    cloud = connect()
    checks = [*SHORT, *(LONG if scene.full else []), nothing_left]
    try:
        holds = run(checks, cloud, scene, scene.seconds)
        if not holds:
            tell_consoles(cloud, scene)
    finally:
        if arguments.timings:
            arguments.timings.write_text(json.dumps(scene.seconds, indent=2) + "\n")
        if scene.full and scene.outside_subnet:
            gateway = scene.outside_gateway()
            scene.on_controller(f"ip address del {gateway} dev {BRIDGE}; ip link set {BRIDGE} down")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
