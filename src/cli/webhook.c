/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/operator.h"

#define LIST_MAX 200u
#define TROUBLE_CHARS 48u

static const char help[] =
    "Usage: easel webhook list [--dead] [--json]\n"
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
    const char *dead, *all_dead, *json; /* as given */
};

static const char *standing(const struct outbox_entry *e)
{
    if (e->delivered_ms)
        return "delivered";
    return e->dead ? "dead" : "owed";
}

/* "HTTP 500: …", "connection refused", "-". */
static const char *trouble(const struct outbox_entry *e, char *buf, size_t size)
{
    char text[256];
    if (e->delivered_ms || (!e->last_error && !e->last_status))
        snprintf(text, sizeof text, "-");
    else if (!e->last_status)
        snprintf(text, sizeof text, "%s", e->last_error);
    else
        snprintf(text, sizeof text, "HTTP %d%s%s", e->last_status, e->last_error ? ": " : "",
                 e->last_error ? e->last_error : "");
    return operator_cut(text, TROUBLE_CHARS, buf, size);
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
    listing_cell(l, e->delivered_ms || e->dead ? "-" : operator_time(e->due_ms, time));
    listing_cell(l, trouble(e, text, sizeof text));
    listing_cell(l, e->url);
}

static json_t *as_json(const struct outbox_entry *e)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:o, s:o, s:i, s:s?}", "id",
                     (json_int_t)e->id, "standing", standing(e), "task_id", e->task_id,
                     "message_id", e->message_id, "state", task_state_name(e->state), "url", e->url,
                     "tries", (int)e->tries, "created", operator_json_time(e->created_ms), "due",
                     operator_json_time(e->due_ms), "delivered",
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

static int list(struct webhook_command *c)
{
    static const char *const head[] = {"ID",    "STANDING", "TASK",         "TELLS",
                                       "TRIES", "NEXT TRY", "LAST TROUBLE", "URL"};
    struct errmsg em = {""};
    struct listing l;
    listing_init(&l, c->json, head, sizeof head / sizeof *head);
    enum err rc = store_outbox_list(c->st, c->dead, LIST_MAX, list_one, &l, &em);
    int code =
        rc ? operator_failed(rc, &em)
           : listing_print(&l, c->dead ? "No webhook was given up." : "There are no webhooks.");
    listing_deinit(&l);
    return code;
}

static int redeliver(struct webhook_command *c, const char *text)
{
    struct errmsg em = {""};
    int64_t id = 0;
    size_t n = 0;
    if (text && !cli_parse_int(text, 1, INT64_MAX, &id))
        return cli_usage("webhook", "an ID is a number, as easel webhook list shows it; not \"%s\"",
                         text);
    enum err rc = store_outbox_redeliver(c->st, id, &n, &em);
    if (rc == ERR_NOTFOUND && !id)
        rc = ERR_OK; /* none is dead: all of none are tried again */
    if (rc)
        return operator_failed(rc, &em);
    printf("%zu to be delivered again\n", n);
    return 0;
}

static int secret(struct webhook_command *c)
{
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

static int run(struct webhook_command *c)
{
    const char *action = c->s.n_args ? c->s.args[0] : "";
    if (!strcmp(action, "list") && c->s.n_args == 1)
        return list(c);
    if (!strcmp(action, "redeliver") && c->s.n_args == (c->all_dead ? 1 : 2))
        return redeliver(c, c->all_dead ? NULL : c->s.args[1]);
    if (!strcmp(action, "secret") && c->s.n_args == 1)
        return secret(c);
    return cli_usage("webhook", "say list, redeliver ID, redeliver --all-dead, or secret");
}

int cmd_webhook(int argc, char **argv)
{
    struct webhook_command c = {.st = NULL};
    const struct own_flag own[] = {{"dead", false, &c.dead},
                                   {"all-dead", false, &c.all_dead},
                                   {"json", false, &c.json},
                                   {NULL, false, NULL}};
    int code = 0;
    enum settings_result result =
        settings_load(&c.s, "webhook", FOR_OPERATOR, argc, argv, own, &code);
    if (result == SETTINGS_HELP)
        fputs(help, stdout);
    else if (result == SETTINGS_OK && operator_open(&c.s, &c.st, &code))
        code = run(&c);
    store_close(c.st);
    settings_free(&c.s);
    return code;
}
