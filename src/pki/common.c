/* SPDX-License-Identifier: Apache-2.0
 *
 * Small things over OpenSSL that certificates, requests and keys all want. Any thread.
 */
#include "pki/pki_priv.h"

#include "base/mem.h"

int openssl_fault(struct err *err, int code, const char *what)
{
    unsigned long fault = ERR_peek_last_error();
    const char *reason = fault ? ERR_reason_error_string(fault) : NULL;
    ERR_clear_error();
    return err_set(err, code, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
}

void bio_take_text(BIO *bio, struct strbuf *out)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    if (n > 0)
        strbuf_add(out, p, (size_t)n);
}

static ASN1_STRING *name_value(int type, struct str text)
{
    if (type == GEN_IPADD) {
        char *address = mem_strndup(text.p, text.n);
        ASN1_OCTET_STRING *ip = a2i_IPADDRESS(address);
        mem_free(address);
        return ip;
    }
    ASN1_IA5STRING *value = ASN1_IA5STRING_new();
    if (value && text.n <= INT32_MAX && ASN1_STRING_set(value, text.p, (int)text.n))
        return value;
    ASN1_IA5STRING_free(value);
    return NULL;
}

bool names_add(GENERAL_NAMES *names, int type, struct str text)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *value = name ? name_value(type, text) : NULL;
    if (value) {
        GENERAL_NAME_set0_value(name, type, value);
        if (sk_GENERAL_NAME_push(names, name))
            return true;
    }
    GENERAL_NAME_free(name);
    return false;
}

const EVP_MD *key_digest(const EVP_PKEY *pkey)
{
    int kind = EVP_PKEY_get_base_id(pkey);
    if (kind == EVP_PKEY_ED25519 || kind == EVP_PKEY_ED448)
        return NULL;
    if (kind != EVP_PKEY_EC || EVP_PKEY_get_bits(pkey) <= 256)
        return EVP_sha256();
    return EVP_PKEY_get_bits(pkey) <= 384 ? EVP_sha384() : EVP_sha512();
}
