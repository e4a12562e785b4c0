# SPDX-FileCopyrightText: 2026 The vit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""launch/gke.yaml: known fields alone, and what exit statuses lead to."""

import re
import string
import subprocess

import pytest
import yaml

from tests.support import ROOT
from vit_jax.config import BAD_CONFIG, PREEMPTED, WATCHDOG

TEXT = (ROOT / "launch/gke.yaml").read_text()
COMMAND = """python -m vit_jax.main --config=x.py --config.y='("it: #$", 1)'"""
VALUES = dict(
  NAME="vit",
  IMAGE="europe-docker.pkg.dev/project/images/vit_jax:1",
  COMMAND=COMMAND,
  ACCELERATOR="tpu-v6e-slice",
  TOPOLOGY="4x8",
  SLICES="2",
  HOSTS="8",
  CHIPS="4",
)

# Fields of JobSet v1alpha2 (0.10), of batch/v1 and core/v1, as far as a run may
# need them. A type stands for a value, a list for a list of what it holds.
POD = dict(
  restartPolicy=str,
  terminationGracePeriodSeconds=int,
  nodeSelector={
    "cloud.google.com/gke-tpu-accelerator": str,
    "cloud.google.com/gke-tpu-topology": str,
    "cloud.google.com/gke-spot": str,
  },
  serviceAccountName=str,
  containers=[
    dict(
      name=str,
      image=str,
      command=[str],
      args=[str],
      ports=[dict(containerPort=int)],
      resources=dict(limits={"google.com/tpu": int}),
    )
  ],
)
JOB = dict(
  completionMode=str,
  completions=int,
  parallelism=int,
  backoffLimit=int,
  podFailurePolicy=dict(
    rules=[
      dict(
        action=str,
        onExitCodes=dict(containerName=str, operator=str, values=[int]),
        onPodConditions=[dict(type=str, status=str)],
      )
    ]
  ),
  template=dict(spec=POD),
)
JOB_SET = dict(
  apiVersion=str,
  kind=str,
  metadata=dict(
    name=str, annotations={"alpha.jobset.sigs.k8s.io/exclusive-topology": str}
  ),
  spec=dict(
    network=dict(
      enableDNSHostnames=bool, publishNotReadyAddresses=bool, subdomain=str
    ),
    failurePolicy=dict(
      maxRestarts=int,
      restartStrategy=str,
      rules=[
        dict(
          name=str,
          action=str,
          onJobFailureReasons=[str],
          onJobFailureMessagePatterns=[str],
          targetReplicatedJobs=[str],
        )
      ],
    ),
    replicatedJobs=[dict(name=str, replicas=int, template=dict(spec=JOB))],
    ttlSecondsAfterFinished=int,
  ),
)


def find_errors(value, schema, path="JobSet"):
  """Yields what is of another form than a schema says."""
  if isinstance(schema, dict) and isinstance(value, dict):
    for key, x in value.items():
      if key in schema:
        yield from find_errors(x, schema[key], f"{path}.{key}")
      else:
        yield f"{path} has no field {key}"
  elif isinstance(schema, list) and isinstance(value, list):
    for x in value:
      yield from find_errors(x, schema[0], f"{path}[]")
  elif not (isinstance(schema, type) and type(value) is schema):
    yield f"{path} is {value!r}"


@pytest.fixture
def job_set():
  return yaml.safe_load(string.Template(TEXT).safe_substitute(VALUES))


@pytest.fixture
def job(job_set):
  return job_set["spec"]["replicatedJobs"][0]["template"]["spec"]


def test_every_field_is_one_of_its_kind(job_set):
  assert list(find_errors(job_set, JOB_SET)) == []
  job_set["spec"]["failurePolicy"]["maxRestart"] = "5"
  job_set["spec"]["network"] = {"subdomain": 5}
  assert list(find_errors(job_set, JOB_SET)) == [
    "JobSet.spec.network.subdomain is 5",
    "JobSet.spec.failurePolicy has no field maxRestart",
  ]


def test_the_names_that_a_user_sets(job_set, job):
  """Each is exported by the lines at the top, and none is left over."""
  body = re.sub("^#.*", "", TEXT, flags=re.MULTILINE)
  used = set(re.findall(r"\$\{?(\w+)", body))
  exports = " ".join(re.findall("^#   export (.*)", TEXT, re.MULTILINE))
  assert used == set(re.findall(r"\b([A-Z]+)=", exports)) == set(VALUES)
  pod = job["template"]["spec"]
  assert job_set["metadata"]["name"] == "vit"
  assert job_set["spec"]["replicatedJobs"][0]["replicas"] == 2
  assert job["completions"] == job["parallelism"] == 8
  assert set(pod["nodeSelector"].values()) == {"tpu-v6e-slice", "4x8"}
  (container,) = pod["containers"]
  assert container["image"] == VALUES["IMAGE"]
  assert container["resources"]["limits"] == {"google.com/tpu": 4}


def test_the_command_arrives_as_it_was_written(job, tmp_path):
  python = tmp_path / "python"
  python.write_text("#!/bin/bash\nprintf '%s\\n' \"$@\"\n")
  python.chmod(0o755)
  (container,) = job["template"]["spec"]["containers"]
  done = subprocess.run(
    [*container["command"], *container["args"]],
    env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    capture_output=True,
    text=True,
  )
  assert done.stdout.splitlines() == [
    *("-m", "vit_jax.main", "--config=x.py", '--config.y=("it: #$", 1)')
  ]


def get_action(job_set, job, status=None, disrupted=False):
  """What a JobSet does when one host ends so, by the rules of both levels.

  The message is the one that Kubernetes gives a Job that a rule has failed.
  """
  reason, message = "BackoffLimitExceeded", "Job has reached the limit"
  for index, rule in enumerate(job["podFailurePolicy"]["rules"]):
    codes = rule.get("onExitCodes", {}).get("values", [])
    conditions = [x["type"] for x in rule.get("onPodConditions", [])]
    if status in codes or (disrupted and "DisruptionTarget" in conditions):
      assert rule["action"] == "FailJob"
      reason = "PodFailurePolicy"
      message = f"Container trainer for pod x failed with exit code {status} "
      message += f"matching FailJob rule at index {index}"
      break
  else:
    assert job["backoffLimit"] == 0
  for rule in job_set["spec"]["failurePolicy"]["rules"]:
    patterns = rule.get("onJobFailureMessagePatterns", [""])
    if reason in rule["onJobFailureReasons"] and any(
      re.search(pattern, message) for pattern in patterns
    ):
      return rule["action"]
  return "RestartJobSet"


def test_what_an_exit_status_leads_to(job_set, job):
  free = "RestartJobSetAndIgnoreMaxRestarts"
  assert get_action(job_set, job, BAD_CONFIG) == "FailJobSet"
  assert get_action(job_set, job, PREEMPTED) == free
  # Killed before it could save, by its node's end.
  assert get_action(job_set, job, 137, disrupted=True) == free
  for status in (1, WATCHDOG, 134, 137):
    assert get_action(job_set, job, status) == "RestartJobSet"
  assert job_set["spec"]["failurePolicy"]["maxRestarts"] > 0
  names = [rule["name"] for rule in job_set["spec"]["failurePolicy"]["rules"]]
  assert all(
    re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", x) for x in names
  )
  # Both are asked for by what Kubernetes checks.
  assert job["template"]["spec"]["restartPolicy"] == "Never"
  assert job["completionMode"] == "Indexed"
