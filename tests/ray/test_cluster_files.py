"""The files in examples/cluster are ones that Ray, KubeRay and bash take, and run commands that exist."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import ray
import yaml
from packaging.requirements import Requirement
from ray.scripts.scripts import cli

from robust_lr.cli.main import all_commands, build_parser
from robust_lr.cli.plugins import load_plugins

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CLUSTER = EXAMPLES / "cluster"
TEXTS = {path.name: path.read_text() for path in sorted(CLUSTER.iterdir()) if path.suffix in (".yaml", ".sh")}

# The fields that matter, of KubeRay's reference of its API.
RAY_JOB = {
    "activeDeadlineSeconds", "backoffLimit", "entrypoint", "metadata", "rayClusterSpec", "runtimeEnvYAML",
    "shutdownAfterJobFinishes", "submissionMode", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished",
}  # fmt: skip
RAY_CLUSTER = {
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion", "workerGroupSpecs",
}  # fmt: skip
GROUP = {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "replicas", "serviceType", "template"}


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def ray_commands(text):
    """The commands of Ray in a file, each with the options that it is given."""
    for line in text.replace("\\\n", " ").splitlines():
        for name, rest in re.findall(r"\bray (job \w+|[a-z]+(?:-[a-z]+)*)((?: [^|&]*)?)", line):
            if name.split()[0] in cli.commands and (rest or name == "stop"):
                yield name, OPTION.findall(rest.partition(" -- ")[0])


def options_of(name):
    """The options that a command of Ray knows."""
    command = cli
    for word in name.split():
        command = command.commands[word]
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_command_of_ray_has_the_options_that_it_is_given(name):
    for command, options in ray_commands(TEXTS[name]):
        assert set(options) <= options_of(command), command


def test_the_commands_of_ray_are_found():
    found = {name: {command for command, _ in ray_commands(text)} for name, text in TEXTS.items()}
    assert found["cluster.yaml"] == {"up", "dashboard", "job submit", "rsync-down", "down", "stop", "start"}
    assert found["slurm.sh"] == {"get-auth-token", "start"}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_ray_sweep_has_the_options_that_it_is_given(name):
    commands = re.findall(r"python (?:\S*/)?ray_sweep\.py(.*)", TEXTS[name].replace("\\\n", " "))
    known = set(re.findall(r'add_argument\("(--[a-z-]+)"', (EXAMPLES / "ray_sweep.py").read_text()))
    assert commands
    for command in commands:
        assert set(OPTION.findall(command)) <= known


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_files_run_the_ray_that_is_tested(name):
    versions = re.findall(r"(?:rayproject/ray:|rayVersion: |ray\[default\]==)([\d.]+\d)", TEXTS[name])
    assert set(versions) <= {ray.__version__}
    assert set(re.findall(r"rayproject/ray:[\d.]+-?(\w*)", TEXTS[name])) <= {"py311"}  # the default is an older Python


def test_every_option_in_the_guide_exists():
    guide = (EXAMPLES.parent / "docs" / "how-to" / "ray.md").read_text()
    plugins = load_plugins()
    (subparsers,) = (each for each in build_parser(all_commands(plugins), plugins)._actions if each.dest == "command")
    known = {option for parser in subparsers.choices.values() for option in parser._option_string_actions}
    for name in ("start", "job submit", "get-auth-token"):
        known |= options_of(name)
    assert {"--gpus-per-trial", "--num-cpus"} < set(OPTION.findall(guide)) <= known


def test_cluster_yaml_is_valid_for_ray():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(TEXTS["cluster.yaml"])
    validate_config(prepare_config(copy.deepcopy(config)))
    types = config["available_node_types"]
    head, gpu = types[config["head_node_type"]], types["gpu"]
    assert head["resources"] == {"CPU": 0}  # no trial runs beside the driver
    wanted = int(re.search(r"--max-concurrent (\d+)", TEXTS["cluster.yaml"])[1])
    assert wanted == gpu["max_workers"] * gpu["resources"]["GPU"]
    assert config["max_workers"] == gpu["max_workers"]


def test_cluster_yaml_with_a_wrong_field_is_not():
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(TEXTS["cluster.yaml"]) | {"max_wrokers": 3}
    with pytest.raises(Exception, match="max_wrokers"):
        validate_config(prepare_config(config))


def test_rayjob_yaml_has_the_fields_of_kuberay():
    job = yaml.safe_load(TEXTS["rayjob.yaml"])
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job) == {"apiVersion", "kind", "metadata", "spec"}
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert set(job["spec"]) <= RAY_JOB
    assert set(cluster) <= RAY_CLUSTER
    assert all(set(group) <= GROUP for group in groups)
    for group in groups:
        parameters = group["rayStartParams"]
        assert all(isinstance(value, str) for value in parameters.values())  # the API takes nothing else
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            assert container["resources"]["limits"] == container["resources"]["requests"]


def test_each_worker_of_rayjob_yaml_holds_a_trial_and_its_head_none():
    spec = yaml.safe_load(TEXTS["rayjob.yaml"])["spec"]
    words = shlex.split(spec["entrypoint"])
    gpus = float(words[words.index("--gpus-per-trial") + 1])
    cluster = spec["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] >= gpus
    assert int(container["resources"]["limits"]["cpu"]) >= 1
    assert "nvidia.com/gpu" not in head["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert head["rayStartParams"]["num-cpus"] == "0"


def test_what_rayjob_yaml_reads_and_writes_is_mounted():
    spec = yaml.safe_load(TEXTS["rayjob.yaml"])["spec"]
    (head,) = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    mounted = [mount["mountPath"] for mount in head["volumeMounts"]]
    paths = [word for word in shlex.split(spec["entrypoint"]) if word.startswith("/")]
    assert len(paths) == 3
    assert all(any(path.startswith(f"{folder}/") for folder in mounted) for path in paths)


def test_the_workers_of_rayjob_yaml_install_robust_lr_with_what_the_example_needs():
    spec = yaml.safe_load(TEXTS["rayjob.yaml"])["spec"]
    (line,) = yaml.safe_load(spec["runtimeEnvYAML"])["pip"]
    requirement = Requirement(line)
    assert (requirement.name, requirement.extras) == ("robust-lr", {"torch", "ray", "sklearn", "report"})


def test_slurm_sh_is_bash():
    subprocess.run(["bash", "-n", CLUSTER / "slurm.sh"], check=True, timeout=20)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, CLUSTER / "slurm.sh"], check=True, timeout=60)


def test_every_file_begins_with_its_commands_and_says_what_to_edit():
    for name, text in TEXTS.items():
        comment = re.match(r"(#.*\n)+", text)[0]
        assert re.search(r"^#   \w+ .*examples/", comment, re.MULTILINE), name
        assert "# EDIT" in comment
