/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PKI_CSR_PRIV_H
#define PKI_CSR_PRIV_H

#include "pki/csr.h"
#include "pki/pki_priv.h"

struct csr {
    X509_REQ *req;
};

#endif
