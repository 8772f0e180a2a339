# SPDX-License-Identifier: Apache-2.0
"""The directory of YAML that weftd watches: mesh/*.yaml with this run's addresses in it.

An edit of the tour, tour/FILE.EDIT.yaml, takes the place of mesh/FILE.yaml. Files appear whole: written beside, then renamed.
"""
import glob
import json
import os
import shutil
import string

from lib.world import SERVICES, WORKLOADS


class Config:
    def __init__(self, demo_directory, directory, ground, gateway_port):
        self.mesh, self.tour = os.path.join(demo_directory, "mesh"), os.path.join(demo_directory, "tour")
        self.directory = directory
        self.values = {"gateway_port": gateway_port,
                       **{"vip_" + service: ground.vip(service) for service in SERVICES},
                       **{"ip_" + one.name.replace("-", "_"): ground.ip(one) for one in WORKLOADS}}
        self.mesh_file = shutil.copy(os.path.join(demo_directory, "mesh.yaml"), os.path.dirname(directory))
        os.makedirs(directory)
        for path in sorted(glob.glob(os.path.join(self.mesh, "*.yaml"))):
            self.put(path, os.path.basename(path))
        if ground.objects():
            self.write("sidecars.yaml", "\n---\n".join(json.dumps(one, indent=1) for one in ground.objects()) + "\n")

    def put(self, path, name):
        with open(path, encoding="utf-8") as file:
            self.write(name, string.Template(file.read()).substitute(self.values))

    def write(self, name, text):
        target = os.path.join(self.directory, name)
        with open(target + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(target + ".new", target)

    def edit(self, file, edit):
        """edit("reviews", "canary"): as tour/reviews.canary.yaml says."""
        self.put(os.path.join(self.tour, f"{file}.{edit}.yaml"), file + ".yaml")

    def restore(self, file):
        self.put(os.path.join(self.mesh, file + ".yaml"), file + ".yaml")
