# SPDX-License-Identifier: Apache-2.0
"""Turns protoc-c's C descriptors, and the options that it drops, into the tables of
src/proto/tables.h.

usage: protogen_tables.py OUT
Reads OUT/full.desc and OUT/c/**.pb-c.c (whose layout of structs is thus the one truth), writes
OUT/proto_tables.c and OUT/proto_storage.c, removes OUT/c.
"""
import os
import re
import shutil
import sys

from google.protobuf import descriptor_pb2
from envoy.annotations import deprecation_pb2
from udpa.annotations import sensitive_pb2
from validate import validate_pb2

import protogen_patterns

NONE = 0xFFFF
MESSAGE = re.compile(r"^const ProtobufCMessageDescriptor (\w+)__descriptor =\n\{\n"
                     r"  PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,\n  \"([\w.]+)\",\n  \"\w+\",\n  \"(\w+)\",", re.M)
FIELDS = re.compile(r"^static const ProtobufCFieldDescriptor (\w+)__field_descriptors\[\d+\] =\n\{\n(.*?)^\};", re.M | re.S)
FIELD = re.compile(
    r"  \{\n    \"(?P<name>\w+)\",\n    (?P<id>\d+),\n    PROTOBUF_C_LABEL_(?P<label>\w+),\n"
    r"    PROTOBUF_C_TYPE_(?P<type>\w+),\n    (?P<quantifier>[^\n]*?),(?:\s*/\*[^\n]*)?\n    (?P<offset>[^\n]*),\n"
    r"    (?P<descriptor>[^\n]*),\n    (?P<default>[^\n]*),\n    (?P<flags>[^\n]*?),\s*/\* flags \*/\n"
    r"    0,NULL,NULL[^\n]*\n  \},\n")
BY_NAME = re.compile(r"^static const unsigned (\w+)__field_indices_by_name\[\] = \{\n(.*?)^\};", re.M | re.S)
ENUM = re.compile(r"^const ProtobufCEnumDescriptor (\w+)__descriptor =\n\{\n"
                  r"  PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC,\n  \"([\w.]+)\",", re.M)
VALUES = re.compile(r"^static const ProtobufCEnumValue (\w+)__enum_values_by_number\[\d+\] =\n\{\n(.*?)^\};", re.M | re.S)
VALUE = re.compile(r'\{ "(\w+)", "\w+", (-?\d+) \}')
ALIASES = re.compile(r"^static const ProtobufCEnumValueIndex (\w+)__enum_values_by_name\[\d+\] =\n\{\n(.*?)^\};", re.M | re.S)
ALIAS = re.compile(r'\{ "(\w+)", (\d+) \}')


def fail(text):
    sys.exit("protogen: " + text)


class Text:
    def __init__(self):
        self.at, self.offsets = 0, {}

    def add(self, s):
        if s not in self.offsets:
            self.offsets[s] = self.at
            self.at += len(s) + 1
        return self.offsets[s]


class Rules:
    """Packed validate.FieldRules, each text once; 0 stands for none."""

    def __init__(self):
        self.index, self.spans, self.blob = {b"": 0}, [(0, 0)], b""

    def add(self, packed):
        if packed not in self.index:
            self.index[packed] = len(self.spans)
            self.spans.append((len(self.blob), len(packed)))
            self.blob += packed
        return self.index[packed]


def check_patterns(rules, where):
    if rules.bytes.HasField("pattern"):
        fail(where + ": a pattern of bytes is not supported")
    if rules.string.HasField("pattern"):
        protogen_patterns.check(rules.string.pattern, where)
    if rules.repeated.HasField("items"):
        check_patterns(rules.repeated.items, where)
    for part in ("keys", "values"):
        if rules.map.HasField(part):
            check_patterns(getattr(rules.map, part), where)


def check_json_name(field, where):
    """Names in JSON are derived at run time, so none may say otherwise."""
    words = field.name.split("_")
    derived = words[0] + "".join(w[:1].upper() + w[1:] for w in words[1:])
    if field.json_name and field.json_name != derived:
        fail("%s.%s: json_name %s is not %s" % (where, field.name, field.json_name, derived))


# Rules that Envoy states and doesn't look at, where whoever keeps to what Envoy documents breaks them:
# trust_bundles stands in the place of trust_domains.
NOT_ENFORCED = {"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.trust_domains"}


