"""Units, compose and manifests, read as their machines would read them: complete, hardened, and of one mind.

What each names must be there in the others: a path that is mounted, a secret, a port. Nothing here needs a network.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from relay import config
from relay.store import redis_place

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
MANIFESTS = DEPLOY / "kubernetes"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
RELAYS = sorted(path for path in DEPLOY.glob("*/relay*.toml"))
EXPOSURE_MAX = 20
"""systemd-analyze's number, times ten: 20 is "OK"."""
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "CapabilityBoundingSet": "",
    "RestrictNamespaces": "yes",
    "UMask": "0077",
    "StateDirectoryMode": "0700",
    "LimitNOFILE": "65536",
    "Restart": "always",
}


def unit(path: Path) -> dict[str, list[str]]:
    """Return a unit's settings; one that stands there twice has two values."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def objects(folder: Path = MANIFESTS) -> list[dict[str, Any]]:
    """Return every object of a folder of manifests, those of kustomize left out."""
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    files = [folder / name for name in names if name.endswith(".yaml")]
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """Return the objects of a kind, by their names."""
    return {one["metadata"]["name"]: one for one in objects() if one["kind"] == kind}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a pod, those that come first too."""
    return [*pod.get("initContainers", []), *pod["containers"]]


# Configurations of relays


