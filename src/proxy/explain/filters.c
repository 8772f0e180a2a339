/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP filters in their order: which run, which are off and by whose word, and from which levels of the route
 * configuration their settings come. Whether one runs is asked of the exchange itself. Filters aren't run: some tell what
 * they would do, of the others what they may do to the way stands in a table. Main thread.
 */
#include "proxy/filter/filter_source.h"
#include "proxy/explain/explain_priv.h"

static const struct {
    const char *kind, *effect;
} effects[] = {
    {"envoy.filters.http.admission_control", "may answer 503 while many answers fail"},
    {"envoy.filters.http.buffer", "answers 413 past its limit"},
    {"envoy.filters.http.cors", "answers preflight requests"},
    {"envoy.filters.http.csrf", "answers 403 to foreign origins"},
    {"envoy.filters.http.ext_authz", "may refuse"},
    {"envoy.filters.http.fault", "may delay or abort"},
    {"envoy.filters.http.header_mutation", "changes headers after the route is chosen"},
    {"envoy.filters.http.header_to_metadata", "may choose the route anew"},
    {"envoy.filters.http.health_check", "answers health checks"},
    {"envoy.filters.http.jwt_authn", "may refuse"},
    {"envoy.filters.http.local_ratelimit", "answers 429 past its limit"},
    {"envoy.filters.http.ratelimit", "may answer 429 as its service says"},
    {"envoy.filters.http.rbac", "may refuse"},
    {"envoy.filters.http.set_filter_state", "may choose the route anew"},
    {"envoy.filters.http.stateful_session", "may choose the endpoint"},
};

static const char *effect_of(const char *kind)
{
    for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++)
        if (str_eq(str_from(kind), str_from(effects[i].kind)))
            return effects[i].effect;
    return NULL;
}

static const char *const level_names[] = {"configuration", "virtual host", "route", "weighted cluster"};
struct levels {
    const struct filter_overrides *of[4]; /* the least specific first */
};

static struct levels levels_of(const struct route_decision *d)
{
    struct levels l = {{NULL}};
    if (!d->route)
        return l;
    l.of[0] = d->vhost->config ? &d->vhost->config->overrides : NULL;
    l.of[1] = &d->vhost->overrides;
    l.of[2] = &d->route->overrides;
    l.of[3] = d->weighted ? &d->weighted->overrides : NULL;
    return l;
}

static const struct filter_override *entry_of(const struct filter_overrides *o, struct str name)
{
    for (uint32_t i = 0; o && i < o->count; i++)
        if (str_eq(o->items[i].name, name))
            return &o->items[i];
    return NULL;
}

struct listening { struct explain_report *r; struct explain_filter *f; };

static void note_line(void *arg, struct str line)
{
    struct listening *l = arg;
    explain_note(l->r, &l->f->says, STR(""), "%.*s", STR_ARG(line));
}

/* With what stands at the place now, where discovery fills it. */
static const struct http_filter_spec *filter_at(const struct explain_report *r, uint32_t index)
{
    const struct http_filter_spec *spec = &r->hcm->filters[index];
    const struct filter_config *now = spec->dynamic ? filter_source_now(spec->dynamic) : NULL;
    return now ? &now->spec : spec;
}

static void ask_filter(struct explain_report *r, uint32_t index, struct explain_filter *f)
{
    const struct http_filter_spec *spec = filter_at(r, index);
    struct http_filter asked = {.def = spec->def, .config = spec->config, .x = r->rehearsal.x, .index = (uint8_t)index};
    struct listening l = {r, f};
    struct filter_words words = {.say = note_line, .arg = &l, .arena = r->arena};
    spec->def->explain(&asked, &words);
    f->answer = words.answer;
    f->status = words.status;
    f->details = words.details;
    if (words.is_certain)
        f->effect = NULL;
}

static void look_at(struct explain_report *r, uint32_t index, const struct levels *levels)
{
    const struct http_filter_spec *spec = &r->hcm->filters[index];
    struct explain_filter *f = &r->filters[r->filter_count++];
    const struct http_filter_def *def = filter_at(r, index)->def;
    *f = (struct explain_filter){.name = spec->name, .kind = def->name, .effect = effect_of(def->name)};
    f->is_off = rehearsal_filter_is_off(&r->rehearsal, index);
    const char *decides = NULL;
    for (uint32_t i = 0; i < 4; i++) {
        const struct filter_override *o = entry_of(levels->of[i], spec->name);
        if (o)
            decides = level_names[i];
        if (o && o->config)
            f->levels[f->level_count++] = level_names[i];
    }
    if (f->is_off)
        f->why = decides ? arena_printf(r->arena, "disabled by the %s", decides) : STR("disabled in the filter chain");
    else if (spec->disabled)
        f->why = arena_printf(r->arena, "enabled by the %s", decides ? decides : "chain");
    if (!f->is_off && def->explain)
        ask_filter(r, index, f);
}

void explain_filters(struct explain_report *r)
{
    struct levels levels = levels_of(r->decision);
    r->filters = arena_zalloc(r->arena, (r->hcm->filter_count + 1) * sizeof(*r->filters));
    for (uint32_t i = 0; r->filters && i < r->hcm->filter_count; i++)
        look_at(r, i, &levels);
}
