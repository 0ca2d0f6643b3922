/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/operator.h"

#define LIMIT_DEFAULT 20
#define PAGE_MAX 200
#define LIMIT_MAX 1000000
#define PROMPT_CHARS 40u

static const char help[] =
    "Usage: easel task list [--state S] [--limit N] [--json]\n"
    "       easel task show ID [--json]\n"
    "       easel task cancel ID\n"
    "       easel task retry ID\n"
    "\n"
    "The tasks of a server, whether it runs or not.\n"
    "\n"
    "  list     the newest tasks, of all keys\n"
    "  show     one task with its prompt and, if it failed, the reason\n"
    "  cancel   queued or running: it becomes FAILED, \"cancelled\"\n"
    "  retry    put a FAILED task back into the queue\n"
    "\n"
    "  --state S     created, in_progress, completed or failed\n"
    "  --limit N     so many (default: 20)\n"
    "  --data DIR    the server's data folder (EASEL_DATA; default as for easel serve)\n"
    "  --config FILE the server's settings (EASEL_CONFIG)\n"
    "  --json        for programs\n"
    "\n"
    "Examples:\n"
    "  easel task list --state failed\n"
    "  easel task retry 0b0e7a3c-7f5e-4c59-9d5c-3a2f8d1c6e11\n";

struct task_command {
    struct settings s;
    struct store *st;
    const char *state, *limit, *json; /* as given */
    int state_number;                 /* -1: any */
    int64_t n_max;
};

static int parse_state(const char *text, int *state)
{
    for (int i = TASK_CREATED; i <= TASK_FAILED; i++)
        if (!strcasecmp(text, task_state_name((enum task_state)i))) {
            *state = i;
            return 0;
        }
    return cli_usage("task",
                     "--state must be created, in_progress, completed or failed, not \"%s\"", text);
}

static int check(void *ctx, const struct operator_action *action)
{
    (void)action;
    struct task_command *c = ctx;
    int rc = 0;
    c->state_number = -1;
    c->n_max = LIMIT_DEFAULT;
    if (c->state)
        rc = parse_state(c->state, &c->state_number);
    if (!rc && c->limit && !cli_parse_int(c->limit, 1, LIMIT_MAX, &c->n_max))
        rc = cli_usage("task", "--limit must be from 1 to %d, not \"%s\"", LIMIT_MAX, c->limit);
    return rc;
}

/* ---- one task ---- */

/* How long it took or takes, for people. */
static const char *duration(const struct task *t, char *buf, size_t size)
{
    if (t->started_ms && t->finished_ms > t->started_ms)
        return cli_duration((double)(t->finished_ms - t->started_ms) / 1000, buf, size);
    if (t->state == TASK_IN_PROGRESS)
        snprintf(buf, size, "%.0f %%", 100 * t->progress);
    else if (t->state == TASK_CREATED && t->queue_position)
        snprintf(buf, size, "no. %lld", (long long)t->queue_position);
    else
        snprintf(buf, size, "-");
    return buf;
}

static json_t *as_json(const struct task *t)
{
    const struct gen_request *r = &t->request;
    return json_pack(
        "{s:s, s:s, s:I, s:s?, s:s?, s:s?, s:i, s:i, s:I, s:i, s:f, s:i, s:f, s:s?, "
        "s:s?, s:s?, s:o, s:o, s:o}",
        "id", t->id, "state", task_state_name(t->state), "key_id", (json_int_t)t->key_id, "model",
        r->model, "prompt", r->prompt, "enhanced_prompt", t->enhanced_prompt, "width",
        (int)r->width_px, "height", (int)r->height_px, "seed", (json_int_t)r->seed, "references",
        (int)r->n_references, "progress", t->progress, "attempts", (int)t->attempts, "cost",
        (double)task_charge(t, t->state) / 1e6, "webhook_url", r->webhook_url, "result", t->result,
        "error", t->error, "created", operator_json_time(t->created_ms), "started",
        operator_json_time(t->started_ms), "finished", operator_json_time(t->finished_ms));
}

static void print_line(const char *name, const char *value)
{
    if (!value)
        return;
    printf("%-10s ", name);
    cli_print_text(value, 11);
    putchar('\n');
}

static void print_text(const struct task *t)
{
    const struct gen_request *r = &t->request;
    char time[TIME_CHARS], text[64];
    print_line("task", t->id);
    print_line("state", task_state_name(t->state));
    print_line("reason", t->error);
    print_line("prompt", r->prompt);
    print_line("enhanced", t->enhanced_prompt);
    snprintf(text, sizeof text, "%ux%u, seed %lld, %zu reference%s", r->width_px, r->height_px,
             (long long)r->seed, r->n_references, r->n_references == 1 ? "" : "s");
    print_line("picture", text);
    print_line("model", r->model);
    print_line("result", t->result);
    print_line("webhook", r->webhook_url);
    snprintf(text, sizeof text, "%u of %u", t->attempts, TASK_ATTEMPTS_MAX);
    print_line("attempts", text);
    print_line("cost", operator_credits(task_charge(t, t->state), text, sizeof text));
    print_line("created", operator_time(t->created_ms, time));
    print_line("started", operator_time(t->started_ms, time));
    print_line("finished", operator_time(t->finished_ms, time));
    print_line(t->finished_ms ? "took" : "progress", duration(t, text, sizeof text));
}

