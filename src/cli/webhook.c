/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/operator.h"

#define LIMIT_DEFAULT 20
#define LIMIT_MAX 1000000
#define TROUBLE_CHARS 48u

static const char help[] =
    "Usage: easel webhook list [--dead] [--limit N] [--json]\n"
    "       easel webhook redeliver ID\n"
    "       easel webhook redeliver --all-dead\n"
    "       easel webhook secret\n"
    "\n"
    "The webhooks that a server owes, whether it runs or not.\n"
    "\n"
    "  list        the newest: what was delivered, is owed, or was given up (dead)\n"
    "  redeliver   try again now, from the first try on\n"
    "  secret      print the secret that receivers check signatures with\n"
    "\n"
    "  --dead        only those that were given up after 24 hours of tries\n"
    "  --all-dead    all of them\n"
    "  --limit N     so many (default: 20)\n"
    "  --data DIR    the server's data folder (EASEL_DATA; default as for easel serve)\n"
    "  --config FILE the server's settings (EASEL_CONFIG)\n"
    "  --json        for programs\n"
    "\n"
    "Examples:\n"
    "  easel webhook list --dead\n"
    "  easel webhook redeliver 17\n";

struct webhook_command {
    struct settings s;
    struct store *st;
    const char *dead, *all_dead, *limit, *json; /* as given */
    int64_t n_max, id;                          /* id 0: of all that are dead */
};

static const char *standing(const struct outbox_entry *e)
{
    if (e->delivered_ms)
        return "delivered";
    return e->dead ? "dead" : "owed";
}

/* "HTTP 500", "connection refused", "-". */
static const char *trouble(const struct outbox_entry *e, char *buf, size_t size)
{
    return operator_cut(e->delivered_ms || !e->last_error ? "-" : e->last_error, TROUBLE_CHARS, buf,
                        size);
}

/* The webhooks of a task are sent one after the other. */
static const char *next_try(const struct outbox_entry *e, char buf[TIME_CHARS])
{
    if (e->delivered_ms || e->dead)
        return "-";
    return e->waits ? "in its turn" : operator_time(e->due_ms, buf);
}

static void list_row(struct listing *l, const struct outbox_entry *e)
{
    char time[TIME_CHARS], text[4 * TROUBLE_CHARS + 16];
    snprintf(text, sizeof text, "%lld", (long long)e->id);
    listing_cell(l, text);
    listing_cell(l, standing(e));
    listing_cell(l, e->task_id);
    listing_cell(l, task_state_name(e->state));
    snprintf(text, sizeof text, "%u", e->tries);
    listing_cell(l, text);
    listing_cell(l, next_try(e, time));
    listing_cell(l, trouble(e, text, sizeof text));
    listing_cell(l, e->url);
}

static json_t *as_json(const struct outbox_entry *e)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:o, s:o, s:i, s:s?}", "id",
                     (json_int_t)e->id, "standing", standing(e), "task_id", e->task_id,
                     "message_id", e->message_id, "state", task_state_name(e->state), "url", e->url,
                     "tries", (int)e->tries, "created", operator_json_time(e->created_ms), "due",
                     operator_json_time(e->waits ? 0 : e->due_ms), "delivered",
                     operator_json_time(e->delivered_ms), "last_status", e->last_status,
                     "last_error", e->last_error);
}

static void list_one(void *ctx, const struct outbox_entry *e)
{
    struct listing *l = ctx;
    if (l->json)
        json_array_append_new(l->array, as_json(e));
    else
        list_row(l, e);
}

static int list(void *ctx, const char *arg)
{
    (void)arg;
    struct webhook_command *c = ctx;
    static const char *const head[] = {"ID",    "STANDING", "TASK",         "TELLS",
                                       "TRIES", "NEXT TRY", "LAST TROUBLE", "URL"};
    struct errmsg em = {""};
    struct listing l;
    listing_init(&l, c->json, head, sizeof head / sizeof *head);
    enum err rc = store_outbox_list(c->st, c->dead, (size_t)c->n_max, list_one, &l, &em);
    int code =
        rc ? operator_failed(rc, &em)
           : listing_print(&l, c->dead ? "No webhook was given up." : "There are no webhooks.");
    listing_deinit(&l);
    return code;
}

/* One of them, or all that are dead. */
static int redeliver(void *ctx, const char *arg)
{
    (void)arg;
    struct webhook_command *c = ctx;
    struct errmsg em = {""};
    size_t n = 0;
    enum err rc = store_outbox_redeliver(c->st, c->id, &n, &em);
    if (rc == ERR_NOTFOUND && !c->id)
        rc = ERR_OK; /* none is dead: all of none are tried again */
    if (rc)
        return operator_failed(rc, &em);
    printf("%zu to be delivered again\n", n);
    return 0;
}

static int secret(void *ctx, const char *arg)
{
    (void)arg;
    struct webhook_command *c = ctx;
    struct errmsg em = {""};
    char *made = NULL;
    const char *configured = c->s.service.webhook_secret;
    enum err rc = configured ? ERR_OK : service_webhook_secret(c->st, &made, &em);
    if (rc)
        return operator_failed(rc, &em);
    printf("%s\n", configured ? configured : made);
    free(made);
    return 0;
}

static int check(void *ctx, const struct operator_action *action)
{
    struct webhook_command *c = ctx;
    c->n_max = LIMIT_DEFAULT;
    if (c->limit && !cli_parse_int(c->limit, 1, LIMIT_MAX, &c->n_max))
        return cli_usage("webhook", "--limit must be from 1 to %d, not \"%s\"", LIMIT_MAX,
                         c->limit);
    if (action->run != redeliver)
        return 0;
    if (action->has_arg == (c->all_dead != NULL))
        return cli_usage("webhook", "say either redeliver ID or redeliver --all-dead");
    const char *id = action->has_arg ? c->s.args[1] : NULL;
    if (id && !cli_parse_int(id, 1, INT64_MAX, &c->id))
        return cli_usage("webhook", "an ID is a number, as easel webhook list shows it; not \"%s\"",
                         id);
    return 0;
}

int cmd_webhook(int argc, char **argv)
{
    struct webhook_command c = {.st = NULL};
    const struct own_flag flags[] = {{"dead", false, &c.dead},
                                     {"all-dead", false, &c.all_dead},
                                     {"limit", true, &c.limit},
                                     {"json", false, &c.json},
                                     {NULL, false, NULL}};
    static const struct operator_action actions[] = {{"list", false, list},
                                                     {"redeliver", true, redeliver},
                                                     {"redeliver", false, redeliver},
                                                     {"secret", false, secret},
                                                     {NULL, false, NULL}};
    const struct operator_command command = {
        "webhook", help,    "list, redeliver ID, redeliver --all-dead, or secret",
        flags,     actions, check};
    return operator_run(&command, argc, argv, &c.s, &c.st, &c);
}
