# SPDX-License-Identifier: Apache-2.0
"""Dumps the descriptors of Envoy's v3 API and rewrites them for protoc-c 1.4.

usage: protogen_descriptors.py OUT OWN_PROTOS
Writes OUT/full.desc (as the package has them), OUT/c.desc (rewritten), OUT/include/**.pb-c.h and
OUT/c/**.pb-c.c. Rewritten means: proto3 `optional` becomes a one-member oneof (which is what it is),
a message with a field `base` gets another name for protobuf-c's own member, services, extensions
and options go.
"""
import importlib
import os
import subprocess
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, text_format

# Types that a configuration may hold in an Any though no v3 file imports them.
EXTRA_ROOTS = [
    "google/protobuf/field_mask.proto", "google/rpc/status.proto", "google/protobuf/api.proto",
    "opentelemetry/proto/collector/logs/v1/logs_service.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
    "opencensus/proto/agent/trace/v1/trace_service.proto",
]
# What Envoy 1.40 takes and the pinned package is too old to know: messages by file, fields added to those that exist.
NEWER = {
    "envoy/config/route/v3/route_components.proto": """
        message_type { name: "CookieMatcher"
          field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING
                  options { [validate.rules] { string { min_len: 1 max_bytes: 1024 } } } }
          field { name: "string_match" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE
                  type_name: ".envoy.type.matcher.v3.StringMatcher" options { [validate.rules] { message { required: true } } } }
          field { name: "invert_match" number: 3 label: LABEL_OPTIONAL type: TYPE_BOOL } }
        message_type { name: "RouteMatch"
          field { name: "cookies" number: 17 label: LABEL_REPEATED type: TYPE_MESSAGE
                  type_name: ".envoy.config.route.v3.CookieMatcher" } }
        message_type { name: "RetryPolicy"
          field { name: "refresh_cluster_on_retry" number: 14 label: LABEL_OPTIONAL type: TYPE_BOOL } }
        message_type { name: "RedirectAction"
          field { name: "path_rewrite" number: 10 label: LABEL_OPTIONAL type: TYPE_STRING oneof_index: 1 } }
    """,
}
PB_C_OPTION = 1019  # protobuf-c.proto: pb_c_file, pb_c_msg


def is_wanted(name):
    parts = name.split("/")
    if parts[0] == "envoy":
        return "v3" in parts or parts[1] == "annotations"
    return parts[0] in ("xds", "udpa", "validate")


def module_folder():
    import validate
    return os.path.dirname(list(validate.__path__)[0])


def load_package():
    """Every wanted file of the package with what it imports, {name: FileDescriptorProto}."""
    site, roots = module_folder(), []
    for top in ("envoy", "xds", "udpa", "validate"):
        for folder, _, names in os.walk(os.path.join(site, top)):
            rel = os.path.relpath(folder, site)
            roots += [rel + "/" + n[:-7] + ".proto" for n in names if n.endswith("_pb2.py")]
    files = {}
    for name in sorted(filter(is_wanted, roots)) + EXTRA_ROOTS:
        try:
            importlib.import_module(name[:-6].replace("/", ".").replace("-", "_") + "_pb2")
        except ModuleNotFoundError:
            if name in EXTRA_ROOTS:
                continue
            raise
        add_file(files, name)
    return files


def add_file(files, name):
    if name in files:
        return
    proto = descriptor_pb2.FileDescriptorProto()
    descriptor_pool.Default().FindFileByName(name).CopyToProto(proto)
    for dependency in proto.dependency:
        add_file(files, dependency)
    files[name] = proto  # after what it imports, as protoc wants it


def load_own(files, out, folder):
    own = []
    for at, _, names in os.walk(folder):
        own += [os.path.relpath(os.path.join(at, n), folder) for n in names if n.endswith(".proto")]
    if not own:
        return
    subprocess.run(["protoc-c", "-I" + folder, "--descriptor_set_in=" + out + "/full.desc",
                    "--descriptor_set_out=" + out + "/own.desc", *sorted(own)], check=True)
    with open(out + "/own.desc", "rb") as f:
        for proto in descriptor_pb2.FileDescriptorSet.FromString(f.read()).file:
            files[proto.name] = proto