static int show(void *ctx, const char *id)
{
    struct task_command *c = ctx;
    struct errmsg em = {""};
    struct task t = {.id = ""};
    int code = 0;
    enum err rc = store_task_get(c->st, id, 0, &t, &em);
    if (rc)
        return operator_failed(rc, &em);
    if (c->json)
        code = operator_print_json(as_json(&t));
    else
        print_text(&t);
    task_deinit(&t);
    return code;
}

/* ---- many ---- */

struct task_listing {
    struct listing l;
    size_t n;
    char last_id[TASK_ID_CHARS + 1];
};

static void list_row(struct listing *l, const struct task *t)
{
    char time[TIME_CHARS], text[4 * PROMPT_CHARS + 16];
    listing_cell(l, t->id);
    listing_cell(l, task_state_name(t->state));
    listing_cell(l, operator_time(t->created_ms, time));
    listing_cell(l, duration(t, text, sizeof text));
    listing_cell(l, t->request.model ? t->request.model : "-");
    snprintf(text, sizeof text, "%ux%u", t->request.width_px, t->request.height_px);
    listing_cell(l, text);
    const char *told = t->state == TASK_FAILED && t->error ? t->error : t->request.prompt;
    listing_cell(l, operator_cut(told ? told : "", PROMPT_CHARS, text, sizeof text));
}

static void list_one(void *ctx, const struct task *t)
{
    struct task_listing *tl = ctx;
    tl->n++;
    memcpy(tl->last_id, t->id, sizeof tl->last_id);
    if (tl->l.json)
        json_array_append_new(tl->l.array, as_json(t));
    else
        list_row(&tl->l, t);
}

/* The store gives pages; a list may be longer. */
static enum err list_pages(struct task_command *c, struct task_listing *tl, struct errmsg *em)
{
    enum err rc = ERR_OK;
    size_t wanted = (size_t)c->n_max, before = 0;
    do {
        before = tl->n;
        size_t limit = wanted - tl->n < PAGE_MAX ? wanted - tl->n : PAGE_MAX;
        struct task_query q = {.state = c->state_number, .limit = limit};
        char after[TASK_ID_CHARS + 1];
        memcpy(after, tl->last_id, sizeof after);
        q.after = *after ? after : NULL;
        rc = store_task_list(c->st, &q, list_one, tl, em);
    } while (!rc && tl->n < wanted && tl->n == before + PAGE_MAX);
    return rc;
}

static int list(void *ctx, const char *arg)
{
    (void)arg;
    struct task_command *c = ctx;
    static const char *const head[] = {"ID",    "STATE", "CREATED",         "TOOK",
                                       "MODEL", "SIZE",  "PROMPT OR REASON"};
    struct errmsg em = {""};
    struct task_listing tl = {.n = 0};
    listing_init(&tl.l, c->json, head, sizeof head / sizeof *head);
    enum err rc = list_pages(c, &tl, &em);
    int code = rc ? operator_failed(rc, &em)
                  : listing_print(&tl.l, c->state ? "There are no such tasks."
                                                  : "There are no tasks yet.");
    listing_deinit(&tl.l);
    return code;
}

/* ---- changes ---- */

static int cancel(void *ctx, const char *id)
{
    struct task_command *c = ctx;
    struct errmsg em = {""};
    struct task t = {.id = ""};
    enum err rc = store_task_cancel(c->st, id, 0, &t, &em);
    if (rc)
        return operator_failed(rc, &em);
    if (t.state == TASK_IN_PROGRESS)
        printf("asked to stop\n");
    else
        printf("%s%s%s\n", task_state_name(t.state), t.error ? ": " : "", t.error ? t.error : "");
    task_deinit(&t);
    return 0;
}

static int retry(void *ctx, const char *id)
{
    struct task_command *c = ctx;
    struct errmsg em = {""};
    enum err rc = store_task_retry(c->st, id, &em);
    if (rc)
        return operator_failed(rc, &em);
    printf("%s\n", task_state_name(TASK_CREATED));
    return 0;
}

int cmd_task(int argc, char **argv)
{
    struct task_command c = {.st = NULL};
    const struct own_flag flags[] = {{"state", true, &c.state},
                                     {"limit", true, &c.limit},
                                     {"json", false, &c.json},
                                     {NULL, false, NULL}};
    static const struct operator_action actions[] = {{"list", false, list},
                                                     {"show", true, show},
                                                     {"cancel", true, cancel},
                                                     {"retry", true, retry},
                                                     {NULL, false, NULL}};
    const struct operator_command command = {
        "task", help, "list, show ID, cancel ID, or retry ID", flags, actions, check};
    return operator_run(&command, argc, argv, &c.s, &c.st, &c);
}
