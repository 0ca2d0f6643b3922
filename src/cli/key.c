/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/operator.h"

#define RATE_MAX 1000000
#define CREDITS_UNCHANGED (-2)

static const char help[] =
    "Usage: easel key create NAME [--rate N] [--credits X]\n"
    "       easel key list [--json]\n"
    "       easel key limit NAME [--rate N] [--credits X]\n"
    "       easel key revoke NAME\n"
    "\n"
    "The keys of a server, whether it runs or not.\n"
    "\n"
    "  create   make a key and print it: it is shown this once\n"
    "  list     names, first characters, limits, last use\n"
    "  limit    change what a key may\n"
    "  revoke   refuse it from now on; its queued tasks are cancelled\n"
    "\n"
    "  --rate N      tasks a minute (default: 50); unlimited\n"
    "  --credits X   what it may still spend (default: unlimited)\n"
    "  --data DIR    the server's data folder (EASEL_DATA; default as for easel serve)\n"
    "  --config FILE the server's settings (EASEL_CONFIG)\n"
    "  --json        for programs\n"
    "\n"
    "Examples:\n"
    "  easel key create alice --rate 10 --credits 100\n"
    "  KEY=$(easel key create ci --data /srv/easel)\n"
    "  easel key limit alice --credits unlimited\n";

struct key_command {
    struct settings s;
    struct store *st;
    const char *rate, *credits, *json; /* as given */
    int64_t rate_per_minute, credits_micro;
};

static int check(void *ctx, const struct operator_action *action)
{
    struct key_command *c = ctx;
    c->rate_per_minute = KEY_RATE_DEFAULT;
    c->credits_micro = CREDITS_UNLIMITED;
    if (c->rate && !strcmp(c->rate, "unlimited"))
        c->rate_per_minute = 0;
    else if (c->rate && !cli_parse_int(c->rate, 1, RATE_MAX, &c->rate_per_minute))
        return cli_usage("key", "--rate must be from 1 to %d or unlimited, not \"%s\"", RATE_MAX,
                         c->rate);
    if (c->credits && !operator_parse_credits(c->credits, &c->credits_micro))
        return cli_usage("key", "--credits must be a number from 0 on or unlimited, not \"%s\"",
                         c->credits);
    if (!strcmp(action->name, "limit") && !c->rate && !c->credits)
        return cli_usage("key", "say what to change: --rate, --credits or both");
    return 0;
}

static int create(void *ctx, const char *name)
{
    struct key_command *c = ctx;
    struct errmsg em = {""};
    struct api_key made = {0};
    char *text = NULL;
    enum err rc =
        store_key_create(c->st, name, c->rate_per_minute, c->credits_micro, &text, &made, &em);
    if (rc)
        return operator_failed(rc, &em);
    printf("%s\n", text);
    fprintf(stderr, "This is the key \"%s\", shown this once; the server knows it at once.\n",
            made.name);
    free(text);
    api_key_deinit(&made);
    return 0;
}

static const char *rate_text(int64_t rate, char *buf, size_t size)
{
    if (rate)
        snprintf(buf, size, "%lld/min", (long long)rate);
    else
        snprintf(buf, size, "unlimited");
    return buf;
}

static void list_row(struct listing *l, const struct api_key *k)
{
    char time[TIME_CHARS], number[48];
    listing_cell(l, k->name);
    listing_cell(l, k->prefix);
    listing_cell(l, rate_text(k->rate_per_minute, number, sizeof number));
    listing_cell(l, operator_credits(k->credits_micro, number, sizeof number));
    listing_cell(l, operator_time(k->created_ms, time));
    listing_cell(l, k->last_used_ms ? operator_time(k->last_used_ms, time) : "never");
    listing_cell(l, k->revoked_ms ? "revoked" : "valid");
}

static void list_one(void *ctx, const struct api_key *k)
{
    struct listing *l = ctx;
    if (!l->json) {
        list_row(l, k);
        return;
    }
    json_t *credits =
        k->credits_micro < 0 ? json_null() : json_real((double)k->credits_micro / 1e6);
    json_array_append_new(l->array, json_pack("{s:s, s:s, s:I, s:o, s:o, s:o, s:o}", "name",
                                              k->name, "prefix", k->prefix, "rate_per_minute",
                                              (json_int_t)k->rate_per_minute, "credits", credits,
                                              "created", operator_json_time(k->created_ms),
                                              "last_used", operator_json_time(k->last_used_ms),
                                              "revoked", operator_json_time(k->revoked_ms)));
}

static int list(void *ctx, const char *arg)
{
    (void)arg;
    struct key_command *c = ctx;
    static const char *const head[] = {"NAME",    "KEY",       "RATE", "CREDITS",
                                       "CREATED", "LAST USED", "STATE"};
    struct errmsg em = {""};
    struct listing l;
    listing_init(&l, c->json, head, sizeof head / sizeof *head);
    enum err rc = store_key_list(c->st, list_one, &l, &em);
    int code = rc ? operator_failed(rc, &em) : listing_print(&l, "There are no keys yet.");
    listing_deinit(&l);
    return code;
}

static int limit(void *ctx, const char *name)
{
    struct key_command *c = ctx;
    struct errmsg em = {""};
    enum err rc = store_key_limit(c->st, name, c->rate ? c->rate_per_minute : -1,
                                  c->credits ? c->credits_micro : CREDITS_UNCHANGED, &em);
    return rc ? operator_failed(rc, &em) : 0;
}

static int revoke(void *ctx, const char *name)
{
    struct key_command *c = ctx;
    struct errmsg em = {""};
    enum err rc = store_key_revoke(c->st, name, &em);
    return rc ? operator_failed(rc, &em) : 0;
}

int cmd_key(int argc, char **argv)
{
    struct key_command c = {.st = NULL};
    const struct own_flag flags[] = {{"rate", true, &c.rate},
                                     {"credits", true, &c.credits},
                                     {"json", false, &c.json},
                                     {NULL, false, NULL}};
    static const struct operator_action actions[] = {{"create", true, create},
                                                     {"list", false, list},
                                                     {"limit", true, limit},
                                                     {"revoke", true, revoke},
                                                     {NULL, false, NULL}};
    const struct operator_command command = {
        "key", help, "create NAME, list, limit NAME, or revoke NAME", flags, actions, check};
    return operator_run(&command, argc, argv, &c.s, &c.st, &c);
}