class Options:
    """What the options of a message and its fields say."""

    def __init__(self, message, full_name):
        self.map_entry = message.options.map_entry
        self.no_rules = (message.options.Extensions[validate_pb2.disabled]
                         or message.options.Extensions[validate_pb2.ignored])
        self.fields = {}
        self.oneofs = []
        for field in message.field:
            rules = field.options.Extensions[validate_pb2.rules]
            check_json_name(field, full_name)
            check_patterns(rules, full_name + "." + field.name)
            enforced = full_name + "." + field.name not in NOT_ENFORCED
            self.fields[field.number] = (
                rules.SerializeToString(deterministic=True) if enforced else b"", field.options.deprecated,
                field.options.Extensions[sensitive_pb2.sensitive],
                field.options.Extensions[deprecation_pb2.disallowed_by_default])
        for index, oneof in enumerate(message.oneof_decl):
            members = [f.number for f in message.field if f.HasField("oneof_index") and f.oneof_index == index]
            self.oneofs.append((oneof.name, members[0], oneof.options.Extensions[validate_pb2.required]))


def read_options(path):
    found = {}

    def walk(message, prefix):
        name = prefix + message.name
        found[name] = Options(message, name)
        for nested in message.nested_type:
            walk(nested, name + ".")

    with open(path, "rb") as f:
        whole = descriptor_pb2.FileDescriptorSet.FromString(f.read())
    for proto in whole.file:
        for message in proto.message_type:
            walk(message, proto.package + "." if proto.package else "")
    return found


class Generated:
    """All that protoc-c wrote, by C prefix."""

    def __init__(self, folder):
        self.messages, self.fields, self.by_name = {}, {}, {}
        self.enums, self.values, self.aliases = {}, {}, {}
        for at, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                with open(os.path.join(at, name)) as f:
                    self.read(f.read())

    def read(self, text):
        for prefix, name, c_name in MESSAGE.findall(text):
            self.messages[prefix] = (name, c_name)
        for prefix, body in FIELDS.findall(text):
            self.fields[prefix] = [m.groupdict() for m in FIELD.finditer(body)]
            if len(self.fields[prefix]) != body.count("reserved1"):
                fail("cannot read protoc-c's fields of " + prefix)
        for prefix, body in BY_NAME.findall(text):
            self.by_name[prefix] = [int(n) for n in re.findall(r"^  (\d+),", body, re.M)]
        for prefix, name in ENUM.findall(text):
            self.enums[prefix] = name
        for prefix, body in VALUES.findall(text):
            self.values[prefix] = VALUE.findall(body)
        for prefix, body in ALIASES.findall(text):
            self.aliases[prefix] = ALIAS.findall(body)
        if text.count("PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC") != len(MESSAGE.findall(text)):
            fail("cannot read protoc-c's message descriptors")


class Tables:
    def __init__(self, generated, options):
        self.g, self.options, self.text, self.rules = generated, options, Text(), Rules()
        self.messages = sorted(generated.messages, key=lambda p: generated.messages[p][0].encode())
        self.enums = sorted(generated.enums, key=lambda p: generated.enums[p].encode())
        self.message_index = {p: i for i, p in enumerate(self.messages)}
        self.enum_index = {p: i for i, p in enumerate(self.enums)}
        self.message_rows, self.field_rows, self.by_name, self.oneof_rows = [], [], [], []
        self.enum_rows, self.value_rows, self.alias_rows = [], [], []
        for prefix in self.messages:
            self.add_message(prefix)
        for prefix in self.enums:
            self.add_enum(prefix)

    def type_index(self, field):
        if field["descriptor"] == "NULL":
            return NONE
        prefix = field["descriptor"][1:-len("__descriptor")]
        return (self.message_index if field["type"] == "MESSAGE" else self.enum_index)[prefix]

    def extra(self, field, sensitive, disallowed):
        bits = (1 if sensitive else 0) | (2 if disallowed else 0)
        default = field["default"]
        if default == "&protobuf_c_empty_string":
            return bits | 4
        if default == "NULL":
            return bits
        if default == "&validate__string_rules__strict__default_value":
            return bits | 8
        fail("a default that the tables cannot hold: " + default)

    def add_field(self, options, field):
        number = int(field["id"])
        rules, deprecated, sensitive, disallowed = options.fields[number]
        flags = field["flags"] + (" | PROTOBUF_C_FIELD_FLAG_DEPRECATED" if deprecated else "")
        rules_index = 0 if options.no_rules else self.rules.add(rules)
        self.field_rows.append("{%d, %d, %s, %s, %d, %d, PROTOBUF_C_LABEL_%s, PROTOBUF_C_TYPE_%s, %s, %d}," % (
            self.text.add(field["name"]), number, field["quantifier"], field["offset"],
            self.type_index(field), rules_index, field["label"], field["type"], flags,
            self.extra(field, sensitive, disallowed)))

    def add_message(self, prefix):
        name, c_name = self.g.messages[prefix]
        options, fields = self.options[name], self.g.fields.get(prefix, [])
        flags = (1 if options.map_entry else 0) | (2 if options.no_rules else 0)
        self.message_rows.append("{%d, %d, sizeof(%s), %d, %d, %d, %d}," % (
            self.text.add(name), len(self.field_rows), c_name, len(fields), len(self.oneof_rows),
            len(options.oneofs), flags))
        for field in fields:
            self.add_field(options, field)
        self.by_name += self.g.by_name.get(prefix, [])
        quantifiers = {int(f["id"]): f["quantifier"] for f in fields}
        for oneof, member, required in options.oneofs:
            self.oneof_rows.append("{%d, %s, %d}," % (self.text.add(oneof), quantifiers[member], required))

    def add_enum(self, prefix):
        values, aliases = self.g.values[prefix], self.g.aliases[prefix]
        self.enum_rows.append("{%d, %d, %d, %d, %d}," % (
            self.text.add(self.g.enums[prefix]), len(self.value_rows), len(self.alias_rows), len(values), len(aliases)))
        self.value_rows += ["{%d, %s}," % (self.text.add(n), v) for n, v in values]
        self.alias_rows += ["{%d, %s}," % (self.text.add(n), i) for n, i in aliases]


