/* SPDX-License-Identifier: Apache-2.0
 *
 * Questions by gRPC: grpc.health.v1.Health/Check, one message each way, so small that they are read
 * and written by hand. SERVING with status OK is the only good answer; an answer that isn't gRPC is
 * the host's failure, no answer the network's. Main thread.
 */
#include "proxy/filter/grpc_frames.h"
#include "proxy/health/health_priv.h"

#define ANSWER_BYTES 1024 /* HealthCheckResponse is one small number */
#define STATUS_SERVING 1

static void take_status(struct health_session *s, const struct headers *h)
{
    uint64_t code;
    if (!str_to_u64(headers_get_id(h, HDR_GRPC_STATUS), &code))
        return;
    s->has_grpc_status = true;
    s->grpc_status = (uint32_t)code;
}

static void look_at_headers(struct health_session *s, const struct headers *h, bool end)
{
    s->is_grpc = s->status == 200 && grpc_is_content_type(headers_get_id(h, HDR_CONTENT_TYPE));
    if (end)
        take_status(s, h);
}

static size_t bytes_max(const struct health_session *s)
{
    (void)s;
    return ANSWER_BYTES;
}

static bool read_varint(const uint8_t **p, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t byte = *(*p)++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

/* Steps over a field of any wire type; false where the message is cut off or malformed. */
static bool skip_field(const uint8_t **p, const uint8_t *end, unsigned wire_type)
{
    uint64_t n;
    switch (wire_type) {
    case 0:
        return read_varint(p, end, &n);
    case 1:
        n = 8;
        break;
    case 2:
        if (!read_varint(p, end, &n))
            return false;
        break;
    case 5:
        n = 4;
        break;
    default:
        return false;
    }
    if (n > (size_t)(end - *p))
        return false;
    *p += n;
    return true;
}

bool health_grpc_is_serving(struct str answer)
{
    if (answer.n < GRPC_FRAME_HEADER_BYTES || answer.p[0]) /* compressed: nobody asked for it */
        return false;
    const uint8_t *p = (const uint8_t *)answer.p, *end;
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    p += GRPC_FRAME_HEADER_BYTES;
    if (n != answer.n - GRPC_FRAME_HEADER_BYTES)
        return false;
    uint64_t tag, status = 0;
    for (end = p + n; p < end;) {
        if (!read_varint(&p, end, &tag))
            return false;
        if (tag == 1 << 3 ? !read_varint(&p, end, &status) : !skip_field(&p, end, tag & 7))
            return false;
    }
    return status == STATUS_SERVING;
}

static void judge(struct health_session *s)
{
    if (s->is_grpc && s->has_grpc_status && s->grpc_status == 0 && health_grpc_is_serving(strbuf_str(&s->received)))
        health_passed(s, false);
    else
        health_failed(s, HEALTH_ACTIVE, false);
}

static void start(struct health_session *s)
{
    static const struct health_answer answer = {look_at_headers, bytes_max, take_status, judge};
    health_http_ask(s, &answer);
}

const struct health_probe health_grpc_probe = {.start = start, .stop = health_http_stop};
