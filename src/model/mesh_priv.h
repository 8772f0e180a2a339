/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules of the mesh's own configuration.
 */
#ifndef MODEL_MESH_PRIV_H
#define MODEL_MESH_PRIV_H

#include "model/mesh.h"
#include "model/model_priv.h"
#include "model/pb.h"

/* Faults and warnings (NULL: wanted by nobody) with their paths in the message. */
typedef void (*mesh_rules_fn)(const ProtobufCMessage *msg, struct err_list *faults, struct err_list *warnings);
void mesh_check_config(const ProtobufCMessage *msg, struct err_list *faults, struct err_list *warnings);
void mesh_check_networks(const ProtobufCMessage *msg, struct err_list *faults, struct err_list *warnings);

#endif