def write_tables(path, t):
    def table(f, head, rows):
        f.write("%s = {\n%s\n};\n" % (head, "\n".join(rows or ["{0}"])))

    with open(path, "w") as f:
        f.write('/* Generated by tools/protogen. */\n#include "proto/tables.h"\n#include "proto_all.h"\n')
        f.write("const char proto_table_text[] =\n")
        f.writelines('"%s\\0"\n' % s for s in t.text.offsets)
        f.write(";\nconst uint32_t proto_table_message_count = %d, proto_table_enum_count = %d,\n"
                "    proto_table_rules_count = %d;\n" % (len(t.messages), len(t.enums), len(t.rules.spans)))
        table(f, "const struct proto_table_message proto_table_messages[]", t.message_rows)
        table(f, "const struct proto_table_field proto_table_fields[]", t.field_rows)
        table(f, "const uint16_t proto_table_fields_by_name[]", ["%d," % i for i in t.by_name])
        table(f, "const struct proto_table_oneof proto_table_oneofs[]", t.oneof_rows)
        table(f, "const struct proto_table_enum proto_table_enums[]", t.enum_rows)
        table(f, "const struct proto_table_value proto_table_values[]", t.value_rows)
        table(f, "const struct proto_table_alias proto_table_aliases[]", t.alias_rows)
        table(f, "const struct proto_table_rules proto_table_rules[]", ["{%d, %d}," % s for s in t.rules.spans])
        table(f, "const uint8_t proto_table_rule_bytes[]", [",".join(map(str, t.rules.blob)) + ", 0"])


def write_storage(path, t):
    """Aliases by assembler: a C alias must have its target's type and no offset."""
    with open(path, "w") as f:
        f.write('/* Generated by tools/protogen. */\n#include "proto/tables.h"\n'
                "ProtobufCMessageDescriptor proto_message_storage[%d];\n"
                "ProtobufCEnumDescriptor proto_enum_storage[%d];\n" % (len(t.messages), len(t.enums)))
        f.write("#define ALIAS(name, storage, index, size) \\\n"
                '    __asm__(".globl " #name "\\n.type " #name ", %object\\n" \\\n'
                '            ".set " #name ", " #storage " + " #index " * " #size "\\n" \\\n'
                '            ".size " #name ", " #size "\\n")\n'
                "/* sizeof isn't for the assembler; these hold on every 64-bit ABI */\n"
                "_Static_assert(sizeof(ProtobufCMessageDescriptor) == 120, \"message descriptor\");\n"
                "_Static_assert(sizeof(ProtobufCEnumDescriptor) == 120, \"enum descriptor\");\n")
        f.writelines("ALIAS(%s__descriptor, proto_message_storage, %d, 120);\n" % (p, i)
                     for i, p in enumerate(t.messages))
        f.writelines("ALIAS(%s__descriptor, proto_enum_storage, %d, 120);\n" % (p, i)
                     for i, p in enumerate(t.enums))


def main():
    out = sys.argv[1]
    tables = Tables(Generated(out + "/c"), read_options(out + "/full.desc"))
    write_tables(out + "/proto_tables.c", tables)
    write_storage(out + "/proto_storage.c", tables)
    if os.environ.get("PROTOGEN_KEEP_C") is None:
        shutil.rmtree(out + "/c")


if __name__ == "__main__":
    main()