@pytest.mark.parametrize("path", RELAYS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_each_configuration_is_one_that_a_relay_reads(path: Path, tmp_path: Path) -> None:
    """Every relay.toml loads, names all Sentinels, speaks TLS to them and counts two replicas."""
    (tmp_path / "redis").write_text("of the test")
    found = config.load(path, tmp_path)
    assert found.redis is not None
    assert found.redis.password == "of the test"
    assert len(found.redis.sentinels) == 3
    assert found.redis.replicas.promotable == 2
    assert found.redis.authority is not None
    assert redis_place.level(found.redis.replicas) in redis_place.LEVELS


def test_instances_of_one_site_differ_in_their_name_alone() -> None:
    """Two instances with one name would fence each other off; two with other stores would not be one relay."""
    for first, second in (
        ("compose/relay1", "compose/relay2"),
        ("kubernetes/relay-0", "kubernetes/relay-1"),
    ):
        one, other = (
            (DEPLOY / f"{name}.toml").read_text().splitlines() for name in (first, second)
        )
        differ = [a for a, b in zip(one, other, strict=True) if a != b and not a.startswith("#")]
        assert [line.split(" ")[0] for line in differ] == ["instance"]


# systemd


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_each_unit_is_closed_and_has_its_secrets_from_files(path: Path) -> None:
    """Hardening, a folder of its own, restarts; secrets by LoadCredential, none in the environment."""
    found = unit(path)
    assert {name: found.get(name, [None])[0] for name in HARDENED} == HARDENED
    assert found["SystemCallFilter"][0] == "@system-service"
    assert found["LoadCredential"]
    assert not [
        one for one in found.get("Environment", []) if re.search("(?i)secret|password|key", one)
    ]


def test_the_units_pass_on_what_the_configuration_names() -> None:
    """Every credential: in relay.toml is loaded by relay.service; what node.sh reads by the other units."""
    named = set(
        re.findall(r'"credential:([^"]+)"', (DEPLOY / "systemd" / "relay.toml").read_text())
    )
    loaded = {
        one.split(":")[0] for one in unit(DEPLOY / "systemd" / "relay.service")["LoadCredential"]
    }
    assert loaded == named
    script = (DEPLOY / "redis" / "node.sh").read_text()
    for name in ("redis", "sentinel"):
        (credential,) = unit(DEPLOY / "systemd" / f"poc24-{name}.service")["LoadCredential"]
        assert f"secret {credential.split(':')[0]})" in script


@pytest.mark.may_skip("a machine without systemd; the tests before this one run everywhere")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_itself_reads_the_units(path: Path, tmp_path: Path) -> None:
    """systemd-analyze finds no fault in a unit, and calls its exposure OK."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not here")
    copy = tmp_path / path.name
    program = shutil.which("true") or "/bin/true"
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={program}", path.read_text()))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert exposed.returncode == 0, exposed.stdout[-400:]


# compose


def test_compose_has_every_part_and_nothing_hangs_in_the_air() -> None:
    """2 relays, 3 Redis, 3 Sentinels; every volume, secret, network and service that is named is there."""
    services = COMPOSE["services"]
    for name, count in (("relay", 2), ("redis", 3), ("sentinel", 3)):
        assert len([one for one in services if re.fullmatch(rf"{name}\d", one)]) == count
    for name, one in services.items():
        secrets = [s if isinstance(s, str) else s["source"] for s in one.get("secrets", [])]
        volumes = [v["source"] for v in one["volumes"] if v["type"] == "volume"]
        assert set(secrets) <= set(COMPOSE["secrets"]), name
        assert set(volumes) <= set(COMPOSE["volumes"]), name
        assert set(one.get("networks", [])) <= set(COMPOSE["networks"]), name
        assert set(one.get("depends_on", {})) <= set(services), name
        assert set(one) <= COMPOSE_KEYS, name
        if name != "folders":
            assert "test" in one["healthcheck"], name
    assert set(COMPOSE["volumes"]) == {
        v["source"] for one in services.values() for v in one["volumes"] if v["type"] == "volume"
    }


COMPOSE_KEYS = {
    *("image", "user", "read_only", "cap_drop", "cap_add", "security_opt", "restart", "tmpfs"),
    *("logging", "environment", "networks", "network_mode", "secrets", "depends_on", "ports"),
    *("stop_grace_period", "healthcheck", "ulimits", "entrypoint", "command", "volumes"),
}
"""What the services use of the compose specification: a key that is misspelt there is none of these."""


def test_compose_is_closed() -> None:
    """No service keeps a right, a way out or a writable system that it does not need; both relays share the blobs."""
    assert COMPOSE["networks"]["back"] == {"internal": True}
    for name, one in COMPOSE["services"].items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        if name != "folders":
            assert one["user"] == "10001:10001", name
        if name.startswith(("redis", "sentinel")):
            assert one["networks"] == ["back"], name
            assert "ports" not in one, name
    shared = {
        name
        for name, one in COMPOSE["services"].items()
        if any(v["source"] == "blobs" and "relay" in name for v in one["volumes"])
    }
    assert shared == {"relay1", "relay2"}


@pytest.mark.parametrize("number", [1, 2])
def test_what_a_relays_configuration_names_is_mounted(number: int, tmp_path: Path) -> None:
    """In compose, each path and credential of relayN.toml lies in a mount or is a secret of that service."""
    service = COMPOSE["services"][f"relay{number}"]
    targets = [one["target"] for one in service["volumes"]]
    secrets = {one if isinstance(one, str) else one["target"] for one in service["secrets"]}
    (tmp_path / "redis").touch()
    found = config.load(DEPLOY / "compose" / f"relay{number}.toml", tmp_path)
    assert found.redis is not None
    text = found.path.read_text()
    assert set(re.findall(r'"credential:([^"]+)"', text)) == secrets
    for path in re.findall(r'"(/[^"]+)"', text):
        assert [one for one in targets if path.startswith(one)], path
    assert {host for host, _port in found.redis.sentinels} <= set(COMPOSE["services"])


# Kubernetes


@pytest.mark.parametrize("folder", [MANIFESTS, MANIFESTS / "first"], ids=lambda path: path.name)
def test_the_manifests_are_what_kubernetes_takes(folder: Path) -> None:
    """Each object against the schema of its kind, strictly: an unknown field is an error, and so is a spoilt one."""
    found = objects(folder)
    assert found
    for one in found:
        kubernetes_validate.validate(one, "1.32", strict=True)
        spoilt = {**one, "spce": {}}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(spoilt, "1.32", strict=True)


def test_every_pod_is_hardened_apart_and_spared() -> None:
    """No root, no rights, no writable system; one of a kind on a machine; one at a time is taken away."""
    sets, budgets = of_kind("StatefulSet"), of_kind("PodDisruptionBudget")
    assert {name: one["spec"]["replicas"] for name, one in sets.items()} == {
        "relay": 2,
        "redis": 3,
        "sentinel": 3,
    }
    assert set(budgets) == set(sets)
    for name, one in sets.items():
        assert budgets[name]["spec"]["maxUnavailable"] == 1
        pod = one["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        (apart,) = pod["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        assert apart["topologyKey"] == "kubernetes.io/hostname"
        assert apart["labelSelector"] == one["spec"]["selector"]
        assert (
            one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
        )
        assert one["spec"]["volumeClaimTemplates"], "each has a disk of its own"
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            there = {volume["name"] for volume in pod["volumes"]}
            claimed = {claim["metadata"]["name"] for claim in one["spec"]["volumeClaimTemplates"]}
            assert mounted <= there | claimed
            assert not [env for env in container.get("env", []) if "secretKeyRef" in str(env)]


def test_probes_ask_what_the_relay_answers() -> None:
    """/livez decides about a restart, /readyz about visitors; a store's node is never restarted for being slow."""
    sets = of_kind("StatefulSet")
    (relay,) = sets["relay"]["spec"]["template"]["spec"]["containers"]
    assert "/livez" in relay["livenessProbe"]["exec"]["command"][2]
    assert "/readyz" in relay["readinessProbe"]["exec"]["command"][2]
    assert "/livez" in relay["startupProbe"]["exec"]["command"][2]
    for name in ("redis", "sentinel"):
        (node,) = sets[name]["spec"]["template"]["spec"]["containers"]
        assert "livenessProbe" not in node
        assert node["readinessProbe"]
        assert node["command"][1:] == ["/etc/poc24/redis/node.sh", name]


def test_strangers_do_not_reach_the_store() -> None:
    """Nothing is allowed at first; the store takes relays, nodes and Sentinels, on its two ports."""
    policies = of_kind("NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (ingress,) = policies["store"]["spec"]["ingress"]
    assert {port["port"] for port in ingress["ports"]} == {6379, 26379}
    (source,) = ingress["from"]
    (rule,) = source["podSelector"]["matchExpressions"]
    assert rule == {"key": "app", "operator": "In", "values": ["relay", "redis", "sentinel"]}


@pytest.mark.parametrize("number", [0, 1])
def test_what_an_instances_configuration_names_is_in_its_pod(number: int, tmp_path: Path) -> None:
    """In Kubernetes, each path of relay-N.toml lies in a mount, and each credential is put where it is looked for."""
    pod = of_kind("StatefulSet")["relay"]["spec"]["template"]["spec"]
    (relay,) = pod["containers"]
    (first,) = pod["initContainers"]
    targets = [one["mountPath"] for one in relay["volumeMounts"]]
    (tmp_path / "redis").touch()
    text = config.load(MANIFESTS / f"relay-{number}.toml", tmp_path).path.read_text()
    for path in re.findall(r'"(/[^"]+)"', text):
        assert [one for one in targets if path.startswith(one + "/") or path == one], path
    for name in re.findall(r'"credential:([^"]+)"', text):
        assert name in first["command"][2]


# Containerfile


def test_the_image_is_built_from_what_is_locked_and_runs_as_nobody() -> None:
    """Hashes for every package, a number for the account, a health check without another program."""
    text = (DEPLOY / "Containerfile").read_text()
    assert "--require-hashes -r deploy/requirements.lock" in text
    assert "USER 10001:10001" in text
    assert "HEALTHCHECK" in text
    assert "/livez" in text
    for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", text):
        *sources, _target = line.split()
        assert [one for one in sources if not (DEPLOY.parent / one).exists()] == []


def test_no_file_says_where_images_come_from() -> None:
    """Names of images are plain or variables: which registry is each site's own choice."""
    for path in (*DEPLOY.rglob("*.yaml"), DEPLOY / "Containerfile"):
        for image in re.findall(r"(?m)^(?:FROM|\s*(?:- )?image:) +(\S+)", path.read_text()):
            default = image.partition(":-")[2].rstrip("}") or image
            assert "/" not in default, (path, image)
