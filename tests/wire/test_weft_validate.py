# SPDX-License-Identifier: Apache-2.0
"""weft validate: what a person sees of files of mesh objects, right ones and wrong ones."""
import glob
import os
import subprocess

import pytest

from lib import istiod
from lib.proxy import weft

pytestmark = pytest.mark.weft_only

RIGHT = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: bookinfo}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews}}]
"""
DENY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed}
spec: {action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}
"""


def run(*args):
    binary = os.path.join(os.path.dirname(weft()), "weft")
    done = subprocess.run([binary, "validate", *args], capture_output=True, text=True, timeout=60, check=False)
    assert "ERROR: " not in done.stderr, done.stderr  # of a sanitizer
    return done


def written(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_yaml", ".yaml").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return str(folder)


def test_right_files__nothing_said__exit_0(tmp_path):
    done = run(written(tmp_path, a_yaml=RIGHT, inner__b_yaml=DENY.replace("methods: [GET]", "ports: ['80']"), readme_txt="{{{"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "2 files, 2 objects without faults, 0 passed over, 0 faults" in done.stderr


def test_faults__each_with_file_line_column_and_object(tmp_path):
    folder = written(tmp_path, a_yaml=RIGHT.replace("hosts", "hots") + "---\n" + RIGHT.replace("reviews, n", "other, n").replace(
        "[{destination: {host: reviews}}]", "[{destination: {host: reviews}, weight: -5}]"), b_json='{"kind": ')
    done = run(folder)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{folder}/a.yaml:5:3: VirtualService bookinfo/reviews: spec.hots: no such field in istio.networking.v1alpha3.VirtualService; "
        "did you mean 'hosts'?",
        f"{folder}/a.yaml:15:44: VirtualService bookinfo/other: spec.http[0].route[0].weight: must not be negative, is -5",
        f"{folder}/b.json:1:10: the text ends too early",
    ]


def test_one_object_in_two_files__both_are_named(tmp_path):
    folder = written(tmp_path, a_yaml="\n" + RIGHT, b_yaml=RIGHT)
    done = run(folder)
    assert done.returncode == 1
    assert done.stdout == f"{folder}/b.yaml:1:1: VirtualService bookinfo/reviews: stands in {folder}/a.yaml:2 already\n"


def test_warnings__said_but_no_fault(tmp_path):
    path = os.path.join(written(tmp_path, a_yaml=DENY), "a.yaml")
    done = run(path)
    assert done.returncode == 0
    assert done.stdout.startswith(f"warning: {path}:4:30: AuthorizationPolicy default/closed: spec.rules[0]: denies all of TCP too")
    assert run("--only-faults", path).stdout == ""


def test_other_kinds__passed_over__but_not_slips_of_the_pen(tmp_path):
    done = run(written(tmp_path, a_yaml="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\n"
                                        + RIGHT.replace("VirtualService", "VirtualServise")))
    assert done.returncode == 1
    assert "no kind VirtualServise in networking.istio.io/v1; did you mean VirtualService?" in done.stdout
    assert "1 passed over, 1 fault" in done.stderr


def test_mesh_config__by_flag_and_in_a_directory(tmp_path):
    folder = written(tmp_path, mesh_yaml="trustDomain: a_b\nconectTimeout: 1s\n")
    for args in ([folder], ["--mesh-config", folder + "/mesh.yaml"]):
        done = run(*args)
        assert done.returncode == 1
        assert "mesh.yaml:2:1: conectTimeout: no such field in istio.mesh.v1alpha1.MeshConfig; did you mean 'connectTimeout'?" in done.stdout


@pytest.mark.parametrize("args, status", [([], 2), (["--no-such-flag"], 2), (["--help"], 0), (["/no/such/file.yaml"], 1)])
def test_arguments(args, status):
    done = run(*args)
    assert done.returncode == status
    assert "weft validate" in done.stdout + done.stderr


@pytest.mark.skipif(istiod.folder() is None, reason="no recorded inputs here: WEFT_ISTIOD_FIXTURES names no folder, none beside the checkout")
def test_what_istiod_took__is_right():
    """But for the Gateway API's kinds, which are said not to be supported yet."""
    recorded = istiod.folder()
    inputs = glob.glob(recorded + "/*/input.yaml") + glob.glob(recorded + "/base/*s.yaml")
    assert len(inputs) > 10
    for path in inputs:
        faults = [line for line in run("--only-faults", path).stdout.splitlines() if "is not supported yet" not in line]
        assert faults == [], path
    assert run("--mesh-config", recorded + "/base/mesh.yaml").returncode == 0