def add_newer(files):
    for name, text in NEWER.items():
        added = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
        known = {m.name: m for m in files[name].message_type}
        for message in added.message_type:
            if message.name not in known:
                files[name].message_type.add().CopyFrom(message)
                continue
            add_fields(known[message.name], message)


def add_fields(message, added):
    """A oneof's fields must stand together."""
    fields = list(message.field)
    for new in added.field:
        if any(f.number == new.number for f in fields):
            continue
        mates = [i for i, f in enumerate(fields) if new.HasField("oneof_index") and f.HasField("oneof_index") and f.oneof_index == new.oneof_index]
        fields.insert(mates[-1] + 1 if mates else len(fields), new)
    copies = [descriptor_pb2.FieldDescriptorProto.FromString(f.SerializeToString()) for f in fields]
    del message.field[:]
    message.field.extend(copies)



def write_set(path, files):
    whole = descriptor_pb2.FileDescriptorSet(file=files)
    with open(path, "wb") as f:
        f.write(whole.SerializeToString())


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def pb_c_option(body):
    return varint(PB_C_OPTION << 3 | 2) + varint(len(body)) + body


def rewrite_message(message):
    is_map = message.options.map_entry
    message.options.Clear()
    if is_map:
        message.options.map_entry = True
    if any(f.name == "base" for f in message.field):
        message.options.MergeFromString(pb_c_option(b"\x1a\x07pb_base"))  # base_field_name
    for field in message.field:
        field.ClearField("proto3_optional")
        packed = field.options.packed if field.options.HasField("packed") else None
        field.ClearField("options")
        if packed is not None:
            field.options.packed = packed
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    del message.extension[:]
    for enum in message.enum_type:
        rewrite_enum(enum)
    for nested in message.nested_type:
        rewrite_message(nested)


def rewrite_enum(enum):
    alias = enum.options.allow_alias
    enum.ClearField("options")
    if alias:
        enum.options.allow_alias = True
    for value in enum.value:
        value.ClearField("options")


def rewrite(files):
    """Copies of the files that hold types, for protoc-c."""
    empty = {n for n, p in files.items() if not p.message_type and not p.enum_type}
    empty.add("google/protobuf/descriptor.proto")
    kept = []
    for name, original in files.items():
        if name in empty:
            continue
        proto = descriptor_pb2.FileDescriptorProto()
        proto.CopyFrom(original)
        del proto.dependency[:], proto.public_dependency[:], proto.weak_dependency[:]
        proto.dependency.extend(d for d in original.dependency if d not in empty)
        del proto.service[:], proto.extension[:]
        proto.ClearField("source_code_info")
        for message in proto.message_type:
            rewrite_message(message)
        for enum in proto.enum_type:
            rewrite_enum(enum)
        proto.options.Clear()
        proto.options.MergeFromString(pb_c_option(b"\x10\x00\x18\x00"))  # no pack, no init helpers
        kept.append(proto)
    return kept


def run_protoc(out, kept):
    os.makedirs(out + "/c")
    names = [p.name for p in kept]
    subprocess.run(["protoc-c", "--descriptor_set_in=" + out + "/c.desc", "--c_out=" + out + "/c", *names],
                   check=True)
    headers = []
    for folder, _, files in os.walk(out + "/c"):
        rel = os.path.relpath(folder, out + "/c")
        os.makedirs(out + "/include/" + rel, exist_ok=True)
        for name in files:
            if name.endswith(".h"):
                headers.append(os.path.normpath(rel + "/" + name))
                os.rename(folder + "/" + name, out + "/include/" + rel + "/" + name)
    with open(out + "/include/proto_all.h", "w") as f:
        f.write("/* Generated by tools/protogen. */\n#pragma once\n")
        f.writelines('#include "%s"\n' % h for h in sorted(headers))


def main():
    out, own = sys.argv[1:3]
    files = load_package()
    add_newer(files)
    write_set(out + "/full.desc", files.values())
    load_own(files, out, own)
    write_set(out + "/full.desc", files.values())
    kept = rewrite(files)
    write_set(out + "/c.desc", kept)
    run_protoc(out, kept)


if __name__ == "__main__":
    main()
