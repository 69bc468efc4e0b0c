#!/usr/bin/env python3
"""Makes of an unpacked image what Kubernetes makes of it for a pod.

    bundle.py MANIFEST BUNDLE NETWORK KEYS PROFILE

The user, rights, mounts and the command in BUNDLE/config.json become those of the DaemonSet in
MANIFEST; its ConfigMap is written beside it, and KEYS, a directory, is the Secret. NETWORK is the
network namespace's file, PROFILE what RuntimeDefault stands for (containers' seccomp.json).
"""

import json
import os
import platform
import shutil
import sys

import yaml

manifest, bundle, network, keys, profile = sys.argv[1:]
documents = {d["kind"]: d for d in yaml.safe_load_all(open(manifest))}
pod = documents["DaemonSet"]["spec"]["template"]["spec"]
(container,) = pod["containers"]
rights = {**pod["securityContext"], **container["securityContext"]}
added = ["CAP_" + name for name in rights["capabilities"]["add"]]
assert rights["capabilities"]["drop"] == ["ALL"] and rights["runAsNonRoot"] and pod["hostNetwork"]

spec_file = os.path.join(bundle, "config.json")
spec = json.load(open(spec_file))
image_user = spec["process"]["user"]["uid"]
assert image_user == rights["runAsUser"], "the image's user is the manifest's"
process = spec["process"]
process["terminal"] = False
process["user"] = {"uid": rights["runAsUser"], "gid": rights["runAsGroup"]}
# As containerd has it: the kernel leaves a user that is not root no more than the bounding set.
process["capabilities"] = {s: added for s in ("bounding", "effective", "permitted")}
process["noNewPrivileges"] = not rights["allowPrivilegeEscalation"]
process["args"] = [process["args"][0], *container["args"]]
process.pop("rlimits", None)
spec["root"]["readonly"] = rights["readOnlyRootFilesystem"]
kinds = ("pid", "ipc", "uts", "mount")
spec["linux"]["namespaces"] = [{"type": k} for k in kinds] + [{"type": "network", "path": network}]
spec["linux"].pop("resources", None)

# The format of containers' profiles is the runtime's, with conditions.
assert rights["seccompProfile"]["type"] == "RuntimeDefault"
machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
calls = []
source = json.load(open(profile))
for rule in source["syscalls"]:
    includes, excludes = rule.get("includes", {}), rule.get("excludes", {})
    has = lambda c: any(name in added for name in c.get("caps", []))
    if "caps" in includes and not has(includes) or has(excludes):
        continue
    if machine not in includes.get("arches", [machine]) or machine in excludes.get("arches", []):
        continue
    keep = ("names", "action", "args", "errnoRet")
    calls.append({k: rule[k] for k in keep if rule.get(k) not in (None, [])})
spec["linux"]["seccomp"] = {"defaultAction": source["defaultAction"], "syscalls": calls}

spec["mounts"] = [m for m in spec["mounts"] if m["type"] != "cgroup"]
for volume in container["volumeMounts"]:
    name, place = volume["name"], volume["mountPath"]
    (what,) = [v for v in pod["volumes"] if v["name"] == name]
    if "emptyDir" in what:
        options = ["nosuid", "nodev", "noexec", "mode=2777", f"gid={rights['fsGroup']}"]
        mount = {"type": "tmpfs", "source": "tmpfs", "options": options}
    else:
        # Volumes of Kubernetes are links to links into a directory that is replaced as a whole.
        directory = os.path.join(bundle, name)
        data = os.path.join(directory, "..2026_01_01")
        if "secret" in what:
            shutil.copytree(keys, data)
            for file in os.listdir(data):
                os.chmod(os.path.join(data, file), what["secret"]["defaultMode"])
                os.chown(os.path.join(data, file), 0, rights["fsGroup"])
        else:
            os.makedirs(data)
            for file, text in documents["ConfigMap"]["data"].items():
                with open(os.path.join(data, file), "w") as out:
                    out.write(text)
                os.chmod(out.name, 0o644)
        os.chmod(data, 0o755)
        os.symlink("..2026_01_01", os.path.join(directory, "..data"))
        for file in os.listdir(data):
            os.symlink(os.path.join("..data", file), os.path.join(directory, file))
        mount = {"type": "bind", "source": directory, "options": ["rbind", "ro"]}
    spec["mounts"].append({"destination": place, **mount})
json.dump(spec, open(spec_file, "w"), indent=1)
