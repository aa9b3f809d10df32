"""The files in examples/cluster are ones that Ray, KubeRay and bash take, and run commands that exist."""

from __future__ import annotations

import copy
import os
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
RAY_JOBS = ("rayjob.yaml", "wrn_rayjob.yaml")
GROUP = {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "replicas", "serviceType", "template"}


# Of Slurm's manuals of sbatch and srun, 22.05.
SBATCH = {
    "array", "cpus-per-task", "gpus", "gpus-per-node", "job-name", "no-kill", "nodes", "ntasks-per-node", "open-mode",
    "output", "requeue", "signal", "time",
}  # fmt: skip

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


SCRIPT = re.compile(r"(?:python|--) (?:\S*/)?(ray_sweep|wrn|wrn_trial)\.py(.*)")


@pytest.mark.parametrize("name", [*sorted(TEXTS), "README.md"])
def test_the_examples_have_the_options_that_they_are_given(name):
    text = TEXTS.get(name) or (CLUSTER / name).read_text()
    commands = SCRIPT.findall(text.replace("\\\n", " "))
    assert commands
    for script, options in commands:
        known = set(re.findall(r'add(?:_argument)?\("(--[a-z-]+)"', (EXAMPLES / f"{script}.py").read_text()))
        assert set(OPTION.findall(options.partition('"')[0].partition(" --seconds")[0])) <= known, script


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


@pytest.mark.parametrize("name", RAY_JOBS)
def test_a_ray_job_has_the_fields_of_kuberay(name):
    job = yaml.safe_load(TEXTS[name])
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


@pytest.mark.parametrize("name", RAY_JOBS)
def test_each_worker_of_a_ray_job_holds_a_trial_and_its_head_none(name):
    spec = yaml.safe_load(TEXTS[name])["spec"]
    words = shlex.split(spec["entrypoint"])
    gpus = float(words[words.index("--gpus-per-trial") + 1])
    cluster = spec["rayClusterSpec"]
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] >= gpus
    assert int(container["resources"]["limits"]["cpu"]) >= 1
    assert "nvidia.com/gpu" not in head["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert head["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize(("name", "n_paths"), [("rayjob.yaml", 3), ("wrn_rayjob.yaml", 5)])
def test_what_a_ray_job_reads_and_writes_is_mounted(name, n_paths):
    spec = yaml.safe_load(TEXTS[name])["spec"]
    (head,) = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    mounted = [mount["mountPath"] for mount in head["volumeMounts"]]
    paths = [word for word in shlex.split(spec["entrypoint"]) if word.startswith("/")]
    assert len(paths) == n_paths
    assert all(any(path.startswith(f"{folder}/") for folder in mounted) for path in paths)


@pytest.mark.parametrize(
    ("name", "extras"),
    [("rayjob.yaml", {"torch", "ray", "sklearn", "report"}), ("wrn_rayjob.yaml", {"torch", "ray", "report"})],
)
def test_the_workers_of_a_ray_job_install_robust_lr_with_what_the_example_needs(name, extras):
    spec = yaml.safe_load(TEXTS[name])["spec"]
    (line,) = yaml.safe_load(spec["runtimeEnvYAML"])["pip"]
    requirement = Requirement(line)
    assert (requirement.name, requirement.extras) == ("robust-lr", extras)


def test_the_options_of_sbatch_are_those_of_its_manual():
    readme = re.findall(r"sbatch ((?:--\S+ )+)", (CLUSTER / "README.md").read_text())
    given = {*re.findall(r"#SBATCH --([a-z-]+)", TEXTS["slurm.sh"]), *re.findall(r"--([a-z-]+)", " ".join(readme))}
    assert {"array", "gpus", "signal"} < given <= SBATCH


def test_slurm_sh_is_bash():
    subprocess.run(["bash", "-n", CLUSTER / "slurm.sh"], check=True, timeout=20)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, CLUSTER / "slurm.sh"], check=True, timeout=60)


@pytest.mark.slow
def test_slurm_sh_starts_a_ray_runs_the_script_that_it_is_given_and_stops_the_ray(tmp_path):
    (tmp_path / "scontrol").write_text("#!/bin/sh\n")  # a stand-in; a job on one node needs no srun
    (tmp_path / "script.py").write_text(
        "import sys, ray\n"
        "ray.init(address=sys.argv[sys.argv.index('--address') + 1], log_to_driver=False)\n"
        "print(sys.argv[1], ray.cluster_resources()['CPU'])\n"
    )
    job = str(os.getpid())
    done = subprocess.run(
        ["bash", str(CLUSTER / "slurm.sh"), str(tmp_path / "script.py"), "--own"],
        cwd=tmp_path,
        env={
            **os.environ, "PATH": ":".join([str(Path(sys.executable).parent), str(tmp_path), os.environ["PATH"]]),
            "HOME": str(tmp_path),
            "SLURM_JOB_ID": job, "SLURM_NNODES": "1", "SLURM_CPUS_PER_TASK": "3", "SLURM_GPUS_ON_NODE": "0",
        },
        check=False, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--own 3.0" in done.stdout
    assert not Path(f"/tmp/ray-{job}").exists()


def test_every_file_begins_with_its_commands_and_says_what_to_edit():
    for name, text in TEXTS.items():
        comment = re.match(r"(#.*\n)+", text)[0]
        assert re.search(r"^#   \w+ .*examples/", comment, re.MULTILINE), name
        assert "# EDIT" in comment
