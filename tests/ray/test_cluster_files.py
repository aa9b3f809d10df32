"""The files in examples/cluster are ones that Ray, KubeRay and bash take, and run commands that exist."""

from __future__ import annotations

import copy
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import yaml
from packaging.requirements import Requirement

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CLUSTER = EXAMPLES / "cluster"
TEXTS = {path.name: path.read_text() for path in sorted(CLUSTER.iterdir()) if path.suffix in (".yaml", ".sh")}

# The fields of KubeRay's API reference, version 1.6.
RAY_JOB = {
    "activeDeadlineSeconds", "authOptions", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint",
    "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy", "metadata", "rayClusterSpec",
    "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "submitterPodTemplate",
    "suspend", "ttlSecondsAfterFinished",
}  # fmt: skip
RAY_CLUSTER = {
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "gcsFaultToleranceOptions", "headGroupSpec",
    "headServiceAnnotations", "managedBy", "rayVersion", "suspend", "workerGroupSpecs",
}  # fmt: skip
GROUP = {
    "groupName", "idleTimeoutSeconds", "labels", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams",
    "replicas", "resources", "scaleStrategy", "serviceType", "suspend", "template",
}  # fmt: skip


def help_of(*command):
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    return set(re.findall(r"--[a-z][a-z-]*", done.stdout))


@pytest.fixture(scope="module")
def options_of():
    """The options that a program or a command of Ray knows."""
    known = {
        "ray_sweep.py": set(re.findall(r'add_argument\("(--[a-z-]+)"', (EXAMPLES / "ray_sweep.py").read_text())),
        "robust-lr": set(),
    }

    def of(program):
        if program not in known:
            known[program] = help_of("ray.scripts.scripts", *program.split()[1:])
        return known[program]

    return of


def ray_commands(text):
    """The commands of Ray in a file, with their options: (ray start, [--head, ...])."""
    lines = text.replace("\\\n", " ").splitlines()
    for line in lines:
        for found in re.finditer(
            r"\bray ((?:job )?(?:start|submit|up|down|dashboard|rsync-down|get-auth-token))\b([^|&]*)", line
        ):
            yield f"ray {found[1]}", re.findall(r"(?<![\w-])--[a-z][a-z-]*", found[2].partition(" -- ")[0])


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_command_of_ray_has_the_options_that_are_used(name, options_of):
    for command, options in ray_commands(TEXTS[name]):
        assert set(options) <= options_of(command), command


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_option_of_ray_sweep_that_is_used_exists(name, options_of):
    commands = re.findall(r"python (?:\S*/)?ray_sweep\.py(.*)", TEXTS[name].replace("\\\n", " "))
    assert commands
    for command in commands:
        assert set(re.findall(r"--[a-z][a-z-]*", command)) <= options_of("ray_sweep.py")


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_the_files_run_the_ray_that_is_tested(name):
    versions = re.findall(r"(?:rayproject/ray:|rayVersion: |ray\[default\]==)([\d.]+\d)", TEXTS[name])
    assert set(versions) <= {ray.__version__}
    assert {"py311"} >= set(re.findall(r"rayproject/ray:[\d.]+-?(py\d+)?", TEXTS[name]))


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
